"""Distributions p(x|z) over images, from what a decoder puts out."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from latentgen.core.errors import BadInput
from latentgen.core.types import PyTree
from latentgen.probability.distributions import bernoulli_log_prob, sum_event


class Likelihood(NamedTuple):
    """p(x|z), given the decoder's outputs.

    The outputs have the shape of x but for the last axis, which is `features` times as long.

    features: how many numbers the decoder gives for each value of x
    levels: how many values x can take where log_prob is the logarithm of a probability; None
        where it is that of a density
    init: (key) -> parameters of its own, an empty dict where it has none
    log_prob: (parameters, outputs, x) -> log p(x|z) in nats, summed over the pixels, shape (n,)
    mean: (parameters, outputs) -> E[x|z], which is what is shown
    sample: (parameters, key, outputs) -> x ~ p(x|z)
    std: where p(x|z) is normal around the outputs, (parameters) -> its std; else None
    """

    features: int
    levels: int | None
    init: Callable[[Key[Array, ""]], PyTree]
    log_prob: Callable[
        [PyTree, Float[Array, "n *outputs"], Float[Array, "n *shape"]], Float[Array, " n"]
    ]
    mean: Callable[[PyTree, Float[Array, "n *outputs"]], Float[Array, "n *shape"]]
    sample: Callable[[PyTree, Key[Array, ""], Float[Array, "n *outputs"]], Float[Array, "n *shape"]]
    std: Callable[[PyTree], Float[Array, "*shape"]] | None = None


def bernoulli() -> Likelihood:
    """Independent Bernoulli pixels; the outputs are logits. Fits x in [0, 1]."""

    def sample(
        params: PyTree, key: Key[Array, ""], outputs: Float[Array, "n *shape"]
    ) -> Float[Array, "n *shape"]:
        return jax.random.bernoulli(key, jax.nn.sigmoid(outputs)).astype(outputs.dtype)

    return Likelihood(
        features=1,
        levels=2,
        init=lambda key: {},
        log_prob=lambda params, outputs, x: bernoulli_log_prob(outputs, x),
        mean=lambda params, outputs: jax.nn.sigmoid(outputs),
        sample=sample,
    )


def normal_with(
    init: Callable[[Key[Array, ""]], PyTree], std_of: Callable[[PyTree], Float[Array, "*shape"]]
) -> Likelihood:
    """Independent normal pixels around the outputs: N(x; outputs, std^2).

    Args:
        init: (key) -> parameters.
        std_of: (parameters) -> std in the units of x: one for all pixels, shape (), or one each.
    """

    def log_prob(
        params: PyTree, outputs: Float[Array, "n *shape"], x: Float[Array, "n *shape"]
    ) -> Float[Array, " n"]:
        # Flat: loops over images with a last axis of length 1 are not vectorized on a CPU.
        std = jnp.broadcast_to(std_of(params), x.shape[1:]).reshape(1, -1)
        scaled = (x - outputs).reshape(x.shape[0], -1) / std
        constant = jnp.log(std) + 0.5 * math.log(2 * math.pi)
        return -(0.5 * scaled**2 + constant).sum(axis=1)

    def sample(
        params: PyTree, key: Key[Array, ""], outputs: Float[Array, "n *shape"]
    ) -> Float[Array, "n *shape"]:
        noise = jax.random.normal(key, outputs.shape, outputs.dtype)
        return outputs + jnp.broadcast_to(std_of(params), outputs.shape) * noise

    return Likelihood(
        features=1,
        levels=None,
        init=init,
        log_prob=log_prob,
        mean=lambda params, outputs: outputs,
        sample=sample,
        std=std_of,
    )


def normal(std: float | Float[Array, ""]) -> Likelihood:
    """Independent normal pixels around the outputs: N(x; outputs, std^2), one fixed std.

    std: in the units of x.
    """
    return normal_with(lambda key: {}, lambda params: jnp.asarray(std))


def std_params(
    std: float | Float[Array, "*shape"], floor: float | Float[Array, ""]
) -> dict[str, Float[Array, "*shape"]]:
    """The parameters of `normal_learned` (std of shape ()) or `normal_per_pixel` that give `std`.

    log_std = log(std - floor). A std at the floor or below it, as a closed-form solution has for
    a pixel that never changes, becomes the floor, to the precision of the numbers.
    """
    above = jnp.asarray(std) - floor
    least = jnp.finfo(above.dtype).eps * jnp.maximum(floor, jnp.finfo(above.dtype).eps)
    return {"log_std": jnp.log(jnp.maximum(above, least))}


def std_from(params: PyTree, floor: float | Float[Array, ""]) -> Float[Array, "*shape"]:
    """The std that the parameters stand for: floor + exp(log_std)."""
    return floor + jnp.exp(params["log_std"])


def normal_learned(std: float | Float[Array, ""], floor: float | Float[Array, ""]) -> Likelihood:
    """Independent normal pixels around the outputs, all with one learned std.

    std = floor + exp(log_std), with log_std a trained parameter of shape ().

    The floor keeps the density finite: where the decoder can match the data exactly, nothing else
    stops the std on its way to 0 and the density on its way to infinity.

    Args:
        std: where training starts, in the units of x.
        floor: below `std`, in the units of x.

    Raises:
        BadInput: the floor is negative or not below std.
    """
    return normal_per_pixel((), std, floor)


def normal_per_pixel(
    shape: tuple[int, ...], std: float | Float[Array, ""], floor: float | Float[Array, ""]
) -> Likelihood:
    """Independent normal pixels around the outputs, each with a learned std of its own.

    std = floor + exp(log_std), with log_std a trained parameter of shape `shape`.

    The floor keeps the density finite: a pixel that is the same in all the data, as in the
    corners of MNIST, would drive its std to 0 and the density to infinity.

    Args:
        shape: that of one x.
        std: where training starts, in the units of x.
        floor: below `std`, in the units of x.

    Raises:
        BadInput: the floor is negative or not below std.
    """
    if isinstance(std, float) and isinstance(floor, float) and not 0 <= floor < std:
        raise BadInput(f"floor={floor} must be at least 0 and below std={std}.")

    def init(key: Key[Array, ""]) -> dict[str, Float[Array, "*shape"]]:
        return std_params(jnp.full(shape, std), floor)

    return normal_with(init, lambda params: std_from(params, floor))


class Grid(NamedTuple):
    """The values that x can take: low + i (high - low) / (levels - 1), i = 0 ... levels - 1."""

    low: float
    high: float
    levels: int

    @property
    def step(self) -> float:
        """From one level to the next."""
        return (self.high - self.low) / (self.levels - 1)

    def nearest(self, x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """i of the level nearest to x."""
        return jnp.clip(jnp.round((x - self.low) / self.step), 0, self.levels - 1)

    def value(self, index: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """The value of level i."""
        return self.low + self.step * index


def grid(low: float, high: float, levels: int) -> Grid:
    """The checked grid.

    Raises:
        BadInput: fewer than two levels, or low is not below high.
    """
    if levels < 2:
        raise BadInput(f"levels={levels} must be at least 2.")
    if not low < high:
        raise BadInput(f"low={low} must be below high={high}.")
    return Grid(low, high, levels)


def log_one_minus_exp(log_y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 - exp(-y)) from log y, finite with finite gradients for every log y.

    For small y it is log y - y/2 + O(y^2), which does not ask whether exp(log y) underflows.
    """
    y, small = jnp.exp(jnp.minimum(log_y, 7.0)), 1e-7  # exp(-e^7) is 0
    return jnp.where(y < small, log_y - 0.5 * y, jnp.log(-jnp.expm1(-jnp.maximum(y, small))))


