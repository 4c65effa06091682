"""The distance by eigenvalues: trusted where rounding cannot matter, else by singular values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.metrics import frechet


def covariance(seed: int, d: int, least: float) -> jax.Array:
    """A covariance with eigenvalues from 1 down to `least`, in a random basis."""
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]
    return jnp.asarray((basis * np.geomspace(1, max(least, 1e-300), d)[None]) @ basis.T)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("least", "trusted"), [(0.1, True), (1e-4, True), (1e-9, False), (0.0, False)]
)
def test_what_is_trusted_has_eight_digits(least: float, trusted: bool) -> None:
    first, second = (covariance(seed, 40, least) for seed in (0, 1))
    a, b = frechet._root(first), frechet._root(second)
    traces, error = frechet._by_traces(first, second, a)
    exact = frechet._by_rotation(a, b)
    assert bool(error <= frechet.DIGITS * traces) == trusted
    assert abs(float(traces - exact)) <= float(error)


@pytest.mark.usefixtures("x64")
def test_close_covariances_are_not_trusted_to_a_difference_of_traces() -> None:
    c = covariance(0, 40, 0.1)
    traces, error = frechet._by_traces(c, (1 + 1e-6) * c, frechet._root(c))
    assert error > frechet.DIGITS * abs(traces)
