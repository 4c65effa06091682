"""Second tasks of a discriminator, in which it cooperates with the generator.

The discriminator has further outputs beside its logit; both players ascend the value of these. In
an ACGAN they are a classifier of x (Odena et al. 2017, arXiv:1610.09585), in an InfoGAN Q(c|x) of
the generator's codes c (Chen et al. 2016, arXiv:1606.03657).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from latentgen.core.types import Terms
from latentgen.probability.codes import Codes


class Sides(NamedTuple):
    """What a second task is judged by: classes and codes of a batch, and the further outputs."""

    label: Int[Array, " n"]
    z: Float[Array, "n d"]
    real: Float[Array, "n o"]
    synthetic: Float[Array, "n o"]


class Auxiliary(NamedTuple):
    """A second task.

    outputs: of the discriminator beside its logit
    value: `Sides` -> terms in nats, each of shape (n,); both players ascend `weight` times the sum
    """

    outputs: int
    value: Callable[[Sides], Terms]
    weight: float | Float[Array, ""] = 1.0


def class_log_prob(logits: Float[Array, "n k"], label: Int[Array, " n"]) -> Float[Array, " n"]:
    """log p(class | x), in nats."""
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits, axis=1), label[:, None], axis=1)
    return chosen[:, 0]


def classifier(classes: int, weight: float | Float[Array, ""] = 1.0) -> Auxiliary:
    """L_C = E log p(class | real x) + E log p(class | synthetic x), which both players ascend.

    With a classifier, the classes of the samples become less diverse than the data's: they lie
    where the classifier is sure.

    Reference: Odena et al. 2017, equation 3 (arXiv:1610.09585).
    """

    def value(sides: Sides) -> Terms:
        return {
            "class_real": class_log_prob(sides.real, sides.label),
            "class_synthetic": class_log_prob(sides.synthetic, sides.label),
        }

    return Auxiliary(classes, value, weight)


def categorical_information(
    logits: Float[Array, "n k"], one_hot: Float[Array, "n k"]
) -> Float[Array, " n"]:
    """log Q(c|x) + log k in nats: its mean is a lower bound on I(c; x), and at most log k.

    Reference: Chen et al. 2016, equation 5 (arXiv:1606.03657).
    """
    log_q = (jax.nn.log_softmax(logits, axis=1) * one_hot).sum(axis=1)
    return log_q + math.log(one_hot.shape[1])


def continuous_information(mean: Float[Array, "n j"], c: Float[Array, "n j"]) -> Float[Array, " n"]:
    """log N(c; mean, 1) - log N(c; 0, 1) = sum [c^2 - (c - mean)^2] / 2, in nats.

    As in the authors' code, a standard normal stands for the density of c, also where c is uniform
    on [-1, 1]. So it is no bound on I(c; x), from which it differs by a constant. It is 0 if Q
    knows nothing; its mean is at most 1/6 for each uniform code, where Q is exact.

    Reference: Chen et al. 2016, equation 5 (arXiv:1606.03657); openai/InfoGAN 6e41232,
    infogan/misc/distributions.py (`Uniform`, `fix_std`).
    """
    return ((c**2 - (c - mean) ** 2) / 2).sum(axis=1)


def information(codes: Codes, weight: float | Float[Array, ""] = 1.0) -> Auxiliary:
    """Return InfoGAN's second task: Q(c|x) of synthetic x recovers the codes c they come from."""

    def value(sides: Sides) -> Terms:
        logits, mean = codes.split(sides.synthetic)
        categories, continuous = codes.split(sides.z[:, sides.z.shape[1] - codes.size :])
        terms = {}
        if codes.categories:
            pairs = zip(logits, categories, strict=True)
            terms["categorical_information"] = sum(
                (categorical_information(*pair) for pair in pairs), jnp.zeros(())
            )
        if codes.continuous:
            terms["continuous_information"] = continuous_information(mean, continuous)
        return terms

    return Auxiliary(codes.size, value, weight)
