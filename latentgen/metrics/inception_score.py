"""The inception score: how sure a classifier is of each sample, and how unlike samples are."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Float, Int

from latentgen.core.errors import BadInput


class ScoreSums(NamedTuple):
    """Sums over n samples; `merge` joins those of two batches.

    n: how many samples
    probability: sum_i p(y|x_i), one for each of c classes
    negative_entropy: sum_i sum_y p(y|x_i) log p(y|x_i), in nats
    """

    n: Int[Array, ""]
    probability: Float[Array, " c"]
    negative_entropy: Float[Array, ""]


def score_sums(logits: Float[Array, "n c"]) -> ScoreSums:
    """The sums of one batch, from the classifier's logits: p(y|x) = softmax(logits)."""
    log_p = jax.nn.log_softmax(logits, axis=1)
    p = jnp.exp(log_p)
    # p log p -> 0 as p -> 0, where log p may be -inf.
    negative_entropy = jnp.where(p > 0, p * log_p, 0).sum(axis=1)
    return ScoreSums(jnp.asarray(len(logits)), p.sum(axis=0), negative_entropy.sum())


def merge(a: ScoreSums, b: ScoreSums) -> ScoreSums:
    """The sums of both batches together."""
    return ScoreSums(
        a.n + b.n, a.probability + b.probability, a.negative_entropy + b.negative_entropy
    )


def inception_score(sums: ScoreSums) -> Float[Array, ""]:
    """exp(1/n sum_i KL(p(y|x_i) || p(y))), p(y) = 1/n sum_i p(y|x_i): from 1 to c.

    The mean divergence is the entropy of p(y) less the mean entropy of p(y|x). Over all n samples:
    papers often report the mean over ten parts of them, which is smaller. Under jit, no samples
    yield nan.

    Raises:
        BadInput: no samples.

    Reference: Salimans et al. 2016, section 4 (arXiv:1606.03498).
    """
    if not isinstance(sums.n, jax.core.Tracer) and sums.n < 1:
        raise BadInput(f"n={int(sums.n)} must be at least 1: no samples, no score.")
    n = sums.n.astype(sums.probability.dtype)
    marginal = sums.probability / n
    return jnp.exp(sums.negative_entropy / n - xlogy(marginal, marginal).sum())
