"""Random numbers that every platform must give: written on a CPU, read on all.

    python -m experiments.benchmarks.accelerator.random_numbers

writes random_numbers.json beside this file; only needed when JAX changes its generator.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentgen.core.keys import named_key, run_key

TABLE = Path(__file__).with_name("random_numbers.json")
ROUNDED = 1e-5
"""Of what a logarithm or an error function made: those differ in the last bits by platform."""

DRAWS: dict[str, tuple[Callable[[Any], Any], float]] = {
    "key": (jax.random.key_data, 0.0),
    "split": (lambda key: jax.random.key_data(jax.random.split(key, 3)), 0.0),
    "fold_in": (lambda key: jax.random.key_data(jax.random.fold_in(key, 12)), 0.0),
    "stream": (lambda key: jax.random.key_data(named_key(key, "noise")), 0.0),
    "bits": (lambda key: jax.random.bits(key, (8,)), 0.0),
    "uniform": (lambda key: jax.random.uniform(key, (8,)), 0.0),
    "normal": (lambda key: jax.random.normal(key, (8,)), ROUNDED),
    "gumbel": (lambda key: jax.random.gumbel(key, (8,)), ROUNDED),
    "bernoulli": (lambda key: jax.random.bernoulli(key, 0.3, (16,)), 0.0),
    "categorical": (lambda key: jax.random.categorical(key, jnp.zeros(10), shape=(16,)), 0.0),
    "permutation": (lambda key: jax.random.permutation(key, 16), 0.0),
    "randint": (lambda key: jax.random.randint(key, (8,), 0, 1000), 0.0),
}
"""name -> (key -> numbers, how far they may lie apart)."""


def drawn(device: jax.Device) -> dict[str, np.ndarray]:
    """Make all draws on this device."""
    with jax.default_device(device):
        key = run_key(7)
        return {name: np.asarray(jax.jit(draw)(key)) for name, (draw, _) in DRAWS.items()}


def differences(device: jax.Device) -> dict[str, float]:
    """The largest distance of each draw from the table."""
    table = json.loads(TABLE.read_text())
    found = {}
    for name, numbers in drawn(device).items():
        there = np.asarray(table[name], np.float64)
        same = there.shape == numbers.shape
        found[name] = float(np.abs(there - numbers).max()) if same else float("inf")
    return found


def main() -> None:
    numbers = {name: a.tolist() for name, a in drawn(jax.devices("cpu")[0]).items()}
    lines = [f' "{name}": {json.dumps(values)}' for name, values in numbers.items()]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
