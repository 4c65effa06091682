"""Sums of weights given by their logarithms, fed block by block: a streaming log-sum-exp."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Weights(NamedTuple):
    """The sums over the weights seen so far, one column for each of n examples.

    A sum is kept in units of the largest weight, not as its own logarithm: at log w = -5,000 the
    logarithm of a sum of 10,000 weights, rounded to float32, would swallow each new weight whole.

    maximum: the largest log w
    total: sum w / e^maximum
    squares: sum w^2 / e^(2 maximum)
    """

    maximum: Float[Array, " n"]
    total: Float[Array, " n"]
    squares: Float[Array, " n"]


def nothing(like: Float[Array, " n"]) -> Weights:
    """No weights yet, for as many examples, and in the precision, of `like`."""
    return Weights(jnp.full_like(like, -jnp.inf), jnp.zeros_like(like), jnp.zeros_like(like))


def add(weights: Weights, log_w: Float[Array, "k n"]) -> Weights:
    """`weights` and k more of each example. log w = -inf is a weight of 0; nan stays nan."""
    maximum = jnp.maximum(weights.maximum, log_w.max(axis=0))
    # While all weights are 0 there is no largest to divide by, and -inf - (-inf) would be nan.
    unit = jnp.where(jnp.isneginf(maximum), 0.0, maximum)
    w = jnp.exp(log_w - jnp.expand_dims(unit, 0))
    before = jnp.exp(weights.maximum - unit)
    return Weights(
        maximum,
        weights.total * before + w.sum(axis=0),
        weights.squares * before**2 + (w**2).sum(axis=0),
    )


def log_sum(weights: Weights) -> Float[Array, " n"]:
    """log sum w, and -inf where all weights are 0."""
    return weights.maximum + jnp.log(weights.total)


def effective_samples(weights: Weights) -> Float[Array, " n"]:
    """(sum w)^2 / sum w^2: k where k weights are equal, 1 where one outweighs all, 0 without any.

    Reference: Kong, Liu & Wong 1994, Sequential imputations and Bayesian missing data problems.
    """
    empty = weights.squares == 0
    return jnp.where(empty, 0.0, weights.total**2 / jnp.where(empty, 1.0, weights.squares))
