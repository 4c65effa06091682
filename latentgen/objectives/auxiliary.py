"""Objectives of a discriminator's auxiliary tasks, on which both players cooperate.

Besides its logit the discriminator outputs a classifier p(class | x), or Q(c|x) for the generator's
codes c. Both players ascend these log-probabilities.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from latentgen.core.types import Terms
from latentgen.probability.codes import Codes


def class_log_prob(logits: Float[Array, "n k"], label: Int[Array, " n"]) -> Float[Array, " n"]:
    """log p(class | x) in nats, of real x or of synthetic x of a given class.

    Reference: Odena et al. 2017, equation 3 (arXiv:1610.09585), L_C.
    """
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits, axis=1), label[:, None], axis=1)
    return chosen[:, 0]


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

    c is uniform on [-1, 1]; as in the authors' code, the standard normal takes the place of its
    density. So the mean of this is not the lower bound on I(c; x), but that bound plus a constant.
    It is 0 if Q's mean is 0 for all x, and its mean is at most 1/6 for each code: if Q's mean is c.

    Reference: Chen et al. 2016, equation 5 (arXiv:1606.03657); openai/InfoGAN 6e41232,
    infogan/misc/distributions.py (`Uniform`, `fix_std`).
    """
    return ((c**2 - (c - mean) ** 2) / 2).sum(axis=1)


def information(codes: Codes, c: Float[Array, "n c"], outputs: Float[Array, "n c"]) -> Terms:
    """Return one term for all categorical codes and one for all continuous codes, each their sum.

    Args:
        c: codes of synthetic examples.
        outputs: outputs of Q for these examples; see `Codes.size`.
    """
    (one_hots, values), (logits, means) = codes.split(c), codes.split(outputs)
    terms: Terms = {}
    if one_hots:
        pairs = zip(logits, one_hots, strict=True)
        terms["categorical_information"] = sum(
            (categorical_information(*pair) for pair in pairs), jnp.zeros(())
        )
    if codes.continuous:
        terms["continuous_information"] = continuous_information(means, values)
    return terms
