"""What discriminator and generator optimize, from logits l where D(x) = sigmoid(l).

D is the probability that x is real. Both functions of a `Game` take the logits of real and of
synthetic examples, paired as they come: the discriminator ascends its value, the generator
descends its own. Where D is a critic (wasserstein, hinge, least_squares), l is its score.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Logits = Float[Array, " n"]
Value = Callable[[Logits, Logits], Float[Array, " n"]]


class Game(NamedTuple):
    """The values of the two players, each (real logits, synthetic logits) -> (n,) nats."""

    discriminator_ascends: Value
    generator_descends: Value


def cost(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """C(D, G) = log D(x) + log(1 - D(G(z))), per pair of a real and a synthetic example.

    From logits, log sigmoid(r) + log sigmoid(-s): finite for every finite logit, where the
    formula with sigmoids is -inf as soon as D rounds to 0 or 1. At D = 1/2 it is -log 4.

    Reference: Goodfellow et al. 2014, equation 1 (arXiv:1406.2661).
    """
    return jax.nn.log_sigmoid(real) + jax.nn.log_sigmoid(-synthetic)


def synthetic_taken_for_real(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """-log D(G(z)): the non-saturating generator's value; `real` is not looked at.

    Reference: Goodfellow et al. 2014, section 3 (arXiv:1406.2661).
    """
    del real
    return -jax.nn.log_sigmoid(synthetic)


def near_labels(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """-(r - 1)^2 / 2 - s^2 / 2: scores of real examples near 1, of synthetic ones near 0.

    Reference: Mao et al. 2017, equation 9 (arXiv:1611.04076).
    """
    return -((real - 1) ** 2) / 2 - synthetic**2 / 2


def synthetic_near_real_label(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """(s - 1)^2 / 2; `real` is not looked at.

    Reference: Mao et al. 2017, equation 9 (arXiv:1611.04076).
    """
    del real
    return (synthetic - 1) ** 2 / 2


def margins(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """min(0, r - 1) + min(0, -s - 1): nothing more to gain beyond a margin of 1.

    Reference: Lim & Ye 2017 (arXiv:1705.02894); Miyato et al. 2018, equation 16 (arXiv:1802.05957).
    """
    return jnp.minimum(0, real - 1) + jnp.minimum(0, -synthetic - 1)


def synthetic_scored_low(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """-s; `real` is not looked at.

    Reference: Miyato et al. 2018, equation 17 (arXiv:1802.05957).
    """
    del real
    return -synthetic


def gap(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """r - s. Over critics with Lipschitz constant 1 its greatest mean is the distance W_1.

    Reference: Arjovsky et al. 2017, equation 2 (arXiv:1701.07875).
    """
    return real - synthetic


def real_above_synthetic(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """log sigmoid(r - s): each real example is judged beside a synthetic one.

    Reference: Jolicoeur-Martineau 2018, section 4 (arXiv:1807.00734), RpGAN.
    """
    return jax.nn.log_sigmoid(real - synthetic)


def real_not_below_synthetic(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """-log sigmoid(s - r): the same, the other way round.

    Reference: Jolicoeur-Martineau 2018, section 4 (arXiv:1807.00734), RpGAN; Huang et al. 2024
    (R3GAN, arXiv:2501.05441).
    """
    return -jax.nn.log_sigmoid(synthetic - real)


GAMES: dict[str, Game] = {
    "minimax": Game(cost, cost),
    "nonsaturating": Game(cost, synthetic_taken_for_real),
    "least_squares": Game(near_labels, synthetic_near_real_label),
    "hinge": Game(margins, synthetic_scored_low),
    "wasserstein": Game(gap, gap),
    "relativistic": Game(real_above_synthetic, real_not_below_synthetic),
}
