"""Evidence lower bound of a variational autoencoder, free nats, and schedules of beta."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Elbo(NamedTuple):
    """Terms of the bound, per example in nats, and the training loss.

    distortion: -log p(x|z), z ~ q(z|x)
    rate: KL(q(z|x) || p(z))
    negative_elbo: distortion + rate; its expectation is an upper bound on -log p(x)
    loss: distortion + beta rate
    """

    distortion: Float[Array, " n"]
    rate: Float[Array, " n"]
    negative_elbo: Float[Array, " n"]
    loss: Float[Array, " n"]


def elbo(
    log_px: Float[Array, " n"], kl: Float[Array, " n"], beta: float | Float[Array, ""] = 1.0
) -> Elbo:
    """-ELBO(x) = -E_q[log p(x|z)] + KL(q(z|x) || p(z)), and the loss with a weighted KL.

    Args:
        log_px: log p(x|z) in nats.
        kl: in closed form, or sampled: log q(z|x) - log p(z).
        beta: weight of the KL in the loss.

    Reference: Kingma & Welling 2014, equation 7 (arXiv:1312.6114); beta: Higgins et al. 2017.
    """
    return Elbo(-log_px, kl, kl - log_px, beta * kl - log_px)


def free_nats(kl: Float[Array, "n g"], least: float | Float[Array, ""]) -> Float[Array, " n"]:
    """Return values per example whose mean over n is sum_g max(least, mean_n KL_g).

    A group whose mean KL over the minibatch is below `least` gives no gradient. With least = 0 the
    plain KL is returned, even where a sampled KL is negative.

    Args:
        kl: KL of each of g groups of coordinates, in nats.
        least: lambda in the paper, in nats.

    Reference: Kingma et al. 2016, "free bits" (arXiv:1606.04934).
    """
    free = (kl.mean(axis=0, keepdims=True) < least) & (least > 0)
    return jnp.where(free, least, kl).sum(axis=1)


Schedule = Callable[[Int[Array, ""]], Float[Array, ""]]
"""Updates done before this step -> weight."""


def kl_warmup(beta: float | Float[Array, ""], steps: int) -> Schedule:
    """Linear warmup of the KL's weight: beta min(1, (step + 1) / steps); beta if steps = 0.

    Reference: Sonderby et al. 2016, section 2.2 (arXiv:1602.02282).
    """

    def weight(step: Int[Array, ""]) -> Float[Array, ""]:
        ramp = jnp.minimum(1.0, (step + 1) / steps) if steps else jnp.ones(())
        return beta * ramp

    return weight
