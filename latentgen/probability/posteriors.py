"""Distributions q(z|x) over codes, from what an encoder puts out."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from latentgen.probability.distributions import Normal


def diagonal_normal(outputs: Float[Array, "n d2"]) -> Normal:
    """The first half of the outputs is the mean, the second the logarithm of the std.

    The mixture of these normals, one per training example, is the aggregate posterior.
    """
    mean, log_std = jnp.split(outputs, 2, axis=1)
    return Normal(mean, log_std)
