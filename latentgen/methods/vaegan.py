"""VAE-GAN: an autoencoder that measures its error by what a discriminator sees in the images.

The discriminator is features(x) -> head. In each step the encoder descends the KL of its codes
plus the error in the features; the decoder descends that error, weighted, and fools the
discriminator; the discriminator tells real images from decoded ones.

Reference: Larsen et al. 2016, algorithm 1 (arXiv:1512.09300).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, Float, Int, Key

from latentgen.core.game import ascend, game, players
from latentgen.core.types import Batch, Method, Net, Params, Phase, PyTree, State, Terms
from latentgen.objectives.adversarial import AdversarialLoss, Logits
from latentgen.probability.distributions import sum_event
from latentgen.probability.posteriors import Posterior, PosteriorFamily
from latentgen.probability.priors import normal

DISCRIMINATOR = ("features", "head")


class Model(NamedTuple):
    """Components of a VAE-GAN; p(z) = N(0, I).

    encoder: x -> the posterior's outputs
    decoder: code of `code_dim` coordinates -> x
    features: x -> f(x) of `width`, before their leaky relu; head: features -> (n, 1) logits
    posterior: q(z|x), with a KL in closed form
    """

    encoder: Net
    decoder: Net
    features: Net
    head: Net
    posterior: PosteriorFamily
    code_dim: int
    width: int


def vaegan(
    model: Model,
    values: AdversarialLoss,
    gamma: float | Float[Array, ""],
    encoder_tx: optax.GradientTransformation,
    decoder_tx: optax.GradientTransformation,
    discriminator_tx: optax.GradientTransformation,
    x_shape: tuple[int, ...],
) -> Method:
    """Three turns: encoder, decoder, discriminator.

    Args:
        values: what the discriminator ascends and the decoder descends.
        gamma: weight of the error in the decoder's turn.
        x_shape: the shape of one example.
    """

    def encoder_value(found: Played) -> tuple[Float[Array, " n"], Terms]:
        loss = found.rate + found.feature_error
        terms = {"rate": found.rate, "feature_error": found.feature_error, "encoder_loss": loss}
        return loss, terms

    def decoder_value(found: Played) -> tuple[Float[Array, " n"], Terms]:
        fools = found.against_both(values.generator_loss)
        loss = gamma * found.feature_error + fools
        return loss, {"fooling": fools, "decoder_loss": loss}

    def discriminator_value(found: Played) -> tuple[Float[Array, " n"], Terms]:
        value = found.against_both(values.discriminator_value)
        logits = {
            "real_logit": found.real,
            "prior_logit": found.of_prior,
            "encoding_logit": found.of_encoding,
        }
        return value, logits | {"discriminator_value": value}

    phases = [
        Phase(_turn(model, encoder_value), ("encoder",), encoder_tx),
        Phase(_turn(model, decoder_value), ("decoder",), decoder_tx),
        Phase(_turn(model, discriminator_value), DISCRIMINATOR, ascend(discriminator_tx)),
    ]
    init = players(
        {
            "encoder": (model.encoder, x_shape),
            "decoder": (model.decoder, (model.code_dim,)),
            "features": (model.features, x_shape),
            "head": (model.head, (model.width,)),
        }
    )
    probe_fns = probes(model)

    def sample(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n *shape"]:
        return probe_fns["decode"](state, probe_fns["codes"](state, key, n))

    return game(init, phases, sample, probe_fns)


class Played(NamedTuple):
    """Quantities that all players' losses share; the compiler drops what a loss does not use.

    rate: KL(q(z|x) || p(z)) in nats
    feature_error: 1/2 |f(x) - f(decoded z)|^2, z ~ q(z|x): the -log N(f(x); f(decoded z), I) of
        the paper's equation 7, but for a constant
    real, of_prior, of_encoding: the logits of x, of decoded z ~ p(z) and of decoded z ~ q(z|x)
    """

    rate: Float[Array, " n"]
    feature_error: Float[Array, " n"]
    real: Logits
    of_prior: Logits
    of_encoding: Logits
    stats: Params

    def against_both(self, value: Callable[[Logits, Logits], Array]) -> Float[Array, " n"]:
        """The mean of a game's value on the two kinds of synthetic images."""
        return (value(self.real, self.of_prior) + value(self.real, self.of_encoding)) / 2


