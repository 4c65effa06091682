"""What discriminator and generator optimize, from logits l where D(x) = sigmoid(l).

D is the probability that x is real. Both functions of a `Game` take the logits of real and of
synthetic examples: the discriminator ascends its value, the generator descends its own.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
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


GAMES: dict[str, Game] = {
    "minimax": Game(cost, cost),
    "nonsaturating": Game(cost, synthetic_taken_for_real),
}
