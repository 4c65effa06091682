"""Distributions q(z|x) over codes, from what an encoder puts out.

A `Posterior` holds those of n examples. A `PosteriorFamily` makes it from the encoder's outputs
and, for some, from parameters of its own.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from latentgen.core.errors import BadInput, positive
from latentgen.core.split import flatten_samples, unflatten_samples
from latentgen.core.types import Net, PyTree
from latentgen.probability.distributions import (
    Normal,
    kl_to_standard_normal,
    noise_log_prob,
    normal_log_prob,
    sum_event,
)


class Posterior(NamedTuple):
    """q(z|x) of n examples.

    draw: (key, k) -> k reparametrized codes of each, z of shape (k, n, d), and their log q(z|x)
        in nats, (k, n)
    log_prob: z of shape (k, n, d) -> log q(z|x), (k, n), for any z; code [i, j] under example j
    centre: the code that no noise gives, (n, d); the mean where q is normal
    kl: KL(q(z|x) || N(0, I)) in nats in closed form, (n, g): one column for each group of
        coordinates that is independent of the others; None where there is no closed form
    """

    draw: Callable[[Key[Array, ""], int], tuple[Float[Array, "k n d"], Float[Array, "k n"]]]
    log_prob: Callable[[Float[Array, "k n d"]], Float[Array, "k n"]]
    centre: Float[Array, "n d"]
    kl: Float[Array, "n g"] | None


class PosteriorFamily(NamedTuple):
    """A parametric family of posteriors q(z|x).

    outputs: number of encoder outputs per example
    init: (key) -> parameters of its own, an empty dict where it has none
    at: (parameters, outputs (n, `outputs`)) -> the posteriors of the n examples
    """

    outputs: int
    init: Callable[[Key[Array, ""]], PyTree]
    at: Callable[[PyTree, Float[Array, "n o"]], Posterior]


def diagonal_normal(outputs: Float[Array, "n d2"]) -> Normal:
    """The first half of the outputs is the mean, the second the logarithm of the std."""
    mean, log_std = jnp.split(outputs, 2, axis=1)
    return Normal(mean, log_std)


def of_normal(normal: Normal) -> Posterior:
    """n normals with diagonal covariance as posteriors."""
    mean, log_std = normal

    def log_prob(z: Float[Array, "k n d"]) -> Float[Array, "k n"]:
        return jax.vmap(normal_log_prob, (None, 0))(normal, z)

    def draw(key: Key[Array, ""], k: int) -> tuple[Float[Array, "k n d"], Float[Array, "k n"]]:
        noise = jax.random.normal(key, (k, *mean.shape), mean.dtype)
        z = jnp.expand_dims(mean, 0) + jnp.expand_dims(normal.std, 0) * noise
        return z, jax.vmap(noise_log_prob, (0, None))(noise, log_std)

    return Posterior(draw, log_prob, mean, kl_to_standard_normal(normal))


def diagonal(dim: int) -> PosteriorFamily:
    """N(mean, diag(std^2)): the outputs are mean and log std.

    Reference: Kingma & Welling 2014, section 3 and appendix B (arXiv:1312.6114).
    """
    return PosteriorFamily(
        2 * dim, lambda key: {}, lambda params, outputs: of_normal(diagonal_normal(outputs))
    )


def log_softplus(raw: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(log(1 + exp(raw))), which for very negative raw is raw - exp(raw) / 2, not log 0."""
    low = -20.0
    # Both branches are kept in range: a gradient of 0 times inf is nan.
    below = raw - 0.5 * jnp.exp(jnp.minimum(raw, low))
    return jnp.where(raw < low, below, jnp.log(jax.nn.softplus(jnp.maximum(raw, low))))


def diagonal_softplus(dim: int) -> PosteriorFamily:
    """N(mean, diag(std^2)): the outputs are mean and r, std = softplus(r) = log(1 + exp(r)).

    Where exp is steep, softplus is nearly linear: a large r does not explode.
    """

    def at(params: PyTree, outputs: Float[Array, "n o"]) -> Posterior:
        mean, raw = jnp.split(outputs, 2, axis=1)
        return of_normal(Normal(mean, log_softplus(raw)))

    return PosteriorFamily(2 * dim, lambda key: {}, at)


