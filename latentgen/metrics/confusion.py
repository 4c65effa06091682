"""Shares of classes behind a classifier's verdicts: what it mistakes is taken out again.

A generator that never makes a shirt still gets some of its coats counted as shirts. If coats are
mistaken as often as real ones are, the verdicts have the shares q = pi C, pi the true ones and C_ij
the chance that class i is taken for j.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

STEPS = 300  # of expectation maximization


class Captured(NamedTuple):
    """A number of modes, and its 95% interval."""

    modes: Int[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]


def confusions(
    true: Int[Array, " n"], predicted: Int[Array, " n"], classes: int
) -> Float[Array, "c c"]:
    """Return the confusion matrix: counts of class i (row) predicted as class j (column)."""
    return jnp.zeros((classes, classes)).at[true, predicted].add(1.0)


def chances(confusions: Float[Array, "c c"]) -> Float[Array, "c c"]:
    """C_ij, with one example more of each class, spread evenly: no mistake is impossible."""
    more = confusions + 1 / len(confusions)
    return more / more.sum(axis=1, keepdims=True)


def true_shares(
    counts: Float[Array, " k"], chance: Float[Array, "c c"], planes: int = 1
) -> Float[Array, " k"]:
    """The most likely shares pi >= 0 of k = c^planes modes, verdicts on planes being independent.

    Maximizes sum_j n_j log (pi C)_j by pi_i <- pi_i sum_j C_ij q_j / (pi C)_j, q = n / sum n.

    Args:
        counts: n_j, how many samples were taken for mode j.
        chance: C of one plane.

    Reference: Dempster, Laird & Rubin 1977, Maximum likelihood from incomplete data; Richardson
    1972 and Lucy 1974 for this case.
    """
    q = counts / counts.sum()

    def step(_: Array, pi: Array) -> Array:
        fitted = through(pi, chance, planes)
        ratio = jnp.where(q > 0, q / jnp.where(q > 0, fitted, 1), 0)
        return pi * through(ratio, chance.T, planes)

    return jax.lax.fori_loop(0, STEPS, step, jnp.full(q.shape, 1 / q.size))


def through(
    share: Float[Array, " k"], chance: Float[Array, "c c"], planes: int = 1
) -> Float[Array, " k"]:
    """Shares of the verdicts, q = pi C, of the modes of one or more planes.

    Args:
        share: pi.
        chance: C of one plane.
    """
    x = share.reshape((len(chance),) * planes)
    for _ in range(planes):  # the first axis goes last each time: all in turn
        x = jnp.tensordot(x, chance, axes=((0,), (0,)))
    return x.reshape(-1)


def captured(
    key: Key[Array, ""],
    counts: Float[Array, " k"],
    confusions: Float[Array, "c c"],
    least: Float[Array, " k"],
    planes: int = 1,
    draws: int = 100,
) -> Captured:
    """Estimate the number of modes with a true share above `least`: m = |{k: pi_k > least_k}|.

    The interval is m +- the 95% quantile of |m* - m|, m* being m of verdicts and confusions drawn
    by parametric bootstrap. It thus includes the bias of m at few samples per mode.

    Args:
        counts: n_j, the number of samples predicted as mode j.
        confusions: of one plane, see `confusions`.

    Reference: Efron & Tibshirani 1993, An Introduction to the Bootstrap, section 6.5.
    """
    n, chance = counts.sum(), chances(confusions)
    share = true_shares(counts, chance, planes)
    there = share > least
    kept = jnp.where(there, share, 0)
    verdicts = through(kept / kept.sum(), chance, planes)

    def one(key: Key[Array, ""]) -> Int[Array, ""]:
        first, second = jax.random.split(key)
        again = jax.random.multinomial(first, n, verdicts / verdicts.sum())
        rows = jax.random.split(second, len(confusions))
        known = jax.vmap(jax.random.multinomial)(rows, confusions.sum(axis=1), chance)
        return (true_shares(again, chances(known), planes) > least).sum()

    m = there.sum()
    drawn = jax.lax.map(one, jax.random.split(key, draws)).astype(jnp.float32)
    half = jnp.quantile(jnp.abs(drawn - m), 0.95)
    return Captured(m, *(jnp.clip(end, 1, len(counts)) for end in (m - half, m + half)))
