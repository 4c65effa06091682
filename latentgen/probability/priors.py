"""Distributions p(z) that codes are drawn from."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from latentgen.probability.distributions import Normal, normal_log_prob


class Prior(NamedTuple):
    """p(z) over codes of `dim` coordinates.

    sample: (key, n) -> z of shape (n, dim)
    log_prob: (z) -> log p(z) in nats, shape (n,)
    """

    dim: int
    sample: Callable[[Key[Array, ""], int], Float[Array, "n d"]]
    log_prob: Callable[[Float[Array, "n d"]], Float[Array, " n"]]


def normal(dim: int) -> Prior:
    """The standard normal N(0, I)."""

    def log_prob(z: Float[Array, "n d"]) -> Float[Array, " n"]:
        return normal_log_prob(Normal(jnp.zeros_like(z), jnp.zeros_like(z)), z)

    return Prior(dim, lambda key, n: jax.random.normal(key, (n, dim)), log_prob)


def uniform(dim: int) -> Prior:
    """Uniform on the cube [-1, 1]^dim: log p(z) = -dim log 2 inside, -inf outside."""

    def log_prob(z: Float[Array, "n d"]) -> Float[Array, " n"]:
        return jnp.where((jnp.abs(z) <= 1).all(axis=1), -dim * jnp.log(2.0), -jnp.inf)

    return Prior(
        dim, lambda key, n: jax.random.uniform(key, (n, dim), minval=-1.0, maxval=1.0), log_prob
    )


PRIORS: dict[str, Callable[[int], Prior]] = {"normal": normal, "uniform": uniform}
