"""Adversarial autoencoder: an autoencoder whose encoder is the generator of a GAN on codes.

In each step encoder and decoder descend the distortion -log p(x|z); a discriminator of codes
learns to tell samples of the prior (real) from codes of images (synthetic); the encoder learns to
fool it.

Reference: Makhzani et al. 2015 (arXiv:1511.05644), with a deterministic encoder.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, Float, Int, Key

from latentgen.core.game import ascend, game, players
from latentgen.core.keys import named_key
from latentgen.core.split import flatten_samples, unflatten_samples
from latentgen.core.types import Batch, Method, Net, Params, Phase, PyTree, State, Terms
from latentgen.objectives.adversarial import AdversarialLoss, Logits
from latentgen.probability.likelihoods import Likelihood
from latentgen.probability.priors import Prior


class Model(NamedTuple):
    """Components of an adversarial autoencoder.

    encoder: x -> code
    decoder: code -> outputs that parametrize p(x|z)
    discriminator: code -> (n, 1), the logit that it is a sample of the prior
    """

    encoder: Net
    decoder: Net
    discriminator: Net
    prior: Prior
    likelihood: Likelihood


def aae(
    model: Model,
    values: AdversarialLoss,
    autoencoder_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    encoder_tx: optax.GradientTransformation,
    x_shape: tuple[int, ...],
) -> Method:
    """Make an adversarial autoencoder, a game of three turns.

    1. encoder and decoder descend the distortion,
    2. the discriminator ascends its value,
    3. the encoder descends the generator's loss.

    Args:
        values: the discriminator's value and the generator's loss.
        encoder_tx: optimizer of the third turn.
        x_shape: the shape of one example.
    """
    phases = [
        Phase(_distortion_loss(model), ("encoder", "decoder", "likelihood"), autoencoder_tx),
        Phase(_discriminator_loss(model, values), ("discriminator",), ascend(discriminator_tx)),
        Phase(_encoder_loss(model, values), ("encoder",), encoder_tx),
    ]
    code_shape = (model.prior.dim,)
    networks = players(
        {
            "encoder": (model.encoder, x_shape),
            "decoder": (model.decoder, code_shape),
            "discriminator": (model.discriminator, code_shape),
        }
    )

    def init(key: Key[Array, ""]) -> tuple[Params, Params]:
        params, stats = networks(key)
        return params | {"likelihood": model.likelihood.init(named_key(key, "likelihood"))}, stats

    probe_fns = probes(model)

    def sample(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n *shape"]:
        return probe_fns["decode"](state, probe_fns["codes"](state, key, n))

    return game(init, phases, sample, probe_fns)


def encoded(
    model: Model,
    params: Params,
    stats: Params,
    x: Float[Array, "n *shape"],
    train: bool = False,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "n d"], PyTree]:
    """Return the code of each image and the encoder's new stats."""
    return model.encoder.apply(params["encoder"], stats["encoder"], x, train=train, key=key)


def log_likelihood(
    model: Model,
    params: Params,
    stats: Params,
    x: Float[Array, "n *shape"],
    z: Float[Array, "k n d"],
    train: bool = False,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "k n"], PyTree]:
    """Return log p(x_j|z_ij) in nats, (k, n), and the decoder's new stats."""
    flat, new_stats = model.decoder.apply(
        params["decoder"], stats["decoder"], flatten_samples(z), train=train, key=key
    )
    outputs = unflatten_samples(flat, z.shape[0])
    log_px = jax.vmap(model.likelihood.log_prob, (None, 0, None))(params["likelihood"], outputs, x)
    return log_px, new_stats


class Scores(NamedTuple):
    """Discriminator logits of samples of the prior, real, and of codes of images, synthetic.

    stats: new stats of encoder and discriminator
    """

    real: Logits
    synthetic: Logits
    stats: Params