def full(dim: int) -> PosteriorFamily:
    """N(mean, L L^T) with a covariance of every pair of coordinates.

    The outputs are the mean and the d(d+1)/2 entries of the lower triangle of L row by row, of
    the diagonal the logarithms.
    KL(q || N(0, I)) = 1/2 [|mean|^2 + |L|^2 - d] - sum_i log L_ii, |L|^2 the sum of all squares.

    Reference: Kingma & Welling 2019, section 2.5.1 (arXiv:1906.02691).
    """
    rows, columns = np.tril_indices(dim)

    def at(params: PyTree, outputs: Float[Array, "n o"]) -> Posterior:
        mean, entries = jnp.split(outputs, [dim], axis=1)
        log_diagonal = entries[:, rows == columns]
        entries = entries.at[:, rows == columns].set(jnp.exp(log_diagonal))
        factor = jnp.zeros((len(mean), dim, dim), mean.dtype).at[:, rows, columns].set(entries)
        # The density of the noise, over the determinant of L.
        of_noise = jax.vmap(noise_log_prob, (0, None))

        def draw(key: Key[Array, ""], k: int) -> tuple[Float[Array, "k n d"], Float[Array, "k n"]]:
            noise = jax.random.normal(key, (k, *mean.shape), mean.dtype)
            z = jnp.expand_dims(mean, 0) + jnp.einsum("nij,knj->kni", factor, noise)
            return z, of_noise(noise, log_diagonal)

        def log_prob(z: Float[Array, "k n d"]) -> Float[Array, "k n"]:
            apart = jnp.transpose(z - jnp.expand_dims(mean, 0), (1, 2, 0))
            noise = jax.scipy.linalg.solve_triangular(factor, apart, lower=True)
            return of_noise(jnp.transpose(noise, (2, 0, 1)), log_diagonal)

        squares = sum_event(mean**2) + sum_event(factor**2)
        kl = 0.5 * (squares - dim) - sum_event(log_diagonal)
        return Posterior(draw, log_prob, mean, kl[:, None])

    return PosteriorFamily(dim + dim * (dim + 1) // 2, lambda key: {}, at)


def log_slope_of_tanh(u: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)), finite for every u."""
    return 2 * (math.log(2) - u - jax.nn.softplus(-2 * u))


def squashed(dim: int) -> PosteriorFamily:
    """z = tanh(u), u ~ N(mean, diag(std^2)): inside the cube [-1, 1]^d, like the uniform prior.

    log q(z) = log N(u; mean, std^2) - sum log(1 - tanh(u)^2), u = artanh(z); -inf outside the cube.
    The outputs are mean and log std of u; the centre is tanh(mean).

    Next to the faces of the cube, beyond |u| = 8 in float32, the numbers cannot tell codes apart:
    `draw` keeps z strictly inside and its log q is exact, as it knows u; `log_prob` takes z = 1 as
    the last number before 1.
    """

    def at(params: PyTree, outputs: Float[Array, "n o"]) -> Posterior:
        normal = of_normal(diagonal_normal(outputs))
        inside = 1 - jnp.finfo(outputs.dtype).epsneg

        def squash(u: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
            return jnp.clip(jnp.tanh(u), -inside, inside)

        def draw(key: Key[Array, ""], k: int) -> tuple[Float[Array, "k n d"], Float[Array, "k n"]]:
            u, log_q = normal.draw(key, k)
            return squash(u), log_q - log_slope_of_tanh(u).sum(axis=2)

        def log_prob(z: Float[Array, "k n d"]) -> Float[Array, "k n"]:
            u = jnp.arctanh(jnp.clip(z, -inside, inside))
            log_q = normal.log_prob(u) - log_slope_of_tanh(u).sum(axis=2)
            return jnp.where((jnp.abs(z) <= 1).all(axis=2), log_q, -jnp.inf)

        return Posterior(draw, log_prob, squash(normal.centre), None)

    return PosteriorFamily(2 * dim, lambda key: {}, at)


def net_params(net: Net, key: Key[Array, ""], *inputs: Array) -> PyTree:
    """The parameters of a network inside a distribution.

    Raises:
        BadInput: the network remembers stats, which a distribution has no place for.
    """
    params, stats = net.init(key, *inputs)
    if jax.tree.leaves(stats):
        raise BadInput("norm='batch' is not possible in a network inside a prior or posterior.")
    return params


def net_output(net: Net, params: PyTree, *inputs: Float[Array, "n _"]) -> Float[Array, "n o"]:
    """Return the output of a network without stats in evaluation mode, without dropout."""
    return net.apply(params, {}, *inputs, train=False)[0]


OPEN = 2.0  # added to a gate before the sigmoid: s = 0.88 at the start
LEAST_GATE = -7.0  # before the sigmoid: s > 1/1100, so that the flow can be inverted numerically


def gates(
    net: Net, params: PyTree, z: Float[Array, "m d"], context: Float[Array, "m c"]
) -> tuple[Float[Array, "m d"], Float[Array, "m d"]]:
    """Return `towards` and log s of one flow step z <- s * z + (1 - s) * towards."""
    towards, raw = jnp.split(net_output(net, params, z, context), 2, axis=1)
    return towards, jax.nn.log_sigmoid(jnp.maximum(raw + OPEN, LEAST_GATE))


def flow(
    made: Net, params: PyTree, z: Float[Array, "m d"], context: Float[Array, "m c"]
) -> tuple[Float[Array, "m d"], Float[Array, " m"]]:
    """Apply autoregressive steps z <- s * z + (1 - s) * towards, in alternating coordinate order.

    Args:
        made: network that computes `towards` and the logit of s, of coordinate i from the
            coordinates before i.
        params: parameters of `made`, each leaf with a leading axis over the steps.

    Returns:
        z after the steps, and log |det dz_after / dz_before| = sum log s.
    """

    def step(
        carry: tuple[Float[Array, "m d"], Float[Array, " m"]], params: PyTree
    ) -> tuple[tuple[Float[Array, "m d"], Float[Array, " m"]], None]:
        z, log_det = carry
        towards, log_s = gates(made, params, z, context)
        z = jnp.exp(log_s) * z - jnp.expm1(log_s) * towards
        return (jnp.flip(z, axis=1), log_det + log_s.sum(axis=1)), None

    (z, log_det), _ = jax.lax.scan(step, (z, jnp.zeros_like(z[:, 0])), params)
    return straight(z, params), log_det


def inverse_flow(
    made: Net, params: PyTree, z: Float[Array, "m d"], context: Float[Array, "m c"]
) -> tuple[Float[Array, "m d"], Float[Array, " m"]]:
    """The z that `flow` turns into this one, and the log-determinant of `flow` there.

    A step is inverted one coordinate after the other, as coordinate i needs those before it: d
    times through the network.
    """
    index = jnp.arange(z.shape[1])[None]

    def step(
        carry: tuple[Float[Array, "m d"], Float[Array, " m"]], params: PyTree
    ) -> tuple[tuple[Float[Array, "m d"], Float[Array, " m"]], None]:
        after, log_det = jnp.flip(carry[0], axis=1), carry[1]

        def one(i: Int[Array, ""], before: Float[Array, "m d"]) -> Float[Array, "m d"]:
            towards, log_s = gates(made, params, before, context)
            return jnp.where(index == i, towards + (after - towards) * jnp.exp(-log_s), before)

        # The bounds are static: then the loop is a scan, which reverse mode goes through.
        before = jax.lax.fori_loop(0, z.shape[1], one, jnp.zeros_like(after))
        log_s = gates(made, params, before, context)[1]
        return (before, log_det + log_s.sum(axis=1)), None

    carry = (straight(z, params), jnp.zeros_like(z[:, 0]))
    (z, log_det), _ = jax.lax.scan(step, carry, params, reverse=True)
    return z, log_det


def straight(z: Float[Array, "m d"], params: PyTree) -> Float[Array, "m d"]:
    """Undo the one reversal that an odd number of steps leaves."""
    odd = len(jax.tree.leaves(params)[0]) % 2
    return jnp.flip(z, axis=1) if odd else z


def inverse_autoregressive(dim: int, made: Net, steps: int, context: int) -> PosteriorFamily:
    """Inverse autoregressive flow: a diagonal normal, bent by `steps` autoregressive steps.

    z_0 = mean + std * eps; z_t = s_t * z_{t-1} + (1 - s_t) * m_t, where s_t = sigmoid(raw_t + 2)
    and m_t of coordinate i come from the coordinates of z_{t-1} before i and from the context.
    log q(z_T|x) = log N(z_0; mean, std^2) - sum_t sum_i log s_t,i. Every step goes through the
    coordinates in the order opposite to that of the step before it. The encoder's outputs are
    mean, log std and the context. `draw` is one pass; `log_prob` inverts the flow in d passes a
    step. The centre is what the flow makes of the mean.

    Args:
        made: (z (m, d), context (m, c)) -> (m, 2d): m_t and raw_t, of coordinate i a function of
            those before i. Each step has parameters of its own.
        context: c, how many of the encoder's outputs every step sees.

    Raises:
        BadInput: steps below 1.

    Reference: Kingma et al. 2016, algorithm 1 and section 4 (arXiv:1606.04934).
    """
    positive("steps", steps)

    def init(key: Key[Array, ""]) -> PyTree:
        inputs = jnp.zeros((1, dim)), jnp.zeros((1, context))
        return jax.vmap(lambda key: net_params(made, key, *inputs))(jax.random.split(key, steps))

    def at(params: PyTree, outputs: Float[Array, "n o"]) -> Posterior:
        base = of_normal(diagonal_normal(outputs[:, : 2 * dim]))
        seen = outputs[:, 2 * dim :]

        def through(
            transform: Callable[..., tuple[Array, Array]], z: Float[Array, "k n d"]
        ) -> tuple[Float[Array, "k n d"], Float[Array, "k n"]]:
            contexts = flatten_samples(jnp.broadcast_to(seen, (*z.shape[:2], context)))
            moved, log_det = transform(made, params, flatten_samples(z), contexts)
            return unflatten_samples(moved, z.shape[0]), unflatten_samples(log_det, z.shape[0])

        def draw(key: Key[Array, ""], k: int) -> tuple[Float[Array, "k n d"], Float[Array, "k n"]]:
            start, log_q = base.draw(key, k)
            z, log_det = through(flow, start)
            return z, log_q - log_det

        def log_prob(z: Float[Array, "k n d"]) -> Float[Array, "k n"]:
            start, log_det = through(inverse_flow, z)
            return base.log_prob(start) - log_det

        return Posterior(draw, log_prob, through(flow, base.centre[None])[0][0], None)

    return PosteriorFamily(2 * dim + context, init, at)


def conditional(net: Net, params: PyTree, given: Float[Array, "k n a"]) -> Normal:
    """The k n diagonal normals over a further layer of codes that a network makes of one.

    Returns:
        Normals flat over k and n: mean and log std of shape (k n, b).
    """
    return diagonal_normal(net_output(net, params, given.reshape(-1, given.shape[-1])))


def two_layers(first: int, second: int, middle: Net) -> PosteriorFamily:
    """Two stochastic layers: the code is [h1, h2], q(h1, h2|x) = q(h1|x) q(h2|h1).

    Both are diagonal normals: of h1 the encoder gives mean and log std, of h2 the network `middle`
    does. The centre chains the means.

    Args:
        first: coordinates of h1, which the decoder sees.
        second: coordinates of h2.
        middle: h1 (m, first) -> mean and log std of h2, (m, 2 second).

    Reference: Burda et al. 2016, section 2 (arXiv:1509.00519).
    """

    def init(key: Key[Array, ""]) -> PyTree:
        return net_params(middle, key, jnp.zeros((1, first)))

    def at(params: PyTree, outputs: Float[Array, "n o"]) -> Posterior:
        lower = of_normal(diagonal_normal(outputs))

        def draw(key: Key[Array, ""], k: int) -> tuple[Float[Array, "k n d"], Float[Array, "k n"]]:
            first_key, second_key = jax.random.split(key)
            h1, log_q = lower.draw(first_key, k)
            h2, log_q_upper = of_normal(conditional(middle, params, h1)).draw(second_key, 1)
            z = jnp.concatenate([h1, h2.reshape(*log_q.shape, second)], axis=2)
            return z, log_q + log_q_upper.reshape(log_q.shape)

        def log_prob(z: Float[Array, "k n d"]) -> Float[Array, "k n"]:
            h1, h2 = jnp.split(z, [first], axis=2)
            upper = normal_log_prob(conditional(middle, params, h1), h2.reshape(-1, second))
            return lower.log_prob(h1) + upper.reshape(z.shape[:2])

        mean = conditional(middle, params, lower.centre[None]).mean
        return Posterior(draw, log_prob, jnp.concatenate([lower.centre, mean], axis=1), None)

    return PosteriorFamily(2 * first, init, at)


POSTERIORS: dict[str, Callable[[int], PosteriorFamily]] = {
    "diagonal": diagonal,
    "diagonal_softplus": diagonal_softplus,
    "full": full,
    "squashed": squashed,
}
"""Families that need nothing but the code's dimension, by name."""
