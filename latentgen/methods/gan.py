"""The generative adversarial network: discriminator and generator play on one cost, in turn.

The generator turns random codes into synthetic images; the discriminator says real (1) or
synthetic (0). One ascends C(D, G), the other descends it.

Reference: Goodfellow et al. 2014, algorithm 1 (arXiv:1406.2661).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from latentgen.core.game import ascend, game
from latentgen.core.types import Batch, Method, Net, Params, Phase, State, Terms
from latentgen.objectives.adversarial import Game, cost
from latentgen.probability.priors import Prior


def gan(
    generator: Net,
    discriminator: Net,
    values: Game,
    prior: Prior,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    x_shape: tuple[int, ...],
    discriminator_steps: int = 1,
    synthetic_in: tuple[float, float] | None = None,
) -> Method:
    """D's turn, `discriminator_steps` times, then G's: each on codes and reals of its own.

    Args:
        generator: code -> x before the range is imposed.
        discriminator: x -> (n, 1) logits of "real".
        values: what D ascends and G descends.
        prior: where codes come from.
        x_shape: the shape of one example.
        discriminator_steps: k in the paper's algorithm 1.
        synthetic_in: the range of x, imposed on G's output by a scaled sigmoid; None: none.
    """

    def init(key: Key[Array, ""]) -> tuple[Params, Params]:
        generator_key, discriminator_key = jax.random.split(key)
        generator_vars = generator.init(generator_key, jnp.zeros((1, prior.dim)))
        discriminator_vars = discriminator.init(discriminator_key, jnp.zeros((1, *x_shape)))
        params, stats = zip(generator_vars, discriminator_vars, strict=True)
        players = ("generator", "discriminator")
        return dict(zip(players, params, strict=True)), dict(zip(players, stats, strict=True))

    def generate(params, stats, z, train, key=None):
        outputs, stats = generator.apply(params, stats, z, train=train, key=key)
        if synthetic_in is not None:
            low, high = synthetic_in
            outputs = low + (high - low) * jax.nn.sigmoid(outputs)
        return outputs, stats

    def play(params, stats, batch, key, train):
        """Logits of the real batch and of as many synthetic examples; all stats moved."""
        code_key, generator_key, real_key, synthetic_key = jax.random.split(key, 4)
        z = prior.sample(code_key, batch.x.shape[0])
        synthetic, generator_stats = generate(
            params["generator"], stats["generator"], z, train, generator_key
        )
        judge = params["discriminator"]
        # Two passes, so that batch norm never mixes real with synthetic (Radford et al. 2016).
        real_logits, moved = discriminator.apply(
            judge, stats["discriminator"], batch.x, train=train, key=real_key
        )
        synthetic_logits, moved = discriminator.apply(
            judge, moved, synthetic, train=train, key=synthetic_key
        )
        moved = {"generator": generator_stats, "discriminator": moved}
        return real_logits[:, 0], synthetic_logits[:, 0], moved

    def discriminator_loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        real, synthetic, moved = play(params, stats, batch, key, train)
        terms = {
            "cost": cost(real, synthetic),
            "d_real": jax.nn.sigmoid(real),
            "d_synthetic": jax.nn.sigmoid(synthetic),
        }
        return values.discriminator_ascends(real, synthetic), (moved, terms)

    def generator_loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        real, synthetic, moved = play(params, stats, batch, key, train)
        value = values.generator_descends(real, synthetic)
        return value, (moved, {"generator_loss": value})

    def codes(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
        del state
        return prior.sample(key, n)

    def decode(state: State, z: Float[Array, "n d"]) -> Float[Array, "n *shape"]:
        return generate(state.params["generator"], state.stats["generator"], z, train=False)[0]

    def discriminate(state: State, x: Float[Array, "n *shape"]) -> Float[Array, " n"]:
        params, stats = state.params["discriminator"], state.stats["discriminator"]
        return discriminator.apply(params, stats, x, train=False)[0][:, 0]

    def sample(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n *shape"]:
        return decode(state, codes(state, key, n))

    phases = [
        Phase(
            discriminator_loss, ("discriminator",), ascend(discriminator_tx), discriminator_steps
        ),
        Phase(generator_loss, ("generator",), generator_tx),
    ]
    probes: dict[str, Callable] = {
        "codes": codes,
        "decode": decode,
        "discriminate": discriminate,
    }
    return game(init, phases, sample, probes)