def played(
    model: Model, params: Params, stats: Params, batch: Batch, key: Key[Array, ""], train: bool
) -> Played:
    """x, what becomes of it, and as many images of the prior, before the discriminator.

    Real and synthetic images pass decoder and discriminator apart, so that batch norm never mixes
    them; x and decoded z under the same dropout, which is no error of the decoder's.
    """
    *keys, judge_key, lone_key = jax.random.split(key, 7)
    outputs, of_encoder = model.encoder.apply(
        params["encoder"], stats["encoder"], batch.x, train=train, key=keys[0]
    )
    q = posterior(model, outputs)
    z, drawn = q.draw(keys[1], 1)[0][0], normal(model.code_dim).sample(keys[2], len(outputs))
    new_stats = stats | {"encoder": of_encoder}
    x_encoding, new_stats["decoder"] = decoded(model, params, new_stats, z, train, keys[3])
    x_prior, new_stats["decoder"] = decoded(model, params, new_stats, drawn, train, keys[4])
    (features, real), new_stats = logits_of(model, params, new_stats, batch.x, train, judge_key)
    (again, of_encoding), new_stats = logits_of(
        model, params, new_stats, x_encoding, train, judge_key
    )
    (_, of_prior), new_stats = logits_of(model, params, new_stats, x_prior, train, lone_key)
    assert q.kl is not None
    error = sum_event((features - again) ** 2) / 2
    return Played(q.kl.sum(axis=1), error, real, of_prior, of_encoding, new_stats)


def posterior(model: Model, outputs: Float[Array, "n o"]) -> Posterior:
    """q(z|x) from the encoder's outputs."""
    return model.posterior.at({}, outputs)


def decoded(
    model: Model,
    params: Params,
    stats: Params,
    z: Float[Array, "n d"],
    train: bool = False,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "n *shape"], PyTree]:
    """The images of these codes; the decoder's stats."""
    return model.decoder.apply(params["decoder"], stats["decoder"], z, train=train, key=key)


def logits_of(
    model: Model,
    params: Params,
    stats: Params,
    x: Float[Array, "n *shape"],
    train: bool = False,
    key: Key[Array, ""] | None = None,
) -> tuple[tuple[Float[Array, "n f"], Logits], Params]:
    """The discriminator's features of each image and its logit; all stats after that."""
    first, second = (None, None) if key is None else jax.random.split(key)
    features, seen = model.features.apply(
        params["features"], stats["features"], x, train=train, key=first
    )
    logits, head_stats = model.head.apply(
        params["head"], stats["head"], jax.nn.leaky_relu(features, 0.2), train=train, key=second
    )
    return (features, logits[:, 0]), stats | {"features": seen, "head": head_stats}


def _turn(model: Model, value: Callable[[Played], tuple[Array, Terms]]) -> Callable[..., tuple]:
    """A player's loss, from what all turns rest on."""

    def loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        found = played(model, params, stats, batch, key, train)
        descended, terms = value(found)
        return descended, (found.stats, terms)

    return loss


def probes(model: Model) -> dict[str, Callable[..., Any]]:
    """Return functions by name for metrics and pictures: state first, `label` ignored.

    codes (key, n) -> z ~ p(z), (n, d)
    decode (z, label=None) -> x; encode (x, label=None) -> the mean of q(z|x), (n, d)
    draw (batch, key, k) -> z ~ q(z|x), (k, n, d), and log q(z|x), (k, n)
    log_prior (z), log_posterior (batch, z) -> (k, n); of images there is no density
    discriminate (x, label=None) -> logits, (n,)
    """
    prior = normal(model.code_dim)

    def of(state: State, x: Float[Array, "n *shape"]) -> Posterior:
        params, stats = state.params["encoder"], state.stats["encoder"]
        return posterior(model, model.encoder.apply(params, stats, x, train=False)[0])

    def decode(
        state: State, z: Float[Array, "n d"], label: Int[Array, " n"] | None = None
    ) -> Float[Array, "n *shape"]:
        return decoded(model, state.params, state.stats, z)[0]

    def encode(
        state: State, x: Float[Array, "n *shape"], label: Int[Array, " n"] | None = None
    ) -> Float[Array, "n d"]:
        return of(state, x).centre

    def discriminate(
        state: State, x: Float[Array, "n *shape"], label: Int[Array, " n"] | None = None
    ) -> Logits:
        return logits_of(model, state.params, state.stats, x)[0][1]

    return {
        "codes": lambda state, key, n: prior.sample(key, n),
        "decode": decode,
        "encode": encode,
        "draw": lambda state, batch, key, k: of(state, batch.x).draw(key, k),
        "log_prior": lambda state, z: jax.vmap(prior.log_prob)(z),
        "log_posterior": lambda state, batch, z: of(state, batch.x).log_prob(z),
        "discriminate": discriminate,
    }
