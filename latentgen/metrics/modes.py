"""Which modes of the data a generator reaches: counts that collapse cannot hide.

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
    """captured: modes with at least one sample (of high quality, where that is told)
    high_quality: the share of such samples
    reverse_kl: KL(modes of the samples || modes of the data), nats; all samples count
    """

    captured: Int[Array, ""]
    high_quality: Float[Array, ""]
    reverse_kl: Float[Array, ""]


def nearest(x: Float[Array, "n d"], means: Float[Array, "k d"], std: float) -> Nearest:
    """Where samples lie among normals N(mean_k, std^2 I)."""
    squared = ((x[:, None] - means[None]) ** 2).sum(axis=-1)
    return Nearest(squared.argmin(axis=1), squared.min(axis=1) <= (NEAR * std) ** 2)


def coverage(
    mode: Int[Array, " n"], high_quality: Bool[Array, " n"], expected: Float[Array, " k"]
) -> Coverage:
    """What samples of these modes reach of the data's.

    KL(q || p) = sum_k q_k log(q_k / p_k): finite where q misses modes, infinite where it has one
    that the data have not.

    Args:
        expected: p_k, the share of the data in mode k.
    """
    counts = jnp.zeros(len(expected)).at[mode].add(1.0)
    q = counts / len(mode)
    some = q > 0
    ratio = jnp.where(some, q, 1.0) / jnp.where(some, expected, 1.0)
    good = jnp.zeros(len(expected), jnp.int32).at[mode].add(high_quality.astype(jnp.int32))
    return Coverage((good > 0).sum(), high_quality.mean(), (q * jnp.log(ratio)).sum())
