"""BiGAN and ALI: a GAN on pairs of an image and a code, whose encoder learns to invert G.

The discriminator tells real pairs (x, E(x)) from synthetic pairs (G(z), z), z ~ p(z); generator
and encoder fool it together. At the optimum E inverts G.

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
    encoder: x -> code, or outputs that parametrize the posterior
    features: x -> (n, width)
    head: (n, width + code_dim) -> (n, 1) logits
    posterior: q(z|x); None for a deterministic encoder
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
    """Make a BiGAN: in each step D is updated, then generator and encoder together.

    Args:
        values: the discriminator's value, and the generator loss, which generator and encoder
            descend in the form that `symmetric` gives it. Not least_squares: its targets 0 and 1
            are not symmetric about 0.
        generator_tx: optimizer of generator and encoder.
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
    """Return [f(r, s) + f(-s, -r)] / 2: exchange real and synthetic pairs, and average.

    A generator loss f(r, s) that depends on s alone would not train the encoder, which makes the
    real pairs. For minimax, wasserstein and relativistic the result is f(r, s); for
    nonsaturating it is [-log D(G(z), z) - log(1 - D(x, E(x)))] / 2.
    """
    return (value(real, synthetic) + value(-synthetic, -real)) / 2


class Scores(NamedTuple):
    """Discriminator logits of (x, E(x)), real, and of (G(z), z), synthetic; new stats."""

    real: Logits
    synthetic: Logits
    stats: Params


def score_both(
    model: Model, params: Params, stats: Params, batch: Batch, key: Key[Array, ""], train: bool
) -> Scores:
    """Score real and synthetic pairs in separate passes, so that batch norm never mixes them."""
    code_key, noise_key, encoder_key, generator_key, *score_keys = jax.random.split(key, 6)
    z = model.prior.sample(code_key, batch.label.shape[0])
    outputs, encoder_stats = model.encoder.apply(
        params["encoder"], stats["encoder"], batch.x, train=train, key=encoder_key
    )
    code = outputs
    if model.posterior is not None:
        code = model.posterior.at({}, outputs).draw(noise_key, 1)[0][0]
    x, generator_stats = generate(model, params, stats, z, train, generator_key)
    new_stats = stats | {"encoder": encoder_stats, "generator": generator_stats}
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
    """Return the synthetic images of these codes and the generator's new stats."""
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
    """Return the discriminator's logit of each pair, (n,), and all players' new stats."""
    features_key, head_key = (None, None) if key is None else jax.random.split(key)
    features, features_stats = model.features.apply(
        params["features"], stats["features"], x, train=train, key=features_key
    )
    pair = jnp.concatenate([features, z], axis=1)
    logits, head_stats = model.head.apply(
        params["head"], stats["head"], pair, train=train, key=head_key
    )
    return logits[:, 0], stats | {"features": features_stats, "head": head_stats}


def _discriminator_loss(model: Model, values: AdversarialLoss) -> Callable[..., tuple]:
    """Make the value that the discriminator ascends."""

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
    """Make the loss that generator and encoder descend."""

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
    """Return the probes by name; each takes the state first and ignores `label`.

    codes (key, n) -> z ~ p(z), (n, d)
    decode (z, label=None) -> x, (n, *shape)
    encode (x, label=None) -> code, or the mean of q(z|x), (n, d)
    log_prior (z of shape (k, n, d)) -> (k, n)
    discriminate (x, label=None) -> logits of (x, encode(x)), (n,)

    With a stochastic encoder also:

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
        out = outputs(state, x)
        return out if model.posterior is None else model.posterior.at({}, out).centre

    def discriminate(
        state: State, x: Float[Array, "n *shape"], label: Int[Array, " n"] | None = None
    ) -> Logits:
        return logits_of(model, state.params, state.stats, x, encode(state, x))[0]

    return _posterior_probes(model.posterior, outputs) | {
        "codes": lambda state, key, n: model.prior.sample(key, n),
        "decode": decode,
        "encode": encode,
        "log_prior": lambda state, z: jax.vmap(model.prior.log_prob)(z),
        "discriminate": discriminate,
    }


def _posterior_probes(
    family: PosteriorFamily | None, outputs: Callable[[State, Array], Array]
) -> dict[str, Callable[..., Any]]:
    """Return the probes of q(z|x); none for a deterministic encoder."""
    if family is None:
        return {}

    def posterior_of(state: State, batch: Batch) -> Posterior:
        return family.at({}, outputs(state, batch.x))

    return {
        "draw": lambda state, batch, key, k: posterior_of(state, batch).draw(key, k),
        "log_posterior": lambda state, batch, z: posterior_of(state, batch).log_prob(z),
    }
