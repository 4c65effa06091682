"""Weights, inputs and directions that both sides of a parity test make from their names alone.

A script `make_NAME.py` fills the authors' network with them and writes what comes out to
`NAME.npz`; the test fills ours with the same. So no weights are stored.
"""

import hashlib

import numpy as np


def fill(
    name: str, shape: tuple[int, ...], scale: float | None = None, offset: float = 0.0
) -> np.ndarray:
    """Normal float32 numbers, a function of the name and the shape.

    Args:
        scale: their standard deviation; by default 1 / sqrt(fan-in) of a kernel whose first axis
            are its outputs, and 0.1 of a vector.
        offset: their mean, such as 1 for the scale of a norm.
    """
    if scale is None:
        scale = float(np.prod(shape[1:])) ** -0.5 if len(shape) > 1 else 0.1
    return (offset + scale * _generator(name).standard_normal(shape)).astype(np.float32)


def direction(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A direction of float64 normal numbers, to which gradients are projected."""
    return _generator(f"direction of {name}").standard_normal(shape)


def summary(name: str, value: np.ndarray) -> np.ndarray:
    """(norm, dot product with `direction`) of a tensor, in place of storing all of it."""
    value = np.asarray(value, np.float64)
    return np.array([np.linalg.norm(value), (value * direction(name, value.shape)).sum()])


def close(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 1e-5) -> bool:
    """True if no number differs by more than `tolerance` times the largest magnitude."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape:
        raise ValueError(f"shapes differ: {ours.shape} and {theirs.shape}")
    return bool(np.abs(ours - theirs).max() <= tolerance * max(np.abs(theirs).max(), 1e-30))


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.sha256(name.encode()).digest()))
