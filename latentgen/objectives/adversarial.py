"""Objectives of discriminator and generator, as functions of logits.

D(x) = sigmoid(l) is the probability that x is real. Both functions of an `AdversarialLoss` take
the logits r of n real and s of n synthetic examples: the discriminator ascends its value, the
generator descends its loss. With wasserstein, hinge and least_squares, D is a critic: l is a score,
and no probability.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Logits = Float[Array, " n"]
Value = Callable[[Logits, Logits], Float[Array, " n"]]


class AdversarialLoss(NamedTuple):
    """Objectives of the two players, each (real logits, synthetic logits) -> (n,).

    discriminator_value: ascended by the discriminator
    generator_loss: descended by the generator
    """

    discriminator_value: Value
    generator_loss: Value


def minimax_value(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """C(D, G) = log D(x) + log(1 - D(G(z))), in nats.

    Computed as log sigmoid(r) + log sigmoid(-s), which is finite for all finite logits. At
    D = 1/2 the value is -log 4.

    Reference: Goodfellow et al. 2014, equation 1 (arXiv:1406.2661).
    """
    return jax.nn.log_sigmoid(real) + jax.nn.log_sigmoid(-synthetic)


def nonsaturating_g_loss(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """-log D(G(z)), in nats: the non-saturating generator loss.

    Reference: Goodfellow et al. 2014, section 3 (arXiv:1406.2661).
    """
    del real
    return -jax.nn.log_sigmoid(synthetic)


def lsgan_d_value(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """-(r - 1)^2 / 2 - s^2 / 2: pulls scores of real examples to 1, of synthetic ones to 0.

    Reference: Mao et al. 2017, equation 9 (arXiv:1611.04076).
    """
    return -((real - 1) ** 2) / 2 - synthetic**2 / 2


def lsgan_g_loss(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """(s - 1)^2 / 2: pulls scores of synthetic examples to 1.

    Reference: Mao et al. 2017, equation 9 (arXiv:1611.04076).
    """
    del real
    return (synthetic - 1) ** 2 / 2


def hinge_d_value(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """min(0, r - 1) + min(0, -s - 1): constant beyond a margin of 1.

    Reference: Lim & Ye 2017 (arXiv:1705.02894); Miyato et al. 2018, equation 16 (arXiv:1802.05957).
    """
    return jnp.minimum(0, real - 1) + jnp.minimum(0, -synthetic - 1)


def hinge_g_loss(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """-s: the hinge game's generator loss.

    Reference: Miyato et al. 2018, equation 17 (arXiv:1802.05957).
    """
    del real
    return -synthetic


def wasserstein_value(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """r - s; its mean, maximized over critics with Lipschitz constant 1, is the distance W_1.

    Reference: Arjovsky et al. 2017, equation 2 (arXiv:1701.07875).
    """
    return real - synthetic


def relativistic_d_value(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """log sigmoid(r - s), in nats: real and synthetic examples are compared in pairs.

    Reference: Jolicoeur-Martineau 2018, section 4 (arXiv:1807.00734), RpGAN.
    """
    return jax.nn.log_sigmoid(real - synthetic)


def relativistic_g_loss(real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """-log sigmoid(s - r), in nats: the generator's side of `relativistic_d_value`.

    Reference: Jolicoeur-Martineau 2018, section 4 (arXiv:1807.00734), RpGAN; Huang et al. 2024
    (R3GAN, arXiv:2501.05441).
    """
    return -jax.nn.log_sigmoid(synthetic - real)


LOSSES: dict[str, AdversarialLoss] = {
    "minimax": AdversarialLoss(minimax_value, minimax_value),
    "nonsaturating": AdversarialLoss(minimax_value, nonsaturating_g_loss),
    "least_squares": AdversarialLoss(lsgan_d_value, lsgan_g_loss),
    "hinge": AdversarialLoss(hinge_d_value, hinge_g_loss),
    "wasserstein": AdversarialLoss(wasserstein_value, wasserstein_value),
    "relativistic": AdversarialLoss(relativistic_d_value, relativistic_g_loss),
}