LEAST_LOG_SCALE = -7.0  # of the logistic, in halves of the range: as in PixelCNN++, 1/9 of 1/256
START_LOG_SCALE = -1.0  # with outputs of 0: a std of 1/3 of the range


def discretized_logistic(low: float, high: float, levels: int = 256) -> Likelihood:
    """Independent pixels on a grid of levels: a logistic distribution, rounded to the grid.

    P(x) = F(x + bin/2) - F(x - bin/2) with F(v) = sigmoid((v - mean) / scale); the lowest level
    takes all below it and the highest all above, so that the levels' probabilities add up to 1.
    With u and v = the arguments of the two sigmoids,
    log P(x) = log sigmoid(u) + log sigmoid(-v) + log(1 - exp(v - u)),
    exactly, without a difference of nearly equal numbers.

    The last axis of the outputs is [a, b], halves of equal length. In units of half the range:
    mean = a from the middle of the range; log scale = -7 + softplus(6 + b), which is b - 1 but for
    its lower bound. Outputs of 0 thus put the mean in the middle and the std at a third of the
    range. `mean` is the exact mean of the discrete distribution; an x between two levels counts
    as the nearest.

    Raises:
        BadInput: fewer than two levels, or low is not below high.

    Reference: Salimans et al. 2017, equation 2 (arXiv:1701.05517); Kingma et al. 2016
    (arXiv:1606.04934).
    """
    at = grid(low, high, levels)
    middle, half = (low + high) / 2, (high - low) / 2

    def logistic(
        outputs: Float[Array, "n *outputs"],
    ) -> tuple[Float[Array, "n *shape"], Float[Array, "n *shape"]]:
        a, b = jnp.split(outputs, 2, axis=-1)
        bounded = jax.nn.softplus(b + (START_LOG_SCALE - LEAST_LOG_SCALE))
        return middle + half * a, math.log(half) + LEAST_LOG_SCALE + bounded

    def log_prob(
        params: PyTree, outputs: Float[Array, "n *outputs"], x: Float[Array, "n *shape"]
    ) -> Float[Array, " n"]:
        mean, log_scale = logistic(outputs)
        i, per_scale = at.nearest(x), jnp.exp(-log_scale)
        centre, half_bin = (at.value(i) - mean) * per_scale, 0.5 * at.step * per_scale
        not_highest, not_lowest = i < levels - 1, i > 0
        below_upper = jnp.where(not_highest, jax.nn.log_sigmoid(centre + half_bin), 0)
        above_lower = jnp.where(not_lowest, jax.nn.log_sigmoid(half_bin - centre), 0)
        between = log_one_minus_exp(math.log(at.step) - log_scale)
        between = jnp.where(not_highest & not_lowest, between, 0)
        return sum_event(below_upper + above_lower + between)

    def mean(params: PyTree, outputs: Float[Array, "n *outputs"]) -> Float[Array, "n *shape"]:
        mean, log_scale = logistic(outputs)
        per_scale = jnp.exp(-log_scale)

        # E[i] = sum of P(i > j) over j = 0 ... levels - 2. A loop: never all levels in memory.
        def add(j: Int[Array, ""], total: Float[Array, "n *shape"]) -> Float[Array, "n *shape"]:
            edge = low + at.step * (j + 0.5)
            return total + jax.nn.sigmoid((mean - edge) * per_scale)

        return at.value(jax.lax.fori_loop(0, levels - 1, add, jnp.zeros_like(mean)))

    def sample(
        params: PyTree, key: Key[Array, ""], outputs: Float[Array, "n *outputs"]
    ) -> Float[Array, "n *shape"]:
        mean, log_scale = logistic(outputs)
        noise = jax.random.logistic(key, mean.shape, mean.dtype)
        return at.value(at.nearest(mean + jnp.exp(log_scale) * noise))

    return Likelihood(2, levels, lambda key: {}, log_prob, mean, sample)


