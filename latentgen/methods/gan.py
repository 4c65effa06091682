"""The generative adversarial network: discriminator and generator play on one cost, in turn.

The generator turns random codes into synthetic images; the discriminator says real (1) or
synthetic (0). One ascends C(D, G), the other descends it.

Reference: Goodfellow et al. 2014, algorithm 1 (arXiv:1406.2661).
"""

from collections.abc import Callable

import jax
import optax
from jaxtyping import Array, Float, Int, Key

from latentgen.core.game import ascend, game, players
from latentgen.core.types import Batch, Method, Net, Params, Phase, PyTree, State, Terms
from latentgen.objectives.adversarial import Game, Logits, Value, cost
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
    generator = generator if synthetic_in is None else bounded(generator, *synthetic_in)
    init = players(
        {"generator": (generator, (prior.dim,)), "discriminator": (discriminator, x_shape)}
    )

    def codes(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
        del state
        return prior.sample(key, n)

    def decode(state: State, z: Float[Array, "n d"]) -> Float[Array, "n *shape"]:
        params, stats, _ = state
        return generator.apply(params["generator"], stats["generator"], z, train=False)[0]

    def discriminate(state: State, x: Float[Array, "n *shape"]) -> Float[Array, " n"]:
        params, stats = state.params["discriminator"], state.stats["discriminator"]
        return discriminator.apply(params, stats, x, train=False)[0][:, 0]

    def log_prior(state: State, z: Float[Array, "k n d"]) -> Float[Array, "k n"]:
        del state
        return prior.log_prob(z.reshape(-1, prior.dim)).reshape(z.shape[:2])

    def sample(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n *shape"]:
        return decode(state, codes(state, key, n))

    judge = judged(generator, discriminator, prior)
    d_loss = loss(judge, values.discriminator_ascends, discriminator_terms)
    g_loss = loss(judge, values.generator_descends, generator_terms)
    phases = [
        Phase(d_loss, ("discriminator",), ascend(discriminator_tx), discriminator_steps),
        Phase(g_loss, ("generator",), generator_tx),
    ]
    probes: dict[str, Callable] = {
        "codes": codes,
        "decode": decode,
        "discriminate": discriminate,
        "log_prior": log_prior,
    }
    return game(init, phases, sample, probes)


def bounded(net: Net, low: float, high: float) -> Net:
    """`net` with its outputs in (low, high): low + (high - low) sigmoid(outputs)."""

    def apply(
        params: PyTree,
        stats: PyTree,
        *inputs: Array,
        train: bool,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Array, PyTree]:
        outputs, stats = net.apply(params, stats, *inputs, train=train, key=key)
        return low + (high - low) * jax.nn.sigmoid(outputs), stats

    return Net(net.init, apply)


def judged(generator: Net, discriminator: Net, prior: Prior) -> Callable[..., tuple]:
    """(params, stats, batch, key, train) -> logits of the real batch, of as many synthetic, stats.

    Two passes of the discriminator, so that its batch norm never mixes real with synthetic.
    """

    def judge(
        params: Params, stats: Params, batch: Batch, key: Key[Array, ""], train: bool
    ) -> tuple[Logits, Logits, Params]:
        code_key, generator_key, real_key, synthetic_key = jax.random.split(key, 4)
        z = prior.sample(code_key, batch.x.shape[0])
        synthetic, generator_stats = generator.apply(
            params["generator"], stats["generator"], z, train=train, key=generator_key
        )
        mine = params["discriminator"]
        real_logits, moved = discriminator.apply(
            mine, stats["discriminator"], batch.x, train=train, key=real_key
        )
        synthetic_logits, moved = discriminator.apply(
            mine, moved, synthetic, train=train, key=synthetic_key
        )
        moved = {"generator": generator_stats, "discriminator": moved}
        return real_logits[:, 0], synthetic_logits[:, 0], moved

    return judge


def loss(
    judge: Callable[..., tuple],
    value: Value,
    report: Callable[[Logits, Logits, Float[Array, " n"]], Terms],
) -> Callable[..., tuple[Float[Array, " n"], tuple[Params, Terms]]]:
    """A player's loss: its value of the logits, and what it reports of them."""

    def phase_loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        real, synthetic, moved = judge(params, stats, batch, key, train)
        found = value(real, synthetic)
        return found, (moved, report(real, synthetic, found))

    return phase_loss


def discriminator_terms(real: Logits, synthetic: Logits, value: Float[Array, " n"]) -> Terms:
    """C(D, G), whatever D ascends, and D(x), D(G(z))."""
    return {
        "cost": cost(real, synthetic),
        "d_real": jax.nn.sigmoid(real),
        "d_synthetic": jax.nn.sigmoid(synthetic),
    }


def generator_terms(real: Logits, synthetic: Logits, value: Float[Array, " n"]) -> Terms:
    """The value that G descends."""
    return {"generator_loss": value}