def score_both(
    model: Model, params: Params, stats: Params, batch: Batch, key: Key[Array, ""], train: bool
) -> Scores:
    """Score real and synthetic codes in separate passes, so that batch norm never mixes them."""
    code_key, encoder_key, real_key, synthetic_key = jax.random.split(key, 4)
    prior_z = model.prior.sample(code_key, batch.label.shape[0])
    z, encoder_stats = encoded(model, params, stats, batch.x, train, encoder_key)

    def score(z: Array, stats: PyTree, key: Key[Array, ""]) -> tuple[Logits, PyTree]:
        logits, stats = model.discriminator.apply(
            params["discriminator"], stats, z, train=train, key=key
        )
        return logits[:, 0], stats

    real, stats_after_real = score(prior_z, stats["discriminator"], real_key)
    synthetic, d_stats = score(z, stats_after_real, synthetic_key)
    return Scores(real, synthetic, {"encoder": encoder_stats, "discriminator": d_stats})


def _distortion_loss(model: Model) -> Callable[..., tuple]:
    """Make the loss -log p(x|z), z the code of x, that encoder and decoder descend."""

    def loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        encoder_key, decoder_key = jax.random.split(key)
        z, encoder_stats = encoded(model, params, stats, batch.x, train, encoder_key)
        log_px, decoder_stats = log_likelihood(
            model, params, stats, batch.x, z[None], train, decoder_key
        )
        new_stats = {"encoder": encoder_stats, "decoder": decoder_stats}
        return -log_px[0], (new_stats, {"distortion": -log_px[0]})

    return loss


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


def _encoder_loss(model: Model, values: AdversarialLoss) -> Callable[..., tuple]:
    """Make the loss that the encoder, the generator of codes, descends."""

    def loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        real, synthetic, new_stats = score_both(model, params, stats, batch, key, train)
        value = values.generator_loss(real, synthetic)
        return value, (new_stats, {"encoder_loss": value})

    return loss


def probes(model: Model) -> dict[str, Callable[..., Any]]:
    """Return the probes by name; each takes the state first and ignores `label`.

    codes (key, n) -> z ~ p(z), (n, d)
    decode (z, label=None) -> E[x|z], (n, *shape); encode (x, label=None) -> code, (n, d)
    log_prior (z), log_likelihood (batch, z) -> (k, n); z is (k, n, d). There is no density q(z|x),
        because the encoder is deterministic.
    observe (key, z, label=None) -> x ~ p(x|z)
    noise () -> the std of p(x|z), only if p(x|z) is normal
    """

    def outputs(state: State, z: Float[Array, "n d"]) -> Array:
        params, stats = state.params["decoder"], state.stats["decoder"]
        return model.decoder.apply(params, stats, z, train=False)[0]

    def decode(
        state: State, z: Float[Array, "n d"], label: Int[Array, " n"] | None = None
    ) -> Float[Array, "n *shape"]:
        return model.likelihood.mean(state.params["likelihood"], outputs(state, z))

    def encode(
        state: State, x: Float[Array, "n *shape"], label: Int[Array, " n"] | None = None
    ) -> Float[Array, "n d"]:
        return encoded(model, state.params, state.stats, x)[0]

    def observe(
        state: State,
        key: Key[Array, ""],
        z: Float[Array, "n d"],
        label: Int[Array, " n"] | None = None,
    ) -> Float[Array, "n *shape"]:
        return model.likelihood.sample(state.params["likelihood"], key, outputs(state, z))

    std = model.likelihood.std
    noise = {} if std is None else {"noise": lambda state: std(state.params["likelihood"])}
    return noise | {
        "codes": lambda state, key, n: model.prior.sample(key, n),
        "decode": decode,
        "encode": encode,
        "log_prior": lambda state, z: jax.vmap(model.prior.log_prob)(z),
        "log_likelihood": lambda state, batch, z: log_likelihood(
            model, state.params, state.stats, batch.x, z
        )[0],
        "observe": observe,
    }
