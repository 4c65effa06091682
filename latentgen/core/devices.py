"""Devices by kind."""

import jax


def cpu() -> jax.Device:
    """Return a CPU, or the first device if JAX has no CPUs."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]
