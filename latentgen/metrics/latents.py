"""Information about x in the code: active units, and the decomposition of the rate."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from latentgen.metrics.weights import add, log_sum, nothing


def activity(means: Float[Array, "n d"]) -> Float[Array | np.ndarray, " d"]:
    """A_u = Var_x(E_q(z|x)[z_u]) of each coordinate u, from the posteriors' exact means.

    Reference: Burda et al. 2015, section 5.2 (arXiv:1509.00519).
    """
    return activity_from_samples(means, means)


def activity_from_samples(
    first: Float[Array | np.ndarray, "n d"], second: Float[Array | np.ndarray, "n d"]
) -> Float[Array | np.ndarray, " d"]:
    """Unbiased A_u = Cov_x(m1_u, m2_u), from two independent averages of samples of each q(z|x).

    For posteriors whose mean is not known. The noise of m1 and m2 is independent given x, so that
    it adds nothing in expectation, where Var_x(m1) would grow by the noise of the average, and a
    collapsed coordinate of few samples would count as active.

    Args:
        first: m1, the average of some samples of each example.
        second: m2, the average of others.
    """
    centered = first - first.mean(axis=0, keepdims=True)
    return (centered * (second - second.mean(axis=0, keepdims=True))).sum(axis=0) / (len(first) - 1)


def active_units(activity: Float[Array, " d"], threshold: float = 0.01) -> Int[Array, ""]:
    """The number of coordinates with A_u > 0.01.

    Reference: Burda et al. 2015, section 5.2 (arXiv:1509.00519).
    """
    return (activity > threshold).sum()


def log_aggregate(
    pairwise: Callable[[Float[Array, "m d"], Any], Float[Array, "m b"]],
    z: Float[Array, "m d"],
    blocks: Iterable[Any],
) -> Float[Array, " m"]:
    """log q(z_i) = log 1/N sum_j q(z_i|x_j), over the N examples that `blocks` hold together.

    Memory holds m times one block. With the posteriors of one batch of images,

        pairwise = lambda z, x: posterior(x).log_prob(all_pairs(z, len(x)))

    Args:
        pairwise: (z, block) -> log q(z_i|x_j), (m, b), for the b examples of the block; the place
            to jit. Blocks may differ in size.
        blocks: anything that pairwise understands: images, indices, means and stds.
    """
    weights = nothing(z[:, 0])
    count = 0
    for block in blocks:
        log_q = pairwise(z, block)
        weights = add(weights, log_q.T)
        count += log_q.shape[1]
    return log_sum(weights) - jnp.log(count)


def all_pairs(z: Float[Array, "m d"], n: int) -> Float[Array, "m n d"]:
    """Each of m codes beside each of n examples, as a posterior's log_prob wants them."""
    return jnp.broadcast_to(z[:, None, :], (len(z), n, z.shape[1]))


class Surgery(NamedTuple):
    """The rate KL(q(z|x) || p(z)) of each example, with one sample, in two parts, in nats.

    information: log q(z_i|x_i) - log q(z_i). Its mean over the N examples of q(z) estimates
        I(n; z), the mutual information of a code and the index n of its example among those N. It
        is at most log N, each term too, and says nothing of other x.
    marginal_kl: log q(z_i) - log p(z_i). Its mean estimates KL(q(z) || p(z)).
    """

    information: Float[Array, " m"]
    marginal_kl: Float[Array, " m"]


def surgery(
    log_posterior: Float[Array, " m"],
    log_aggregate: Float[Array, " m"],
    log_prior: Float[Array, " m"],
) -> Surgery:
    """1/N sum_n KL(q(z|x_n) || p(z)) = I(n; z) + KL(q(z) || p(z)), q(z) = 1/N sum_j q(z|x_j).

    Args:
        log_posterior: log q(z_i|x_i), z_i ~ q(z|x_i).
        log_aggregate: log q(z_i) over the N evaluated examples, x_i among them: `log_aggregate`.
        log_prior: log p(z_i).

    Reference: Hoffman & Johnson 2016, ELBO surgery: yet another way to carve up the variational
    evidence lower bound (NIPS workshop on advances in approximate Bayesian inference).
    """
    return Surgery(log_posterior - log_aggregate, log_aggregate - log_prior)
