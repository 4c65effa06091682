"""Regularizers of a GAN besides gradient penalties: consistency, LeCam, feature matching, top-k.

| `config.method.regularize` | adds to the loss that D or G descends                        |
|----------------------------|--------------------------------------------------------------|
| cr:W                       | D: W (l(x) - l(M(x)))^2 at real x; M flips and shifts        |
| bcr:W,V                    | D: the same, and V (l(y) - l(M(y)))^2 at synthetic y         |
| zcr:W,V,S                  | D: W (l(G(z)) - l(G(z + d)))^2, where d ~ N(0, S^2);         |
|                            | G: -V times the mean of (G(z) - G(z + d))^2                  |
| lecam:W                    | D: W times LeCam                                             |
| features:W                 | G: W |E f(x) - E f(G(z))|^2, f(x) the inputs of D's last     |
|                            | layer                                                        |
| topk:SHARE,IMAGES          | nothing: G learns from the share of its batch with the       |
|                            | largest logits, which falls from 1 to SHARE in IMAGES images |

Consistency is that of Zhang et al. 2019 (CR, arXiv:1910.12027, equation 3) and of Zhao et al. 2020
(bCR and zCR, arXiv:2002.04724, algorithms 1 and 2).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from latentgen.core.schedules import Images
from latentgen.core.types import Params, Terms
from latentgen.objectives.adversarial import Logits

DECAY = 0.99
"""Decay of LeCam's moving averages, in its authors' code for StyleGAN2."""

Groups = Float[Array, "g m *shape"]
Averages = dict[str, Float[Array, ""]]
"""real, synthetic: decayed sums of mean logits; weight: the sum of their weights."""


class Regularizers(NamedTuple):
    """Weights of regularizers; 0: there is none.

    real, synthetic: consistency of D under `move`; CR has the first, bCR both
    latent, diverse: zCR's weights for D and for G, for codes that differ by N(0, `latent_std`^2)
    lecam: LeCam
    features: feature matching
    top: share of a batch that G learns from after `top_images` images
    move: (groups of x, key) -> the same examples, each moved a little
    """

    real: float = 0.0
    synthetic: float = 0.0
    latent: float = 0.0
    diverse: float = 0.0
    latent_std: float = 0.0
    lecam: float = 0.0
    features: float = 0.0
    top: float = 1.0
    top_images: float = 0.0
    move: Callable[[Groups, Key[Array, ""]], Groups] = lambda x, key: x


class Scores(NamedTuple):
    """Real and synthetic examples in groups, and the discriminator's logit of each group.

    score: groups of x -> logits, given the classes of the batch. It discards the discriminator's
        new stats.
    features: groups of x -> inputs of the discriminator's last layer, in the same way
    auxiliary: log-probabilities of the auxiliary tasks, which both players ascend
    stats: new stats of all players
    codes: of the synthetic examples
    synthesize: codes -> groups of synthetic x of the same classes. It discards the generator's new
        stats.
    """

    real: Groups
    synthetic: Groups
    real_logits: Logits
    synthetic_logits: Logits
    score: Callable[[Groups], Logits]
    features: Callable[[Groups], Float[Array, "g f"]]
    auxiliary: Terms
    stats: Params
    codes: Float[Array, "n d"]
    synthesize: Callable[[Float[Array, "n d"]], Groups]


def of_discriminator(
    weights: Regularizers, scores: Scores, averages: Averages | None, key: Key[Array, ""]
) -> Terms:
    """Return the weighted terms that D descends, each of shape (g,).

    Args:
        averages: LeCam's, already updated with these logits.
    """
    real_key, synthetic_key, code_key = jax.random.split(key, 3)
    terms = {}
    if weights.real:
        moved = scores.score(weights.move(scores.real, real_key))
        terms["consistency"] = weights.real * (scores.real_logits - moved) ** 2
    if weights.synthetic:
        moved = scores.score(weights.move(scores.synthetic, synthetic_key))
        terms["synthetic_consistency"] = weights.synthetic * (scores.synthetic_logits - moved) ** 2
    if weights.latent:
        difference = scores.synthetic_logits - scores.score(neighbours(weights, scores, code_key))
        terms["latent_consistency"] = weights.latent * difference**2
    if averages is not None:
        penalty = lecam(scores.real_logits, scores.synthetic_logits, averages)
        terms["lecam"] = weights.lecam * penalty
    return terms


def of_generator(weights: Regularizers, scores: Scores, key: Key[Array, ""]) -> Terms:
    """Return the weighted terms that G descends, each of shape (g,).

    In zCR's term the squared distance between synthetic examples is a mean over their coordinates,
    as in PyTorch-StudioGAN 947b35e.

    Reference: Zhao et al. 2020, section 3.2 (zCR, arXiv:2002.04724).
    """
    terms = {}
    if weights.diverse:
        distance = (scores.synthetic - neighbours(weights, scores, key)) ** 2
        mean = distance.mean(axis=tuple(range(1, distance.ndim)))
        terms["latent_diversity"] = -weights.diverse * mean
    if weights.features:
        error = feature_error(scores.features(scores.real), scores.features(scores.synthetic))
        terms["feature_error"] = jnp.full_like(scores.synthetic_logits, weights.features * error)
    return terms


def feature_error(real: Float[Array, "n f"], synthetic: Float[Array, "m f"]) -> Float[Array, ""]:
    """|E f(x) - E f(G(z))|^2, with the means over a batch of each.

    Reference: Salimans et al. 2016, section 3.1 (arXiv:1606.03498).
    """
    return ((real.mean(axis=0) - synthetic.mean(axis=0)) ** 2).sum()


def neighbours(weights: Regularizers, scores: Scores, key: Key[Array, ""]) -> Groups:
    """Return the synthetic examples of the codes z + d, d ~ N(0, `latent_std`^2)."""
    noise = jax.random.normal(key, scores.codes.shape)
    return scores.synthesize(scores.codes + weights.latent_std * noise)


def lecam(real: Logits, synthetic: Logits, averages: Averages) -> Logits:
    """max(0, r - a)^2 + max(0, b - s)^2: pulls logits to the averages of the other kind.

    a is the average of synthetic logits, b that of real ones. The max is that of the authors' code;
    the equation has none.

    Args:
        averages: see `average_logits`.

    Reference: Tseng et al. 2021, equation 4 (arXiv:2104.03310).
    """
    a, b = (averages[kind] / averages["weight"] for kind in ("synthetic", "real"))
    return jnp.maximum(0, real - a) ** 2 + jnp.maximum(0, b - synthetic) ** 2


def no_averages() -> Averages:
    """Return the averages before the first update."""
    return {name: jnp.zeros((), jnp.float32) for name in ("real", "synthetic", "weight")}


def average_logits(averages: Averages, real: Logits, synthetic: Logits) -> Averages:
    """Return the averages after one more update; `lecam` divides the sums by `weight`."""
    one = jnp.ones((), jnp.float32)
    new = {"real": real.mean(), "synthetic": synthetic.mean(), "weight": one}
    return {
        name: DECAY * averages[name] + (1 - DECAY) * jax.lax.stop_gradient(value)
        for name, value in new.items()
    }


def top_share(weights: Regularizers, images: Images) -> float | Float[Array, ""]:
    """Return the share of a batch that G learns from: SHARE^(n / IMAGES) after n images.

    The authors multiply their k by 0.99 after each epoch, until it is half the batch: SHARE = 0.5
    and IMAGES = 69 epochs. Here it falls in each step.

    Reference: Sinha et al. 2020, section 3 (arXiv:2002.06224).
    """
    if not weights.top_images:
        return weights.top
    return weights.top ** jnp.minimum(images / jnp.float32(weights.top_images), 1.0)


def top_weights(logits: Logits, share: float | Float[Array, ""]) -> Float[Array, " g"]:
    """Return g / k for the k = max(1, floor(share g)) largest logits, and 0 for the others.

    The mean of a loss with these weights is its mean over these k.
    """
    g = logits.shape[0]
    # 1e-3: share g may fall just short of a whole number by rounding.
    k = jnp.maximum(jnp.floor(jnp.float32(share) * g + 1e-3), 1.0)
    rank = jnp.argsort(jnp.argsort(-logits))
    return jax.lax.stop_gradient(jnp.where(rank < k, g / k, 0.0))
