"""Mode coverage: the modes of the data that a generator's samples reach, to detect mode collapse.

PacGAN's released code (github.com/fjxmlzn/PacGAN) counts a point for its nearest mode if it lies
less than three standard deviations away and for none else. A mode with one such point is covered,
and the divergence that it writes, Jensen-Shannon's, is of such points alone. Of stacked images it
counts the class of every plane of every sample, however unsure, and their KL(samples' || uniform).

Reference: Srivastava et al. 2017 (VEEGAN, arXiv:1705.07761), section 4.1; Lin et al. 2018 (PacGAN,
arXiv:1712.04086), section 4.1.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

NEAR = 3.0  # standard deviations around a mode, within which a sample is of high quality


class Nearest(NamedTuple):
    """Each sample's nearest mode, and whether it lies within `NEAR` standard deviations of it."""

    mode: Int[Array, " n"]
    high_quality: Bool[Array, " n"]


class Coverage(NamedTuple):
    """captured: modes with at least one sample of high quality
    captured_by_any: modes with at least one sample, near or not
    high_quality: the share of samples of high quality
    reverse_kl: KL(modes of the samples || modes of the data), nats; all samples count
    reverse_kl_high_quality: the same of those of high quality; nan where there are none
    """

    captured: Int[Array, ""]
    captured_by_any: Int[Array, ""]
    high_quality: Float[Array, ""]
    reverse_kl: Float[Array, ""]
    reverse_kl_high_quality: Float[Array, ""]


def nearest(x: Float[Array, "n d"], means: Float[Array, "k d"], std: float) -> Nearest:
    """Assign each sample to the nearest of the normals N(mean_k, std^2 I)."""
    squared = ((x[:, None] - means[None]) ** 2).sum(axis=-1)
    return Nearest(squared.argmin(axis=1), squared.min(axis=1) <= (NEAR * std) ** 2)


def coverage(
    mode: Int[Array, " n"], high_quality: Bool[Array, " n"], expected: Float[Array, " k"]
) -> Coverage:
    """Return the coverage of the data's modes by samples assigned to these modes.

    KL(q || p) = sum_k q_k log(q_k / p_k): finite where q misses modes, infinite where q has
    a mode that the data do not.

    Args:
        expected: p_k, the share of the data in mode k.
    """
    every, good = (
        jnp.zeros(len(expected)).at[mode].add(weight)
        for weight in (jnp.ones(len(mode)), high_quality.astype(jnp.float32))
    )
    return Coverage(
        (good > 0).sum(),
        (every > 0).sum(),
        high_quality.mean(),
        reverse_kl(every / len(mode), expected),
        reverse_kl(good / good.sum(), expected),
    )


def reverse_kl(q: Float[Array, " k"], expected: Float[Array, " k"]) -> Float[Array, ""]:
    """sum_k q_k log(q_k / p_k), nats."""
    some = q > 0
    ratio = jnp.where(some, q, 1.0) / jnp.where(some, expected, 1.0)
    return (q * jnp.log(ratio)).sum()