def categorical(low: float, high: float, levels: int = 256) -> Likelihood:
    """Independent pixels on a grid of levels, each level with a probability of its own.

    P(x = level i) = softmax(logits)_i. The last axis of the outputs, of length c * levels where
    that of x has length c, is read as (c, levels). An x between two levels counts as the nearest.

    Raises:
        BadInput: fewer than two levels, or low is not below high.

    Reference: van den Oord et al. 2016, section 3.3 (arXiv:1601.06759).
    """
    at = grid(low, high, levels)

    def logits_of(outputs: Float[Array, "n *outputs"]) -> Float[Array, "n *shape levels"]:
        return outputs.reshape(*outputs.shape[:-1], -1, levels)

    def log_prob(
        params: PyTree, outputs: Float[Array, "n *outputs"], x: Float[Array, "n *shape"]
    ) -> Float[Array, " n"]:
        logits, i = logits_of(outputs), at.nearest(x).astype(int)
        chosen = jnp.take_along_axis(logits, i[..., None], axis=-1)[..., 0]
        return sum_event(chosen - jax.nn.logsumexp(logits, axis=-1))

    def mean(params: PyTree, outputs: Float[Array, "n *outputs"]) -> Float[Array, "n *shape"]:
        values = at.value(jnp.arange(levels, dtype=outputs.dtype))
        return jax.nn.softmax(logits_of(outputs), axis=-1) @ values

    def sample(
        params: PyTree, key: Key[Array, ""], outputs: Float[Array, "n *outputs"]
    ) -> Float[Array, "n *shape"]:
        i = jax.random.categorical(key, logits_of(outputs))
        return at.value(i.astype(outputs.dtype))

    return Likelihood(levels, levels, lambda key: {}, log_prob, mean, sample)
