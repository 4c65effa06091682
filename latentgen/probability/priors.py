"""Distributions p(z) that codes are drawn from.

A `Prior` is a density with its parameters in place. A `LearnedPrior` makes one from parameters
that are trained with the rest, and from the encoder, which VampPrior asks.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from latentgen.core.errors import BadInput, positive
from latentgen.core.types import Net, PyTree
from latentgen.probability.distributions import Normal, normal_log_prob, normal_sample
from latentgen.probability.posteriors import Posterior, conditional, net_params, of_normal


class Prior(NamedTuple):
    """p(z) over codes of `dim` coordinates.

    sample: (key, n) -> z of shape (n, dim)
    log_prob: (z) -> log p(z) in nats, shape (n,)
    """

    dim: int
    sample: Callable[[Key[Array, ""], int], Float[Array, "n d"]]
    log_prob: Callable[[Float[Array, "n d"]], Float[Array, " n"]]


Encode = Callable[[Float[Array, "n *shape"]], Posterior]


class LearnedPrior(NamedTuple):
    """A prior with parameters.

    init: (key) -> its parameters, an empty dict where it has none
    at: (parameters, encode) -> the prior they make, where encode is x -> q(z|x)
    """

    init: Callable[[Key[Array, ""]], PyTree]
    at: Callable[[PyTree, Encode], Prior]


def fixed(prior: Prior) -> LearnedPrior:
    """`prior` as one without parameters."""
    return LearnedPrior(lambda key: {}, lambda params, encode: prior)


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


PAIRS = 2**24  # numbers in memory at once, of codes compared with components: 64 MiB in float32


def mixture_log_prob(
    components: Posterior, log_weights: Float[Array, " m"], z: Float[Array, "n d"]
) -> Float[Array, " n"]:
    """log sum_j w_j q_j(z) over m components, in nats, a chunk of the n codes at a time.

    A chunk compares at most `PAIRS` numbers (codes times components times d), or one code with all
    components; the backward pass computes a chunk anew. One chunk is no loop.
    """
    (n, dim), m = z.shape, len(log_weights)

    def chunk(z: Float[Array, "c d"]) -> Float[Array, " c"]:
        pairs = jnp.broadcast_to(z[:, None], (z.shape[0], m, dim))
        return jax.nn.logsumexp(components.log_prob(pairs) + log_weights[None], axis=1)

    size = max(1, PAIRS // (m * dim))
    if n <= size:
        return chunk(z)
    padded = jnp.pad(z, ((0, -n % size), (0, 0)), mode="edge").reshape(-1, size, dim)
    return jax.lax.map(jax.checkpoint(chunk), padded).reshape(-1)[:n]


def aggregate(encode: Encode, x: Float[Array, "m *shape"], dim: int) -> Prior:
    """The mixture of the posteriors of m inputs: p(z) = 1/m sum_j q(z|x_j).

    With x the training set, the aggregate posterior, one normal per training example; with x
    trained pseudo-inputs, VampPrior. A sample encodes only the inputs that it draws.

    Reference: Tomczak & Welling 2018, equation 9 (arXiv:1705.07120).
    """
    m = x.shape[0]

    def sample(key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
        which, noise = jax.random.split(key)
        j = jax.random.randint(which, (n,), 0, m)
        return encode(x[j]).draw(noise, 1)[0][0]

    def log_prob(z: Float[Array, "n d"]) -> Float[Array, " n"]:
        return mixture_log_prob(encode(x), jnp.full(m, -math.log(m), z.dtype), z)

    return Prior(dim, sample, log_prob)


def mixture(dim: int, components: int) -> LearnedPrior:
    """A mixture of diagonal normals: p(z) = sum_j w_j N(z; mean_j, diag(std_j^2)).

    Means, log stds and the weights' logits are trained. They start at means from N(0, I), stds of
    1 and equal weights.

    Raises:
        BadInput: components below 1.
    """
    positive("components", components)

    def init(key: Key[Array, ""]) -> PyTree:
        return {
            "mean": jax.random.normal(key, (components, dim)),
            "log_std": jnp.zeros((components, dim)),
            "logits": jnp.zeros(components),
        }

    def at(params: PyTree, encode: Encode) -> Prior:
        mean, log_std, logits = params["mean"], params["log_std"], params["logits"]

        def sample(key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
            which, noise = jax.random.split(key)
            j = jax.random.categorical(which, logits, shape=(n,))
            return normal_sample(Normal(mean[j], log_std[j]), noise)

        def log_prob(z: Float[Array, "n d"]) -> Float[Array, " n"]:
            normals = of_normal(Normal(mean, log_std))
            return mixture_log_prob(normals, jax.nn.log_softmax(logits), z)

        return Prior(dim, sample, log_prob)

    return LearnedPrior(init, at)


def pseudo_inputs(
    params: PyTree, low: float | None, high: float | None, clipped: bool = False
) -> Float[Array, "m *shape"]:
    """The inputs that VampPrior's parameters stand for: low + (high - low) sigmoid(parameter).

    Without bounds the parameters themselves; `clipped`: the parameters, cut off at the bounds.
    """
    raw = params["pseudo_inputs"]
    if low is None or high is None:
        return raw
    return jnp.clip(raw, low, high) if clipped else low + (high - low) * jax.nn.sigmoid(raw)


def vamp(
    dim: int,
    components: int,
    x_shape: tuple[int, ...],
    low: float | None,
    high: float | None,
    clipped: bool = False,
) -> LearnedPrior:
    """VampPrior: the mixture of the posteriors of m trained pseudo-inputs, 1/m sum_j q(z|u_j).

    The pseudo-inputs start around the middle of the data's range, or from N(0, I) without bounds.

    Args:
        components: m.
        x_shape: the shape of one input.
        low: the least value in the data; None where it has no bounds, and then `high` too.
        high: the greatest.
        clipped: as the authors' code has it: cut off at the bounds, from N(0.05, 0.01^2) of the
            range at the start.

    Raises:
        BadInput: components below 1; only one bound, or low not below high.

    Reference: Tomczak & Welling 2018, equation 9 (arXiv:1705.07120).
    """
    positive("components", components)
    if (low is None) != (high is None) or (low is not None and high is not None and low >= high):
        raise BadInput(f"low={low} must be below high={high}, or both None.")

    def init(key: Key[Array, ""]) -> PyTree:
        raw = jax.random.normal(key, (components, *x_shape))
        if clipped and low is not None and high is not None:
            raw = low + (high - low) * (0.05 + 0.01 * raw)
        return {"pseudo_inputs": raw}

    def at(params: PyTree, encode: Encode) -> Prior:
        return aggregate(encode, pseudo_inputs(params, low, high, clipped), dim)

    return LearnedPrior(init, at)


def two_layers(first: int, second: int, middle: Net, top: LearnedPrior) -> LearnedPrior:
    """Two stochastic layers: the code is [h1, h2], p(h1, h2) = p(h2) p(h1|h2).

    p(h1|h2) is a diagonal normal of which the network `middle` gives mean and log std.

    Args:
        first: coordinates of h1, which the decoder sees.
        second: coordinates of h2.
        middle: h2 (m, second) -> mean and log std of h1, (m, 2 first).
        top: p(h2), over `second` coordinates.

    Reference: Burda et al. 2016, section 2 (arXiv:1509.00519).
    """

    def init(key: Key[Array, ""]) -> PyTree:
        middle_key, top_key = jax.random.split(key)
        inputs = jnp.zeros((1, second))
        return {"middle": net_params(middle, middle_key, inputs), "top": top.init(top_key)}

    def at(params: PyTree, encode: Encode) -> Prior:
        upper = top.at(params["top"], encode)

        def lower(h2: Float[Array, "n e"]) -> Normal:
            return conditional(middle, params["middle"], h2[None])

        def sample(key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
            first_key, second_key = jax.random.split(key)
            h2 = upper.sample(second_key, n)
            return jnp.concatenate([normal_sample(lower(h2), first_key), h2], axis=1)

        def log_prob(z: Float[Array, "n d"]) -> Float[Array, " n"]:
            h1, h2 = jnp.split(z, [first], axis=1)
            return normal_log_prob(lower(h2), h1) + upper.log_prob(h2)

        return Prior(first + second, sample, log_prob)

    return LearnedPrior(init, at)


PRIORS: dict[str, Callable[[int], Prior]] = {"normal": normal, "uniform": uniform}
"""Priors without parameters, by name."""
