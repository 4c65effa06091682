"""Two-dimensional toy data sets, whose modes can be seen and counted.

All are float32 points of shape (n, 2) with coordinates of order 1. They are drawn from numpy's
RandomState, whose stream never changes, and so are the same on every machine.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32

SIZE = 120_000
SEED = 20


class Modes(NamedTuple):
    """The density of a mixture of normals N(mean_k, sd^2 I) with equal weights."""

    means: Float64[np.ndarray, "k 2"]
    sd: float


def _ring() -> Modes:
    angles = 2 * np.pi * np.arange(8) / 8
    return Modes(np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.01)


def _grid() -> Modes:
    line = np.array([-4.0, -2.0, 0.0, 2.0, 4.0])
    return Modes(np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(25, 2), 0.05)


MODES: dict[str, Modes] = {"ring": _ring(), "grid": _grid()}
"""ring: 8 normals on the unit circle, sd 0.01; grid: 25 normals on {-4,-2,0,2,4}^2, sd 0.05
(Srivastava et al. 2017, VEEGAN, section 4.1)."""

Points = tuple[Float64[np.ndarray, "n 2"], Int32[np.ndarray, " n"]]


def _mixture(modes: Modes, rng: np.random.RandomState, n: int) -> Points:
    label = rng.randint(len(modes.means), size=n).astype(np.int32)
    return modes.means[label] + modes.sd * rng.randn(n, 2), label


def _swiss_roll(rng: np.random.RandomState, n: int) -> Points:
    """Draw t = (3 pi / 2)(1 + 2u), x = t (cos t, sin t) / 10 + 0.05 e; u ~ U[0, 1), e ~ N(0, I)."""
    t = 1.5 * np.pi * (1 + 2 * rng.rand(n))
    x = t[:, None] * np.stack([np.cos(t), np.sin(t)], axis=1) / 10
    return x + 0.05 * rng.randn(n, 2), np.zeros(n, np.int32)


def _two_moons(rng: np.random.RandomState, n: int) -> Points:
    """Draw x = s (cos t - 1/2, sin t - 1/4) + 0.05 e; t ~ U[0, pi), s = +-1, e ~ N(0, I)."""
    label = rng.randint(2, size=n).astype(np.int32)
    t = np.pi * rng.rand(n)
    moon = np.stack([np.cos(t) - 0.5, np.sin(t) - 0.25], axis=1)
    return (1 - 2 * label)[:, None] * moon + 0.05 * rng.randn(n, 2), label


TOYS: dict[str, Callable[[np.random.RandomState, int], Points]] = {
    "ring": lambda rng, n: _mixture(MODES["ring"], rng, n),
    "grid": lambda rng, n: _mixture(MODES["grid"], rng, n),
    "swiss_roll": _swiss_roll,
    "two_moons": _two_moons,
}


def points(name: str) -> tuple[Float32[np.ndarray, "n 2"], Int32[np.ndarray, " n"]]:
    """Return all `SIZE` points of a set and their modes, which are 0 for a set without modes."""
    x, label = TOYS[name](np.random.RandomState(SEED), SIZE)
    return x.astype(np.float32), label
