"""BiGAN and ALI: a GAN on pairs of an image and a code, in which an encoder learns to invert.

A discriminator tells real images with their codes, (x, E(x)), from codes with their synthetic
images, (G(z), z); generator and encoder fool it together. Where it cannot tell, E inverts G.

Reference: Donahue et al. 2017 (BiGAN, arXiv:1605.09782); Dumoulin et al. 2017 (ALI,
arXiv:1606.00704), whose encoder is stochastic.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from latentgen.core.game import ascend, game, players
from latentgen.core.types import Batch, Method, Net, Params, Phase, PyTree, State, Terms
from latentgen.objectives.adversarial import AdversarialLoss, Logits, Value
from latentgen.probability.posteriors import Posterior, PosteriorFamily
from latentgen.probability.priors import Prior

DISCRIMINATOR = ("features", "head")


class Model(NamedTuple):
    """Components of a BiGAN; D(x, z) = head([features(x), z]).

    generator: code -> x
    encoder: x -> the code, or the posterior's outputs
    features: x -> (n, width); head: (n, width + code's) -> (n, 1) logits
    posterior: q(z|x); None: the encoder gives the code itself
    """

    generator: Net
    encoder: Net
    features: Net
    head: Net
    prior: Prior
    posterior: PosteriorFamily | None
    width: int


def bigan(
    model: Model,
    values: AdversarialLoss,
    generator_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    x_shape: tuple[int, ...],
) -> Method:
    """D's turn, then that of generator and encoder together.

    Args:
        values: what the discriminator ascends and the other two, by `symmetric`, descend. Not
            least_squares, whose labels 0 and 1 are not each other's opposite.
        generator_tx: of generator and encoder.
        x_shape: the shape of one example.
    """
    phases = [
        Phase(_discriminator_loss(model, values), DISCRIMINATOR, ascend(discriminator_tx)),
        Phase(_generator_loss(model, values), ("generator", "encoder"), generator_tx),
    ]
    init = players(
        {
            "generator": (model.generator, (model.prior.dim,)),
            "encoder": (model.encoder, x_shape),
            "features": (model.features, x_shape),
            "head": (model.head, (model.width + model.prior.dim,)),
        }
    )
    probe_fns = probes(model)

    def sample(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n *shape"]:
        return probe_fns["decode"](state, probe_fns["codes"](state, key, n))

    return game(init, phases, sample, probe_fns)


def symmetric(value: Value, real: Logits, synthetic: Logits) -> Float[Array, " n"]:
    """1/2 [f(r, s) + f(-s, -r)]: f, and f where real and synthetic have changed places.

    A generator's value may look at synthetic logits alone; the encoder has made the real pairs.
    Of minimax, wasserstein and relativistic it is f(r, s) itself; of nonsaturating it is
    1/2 [-log D(G(z), z) - log(1 - D(x, E(x)))].
    """
    return (value(real, synthetic) + value(-synthetic, -real)) / 2


class Scores(NamedTuple):
    """Discriminator logits of (x, E(x)), real, and of (G(z), z), synthetic; updated stats."""

    real: Logits
    synthetic: Logits
    stats: Params


def score_both(
    model: Model, params: Params, stats: Params, batch: Batch, key: Key[Array, ""], train: bool
) -> Scores:
    """Two passes of the discriminator, so that its batch norm never mixes real with synthetic."""
    code_key, noise_key, encoder_key, generator_key, *score_keys = jax.random.split(key, 6)
    z = model.prior.sample(code_key, batch.label.shape[0])
    outputs, of_encoder = model.encoder.apply(
        params["encoder"], stats["encoder"], batch.x, train=train, key=encoder_key
    )
    code = outputs
    if model.posterior is not None:
        code = model.posterior.at({}, outputs).draw(noise_key, 1)[0][0]
    x, of_generator = generate(model, params, stats, z, train, generator_key)
    new_stats = stats | {"encoder": of_encoder, "generator": of_generator}
    real, new_stats = logits_of(model, params, new_stats, batch.x, code, train, score_keys[0])
    synthetic, new_stats = logits_of(model, params, new_stats, x, z, train, score_keys[1])
    return Scores(real, synthetic, new_stats)


def generate(
    model: Model,
    params: Params,
    stats: Params,
    z: Float[Array, "n d"],
    train: bool = False,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "n *shape"], PyTree]:
    """The synthetic images of these codes; the generator's stats."""
    return model.generator.apply(params["generator"], stats["generator"], z, train=train, key=key)


def logits_of(
    model: Model,
    params: Params,
    stats: Params,
    x: Float[Array, "n *shape"],
    z: Float[Array, "n d"],
    train: bool = False,
    key: Key[Array, ""] | None = None,
) -> tuple[Logits, Params]:
    """The discriminator's logit of each pair; all stats after that."""
    first, second = (None, None) if key is None else jax.random.split(key)
    features, seen = model.features.apply(
        params["features"], stats["features"], x, train=train, key=first
    )
    pair = jnp.concatenate([features, z], axis=1)
    found, head_stats = model.head.apply(
        params["head"], stats["head"], pair, train=train, key=second
    )
    return found[:, 0], stats | {"features": seen, "head": head_stats}


def _discriminator_loss(model: Model, values: AdversarialLoss) -> Callable[..., tuple]:
    """The discriminator's value, which it ascends."""

    def loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        real, synthetic, new_stats = score_both(model, params, stats, batch, key, train)
        value = values.discriminator_value(real, synthetic)
        terms = {"real_logit": real, "synthetic_logit": synthetic, "discriminator_value": value}
        return value, (new_stats, terms)

    return loss


def _generator_loss(model: Model, values: AdversarialLoss) -> Callable[..., tuple]:
    """The value that generator and encoder descend."""

    def loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        real, synthetic, new_stats = score_both(model, params, stats, batch, key, train)
        value = symmetric(values.generator_loss, real, synthetic)
        return value, (new_stats, {"generator_loss": value})

    return loss


def probes(model: Model) -> dict[str, Callable[..., Any]]:
    """Return functions by name for metrics and pictures: state first, `label` ignored.

    codes (key, n) -> z ~ p(z), (n, d)
    decode (z, label=None) -> x; encode (x, label=None) -> its code, or the mean of q(z|x)
    log_prior (z) -> (k, n)
    discriminate (x, label=None) -> logits of (x, encode(x)), (n,)

    Where the encoder is stochastic:

    draw (batch, key, k) -> z ~ q(z|x), (k, n, d), and log q(z|x), (k, n)
    log_posterior (batch, z) -> (k, n)
    """

    def outputs(state: State, x: Float[Array, "n *shape"]) -> Float[Array, "n o"]:
        params, stats = state.params["encoder"], state.stats["encoder"]
        return model.encoder.apply(params, stats, x, train=False)[0]

    def decode(
        state: State, z: Float[Array, "n d"], label: Int[Array, " n"] | None = None
    ) -> Float[Array, "n *shape"]:
        return generate(model, state.params, state.stats, z)[0]

    def encode(
        state: State, x: Float[Array, "n *shape"], label: Int[Array, " n"] | None = None
    ) -> Float[Array, "n d"]:
        found = outputs(state, x)
        return found if model.posterior is None else model.posterior.at({}, found).centre

    def discriminate(
        state: State, x: Float[Array, "n *shape"], label: Int[Array, " n"] | None = None
    ) -> Logits:
        return logits_of(model, state.params, state.stats, x, encode(state, x))[0]

    return _densities(model.posterior, outputs) | {
        "codes": lambda state, key, n: model.prior.sample(key, n),
        "decode": decode,
        "encode": encode,
        "log_prior": lambda state, z: jax.vmap(model.prior.log_prob)(z),
        "discriminate": discriminate,
    }


def _densities(
    family: PosteriorFamily | None, outputs: Callable[[State, Array], Array]
) -> dict[str, Callable[..., Any]]:
    """The probes of q(z|x), where there is one."""
    if family is None:
        return {}

    def of(state: State, batch: Batch) -> Posterior:
        return family.at({}, outputs(state, batch.x))

    return {
        "draw": lambda state, batch, key, k: of(state, batch).draw(key, k),
        "log_posterior": lambda state, batch, z: of(state, batch).log_prob(z),
    }
