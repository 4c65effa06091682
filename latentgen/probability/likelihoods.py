"""Distributions p(x|z) over images, from what a decoder puts out."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import Array, Float

from latentgen.probability.distributions import bernoulli_log_prob, sum_event


class Likelihood(NamedTuple):
    """p(x|z), given the decoder's outputs.

    log_prob: (outputs, x) -> log p(x|z) in nats, summed over the pixels, shape (n,)
    mean: (outputs) -> E[x|z], which is what is shown
    """

    log_prob: Callable[[Float[Array, "n *shape"], Float[Array, "n *shape"]], Float[Array, " n"]]
    mean: Callable[[Float[Array, "n *shape"]], Float[Array, "n *shape"]]


def bernoulli() -> Likelihood:
    """Independent Bernoulli pixels; the outputs are logits. Fits x in [0, 1]."""
    return Likelihood(bernoulli_log_prob, jax.nn.sigmoid)


def normal(std: float | Float[Array, ""]) -> Likelihood:
    """Independent normal pixels around the outputs: N(x; outputs, std^2), one fixed std.

    std: in the units of x.
    """

    def log_prob(
        outputs: Float[Array, "n *shape"], x: Float[Array, "n *shape"]
    ) -> Float[Array, " n"]:
        # With one scalar std, -log std - log(2 pi) / 2 is the same for every pixel.
        scaled = (x - outputs) / std
        constant = jax.numpy.log(std) + 0.5 * math.log(2 * math.pi)
        return -sum_event(0.5 * scaled**2 + constant)

    return Likelihood(log_prob, lambda outputs: outputs)
