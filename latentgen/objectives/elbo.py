"""The evidence lower bound of a variational autoencoder, and weights of its KL."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Elbo(NamedTuple):
    """The two terms of the bound, per example in nats, and the loss that training descends.

    distortion: -log p(x|z), z ~ q(z|x): the distance between output and input
    rate: KL(q(z|x) || p(z))
    negative_elbo: distortion + rate, an upper bound of -log p(x) in expectation
    loss: distortion + beta rate
    """

    distortion: Float[Array, " n"]
    rate: Float[Array, " n"]
    negative_elbo: Float[Array, " n"]
    loss: Float[Array, " n"]


def elbo(
    log_px: Float[Array, " n"], kl: Float[Array, " n"], beta: float | Float[Array, ""] = 1.0
) -> Elbo:
    """-ELBO(x) = -E_q[log p(x|z)] + KL(q(z|x) || p(z)), the KL known or sampled.

    Reference: Kingma & Welling 2014, equation 7 (arXiv:1312.6114); beta: Higgins et al. 2017.
    """
    return Elbo(-log_px, kl, kl - log_px, beta * kl - log_px)


def free_nats(kl: Float[Array, "n g"], least: float | Float[Array, ""]) -> Float[Array, " n"]:
    """sum_g max(least, mean_n KL_g), as one value per example whose mean over n is that.

    A group whose mean KL over the minibatch is below `least` nats gives no gradient. With least = 0
    nothing is free, not even a sampled KL that is negative by chance.

    Reference: Kingma et al. 2016, "free bits" (arXiv:1606.04934).
    """
    free = (kl.mean(axis=0, keepdims=True) < least) & (least > 0)
    return jnp.where(free, least, kl).sum(axis=1)


Schedule = Callable[[Int[Array, ""]], Float[Array, ""]]


def kl_warmup(beta: float | Float[Array, ""], steps: int) -> Schedule:
    """The weight of the KL: beta min(1, (step + 1) / steps), rising linearly; steps = 0: beta.

    Reference: Sonderby et al. 2016, section 2.3 (arXiv:1602.02282).
    """

    def weight(step: Int[Array, ""]) -> Float[Array, ""]:
        ramp = jnp.minimum(1.0, (step + 1) / steps) if steps else jnp.ones(())
        return beta * ramp

    return weight
