"""The log-likelihood of a model with codes, by importance sampling from the posterior."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from latentgen.core.errors import positive
from latentgen.metrics.weights import Weights, add, effective_samples, log_sum, nothing

Draw = Callable[[Key[Array, ""], int], tuple[Float[Array, "s n d"], Float[Array, "s n"]]]
"""(key, s) -> s codes z ~ q(z|x) of each of n examples, and their log q(z|x)."""

LogDensity = Callable[[Float[Array, "s n d"]], Float[Array, "s n"]]
"""z -> a log-density of each code, in nats; code [i, j] belongs to example j."""


class Importance(NamedTuple):
    """An importance-sampled log-likelihood of n examples.

    log_likelihood: in nats; a lower bound of log p(x) in expectation
    effective_samples: in [1, k], and 0 where no sample has any weight. Far below k, the bound
        rests on few samples and is loose.
    """

    log_likelihood: Float[Array, " n"]
    effective_samples: Float[Array, " n"]


def importance(
    draw: Draw, log_joint: LogDensity, key: Key[Array, ""], k: int, chunk: int
) -> Importance:
    """log 1/k sum_i w_i <= log p(x) in expectation, w_i = p(x, z_i) / q(z_i|x), z_i ~ q(z|x).

    The bound rises with k to log p(x). k = 1 is one sample of the ELBO. Memory holds one chunk,
    whatever k is.

    Args:
        draw: (key, s) -> z of shape (s, n, d), log q of shape (s, n).
        log_joint: z -> log p(x, z) = log p(z) + log p(x|z), shape (s, n).
        key: chunk i draws with fold_in(key, i).
        k: samples for each example.
        chunk: the most samples drawn at once. k is dealt evenly over ceil(k / chunk) chunks, so
            that the last is nearly full; what it has beyond k gets no weight.

    Raises:
        BadInput: k or chunk is not positive.

    Reference: Burda et al. 2015, equation 8 (arXiv:1509.00519).
    """
    chunks = math.ceil(positive("k", k) / positive("chunk", chunk))
    size = math.ceil(k / chunks)

    def log_weights(i: int | Array) -> Float[Array, "s n"]:
        z, log_q = draw(jax.random.fold_in(key, i), size)
        return log_joint(z) - log_q

    def body(i: Array, weights: Weights) -> Weights:
        wanted = jnp.arange(size) < k - i * size
        return add(weights, jnp.where(jnp.expand_dims(wanted, 1), log_weights(i), -jnp.inf))

    shape = jax.eval_shape(log_weights, 0)
    weights = jax.lax.fori_loop(0, chunks, body, nothing(jnp.zeros(shape.shape[1:], shape.dtype)))
    return Importance(log_sum(weights) - math.log(k), effective_samples(weights))


def bits_per_dimension(log_likelihood: Float[Array, " n"], dimensions: int) -> Float[Array, " n"]:
    """-log p(x) / (D ln 2): nats of an example to bits of each of its D = `dimensions` values.

    Of a density the value depends on the units of x: with 256 levels scaled to [0, 1] add 8 to
    compare with models of the levels.
    """
    return -log_likelihood / (dimensions * math.log(2))
