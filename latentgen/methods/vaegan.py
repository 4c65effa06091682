"""VAE-GAN: a VAE whose reconstruction error is measured in features of a discriminator.

The discriminator is head(features(x)). In each step the encoder descends the KL plus the feature
error; the decoder descends the weighted feature error plus the generator's loss; the discriminator
learns to tell real images from decoded ones.

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

    encoder: x -> outputs that parametrize q(z|x)
    decoder: code, (n, code_dim) -> x
    features: x -> f(x), (n, width), before the leaky ReLU
    head: features after the leaky ReLU -> (n, 1) logits
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
    """Make a VAE-GAN, a game of three turns: encoder, decoder, discriminator.

    Args:
        values: the discriminator's value and the decoder's (generator's) loss.
        gamma: weight of the feature error in the decoder's turn.
        x_shape: the shape of one example.
    """

    def encoder_loss(p: Played) -> tuple[Float[Array, " n"], Terms]:
        loss = p.rate + p.feature_error
        return loss, {"rate": p.rate, "feature_error": p.feature_error, "encoder_loss": loss}

    def decoder_loss(p: Played) -> tuple[Float[Array, " n"], Terms]:
        adversarial_loss = p.against_both(values.generator_loss)
        loss = gamma * p.feature_error + adversarial_loss
        return loss, {"fooling": adversarial_loss, "decoder_loss": loss}

    def discriminator_value(p: Played) -> tuple[Float[Array, " n"], Terms]:
        value = p.against_both(values.discriminator_value)
        logits = {
            "real_logit": p.real,
            "prior_logit": p.of_prior,
            "encoding_logit": p.of_encoding,
        }
        return value, logits | {"discriminator_value": value}

    phases = [
        Phase(_loss(model, encoder_loss), ("encoder",), encoder_tx),
        Phase(_loss(model, decoder_loss), ("decoder",), decoder_tx),
        Phase(_loss(model, discriminator_value), DISCRIMINATOR, ascend(discriminator_tx)),
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
    """Forward pass of all networks, shared by all losses; the compiler drops the unused parts.

    rate: KL(q(z|x) || p(z)) in nats
    feature_error: |f(x) - f(decoded z)|^2 / 2, z ~ q(z|x): -log N(f(x); f(decoded z), I) of the
        paper's equation 7, up to a constant
    real, of_prior, of_encoding: logits of x, of decoded z ~ p(z) and of decoded z ~ q(z|x)
    stats: new stats of all players
    """

    rate: Float[Array, " n"]
    feature_error: Float[Array, " n"]
    real: Logits
    of_prior: Logits
    of_encoding: Logits
    stats: Params

    def against_both(self, value: Callable[[Logits, Logits], Array]) -> Float[Array, " n"]:
        """Average `value` over the two kinds of synthetic images, of_prior and of_encoding.

        Algorithm 1 of the paper sums the two synthetic terms instead of averaging them.
        """
        return (value(self.real, self.of_prior) + value(self.real, self.of_encoding)) / 2


def played(
    model: Model, params: Params, stats: Params, batch: Batch, key: Key[Array, ""], train: bool
) -> Played:
    """Encode and decode x, decode as many samples of the prior, and score all three kinds of x.

    Each kind of code and image has its own pass through decoder and discriminator, so that batch
    norm never mixes them. x and its reconstruction share the dropout mask of the discriminator,
    so that dropout adds nothing to the feature error.
    """
    *keys, pair_key, prior_key = jax.random.split(key, 7)
    outputs, encoder_stats = model.encoder.apply(
        params["encoder"], stats["encoder"], batch.x, train=train, key=keys[0]
    )
    q = posterior(model, outputs)
    z, prior_z = q.draw(keys[1], 1)[0][0], normal(model.code_dim).sample(keys[2], len(outputs))
    new_stats = stats | {"encoder": encoder_stats}
    x_encoding, new_stats["decoder"] = decoded(model, params, new_stats, z, train, keys[3])
    x_prior, new_stats["decoder"] = decoded(model, params, new_stats, prior_z, train, keys[4])
    (features, real), new_stats = logits_of(model, params, new_stats, batch.x, train, pair_key)
    (reconstructed_features, of_encoding), new_stats = logits_of(
        model, params, new_stats, x_encoding, train, pair_key
    )
    (_, of_prior), new_stats = logits_of(model, params, new_stats, x_prior, train, prior_key)
    assert q.kl is not None
    error = sum_event((features - reconstructed_features) ** 2) / 2
    return Played(q.kl.sum(axis=1), error, real, of_prior, of_encoding, new_stats)


def posterior(model: Model, outputs: Float[Array, "n o"]) -> Posterior:
    """Return q(z|x) from the encoder's outputs."""
    return model.posterior.at({}, outputs)


def decoded(
    model: Model,
    params: Params,
    stats: Params,
    z: Float[Array, "n d"],
    train: bool = False,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "n *shape"], PyTree]:
    """Return the images of these codes and the decoder's new stats."""
    return model.decoder.apply(params["decoder"], stats["decoder"], z, train=train, key=key)


def logits_of(
    model: Model,
    params: Params,
    stats: Params,
    x: Float[Array, "n *shape"],
    train: bool = False,
    key: Key[Array, ""] | None = None,
) -> tuple[tuple[Float[Array, "n f"], Logits], Params]:
    """Return features and logit of each image, (n, f) and (n,), and all players' new stats."""
    features_key, head_key = (None, None) if key is None else jax.random.split(key)
    features, features_stats = model.features.apply(
        params["features"], stats["features"], x, train=train, key=features_key
    )
    logits, head_stats = model.head.apply(
        params["head"], stats["head"], jax.nn.leaky_relu(features, 0.2), train=train, key=head_key
    )
    return (features, logits[:, 0]), stats | {"features": features_stats, "head": head_stats}


def _loss(model: Model, value: Callable[[Played], tuple[Array, Terms]]) -> Callable[..., tuple]:
    """Make a phase's loss from a function of the forward pass.

    Args:
        value: `Played` -> (loss per example, or the value that is ascended; terms).
    """

    def loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        forward = played(model, params, stats, batch, key, train)
        loss_n, terms = value(forward)
        return loss_n, (forward.stats, terms)

    return loss


def probes(model: Model) -> dict[str, Callable[..., Any]]:
    """Return the probes by name; each takes the state first and ignores `label`.

    codes (key, n) -> z ~ p(z), (n, d)
    decode (z, label=None) -> x, (n, *shape)
    encode (x, label=None) -> the mean of q(z|x), (n, d)
    draw (batch, key, k) -> z ~ q(z|x), (k, n, d), and log q(z|x), (k, n)
    log_prior (z), log_posterior (batch, z) -> (k, n); z is (k, n, d). There is no p(x|z)
    discriminate (x, label=None) -> logits, (n,)
    """
    prior = normal(model.code_dim)

    def posterior_of(state: State, x: Float[Array, "n *shape"]) -> Posterior:
        params, stats = state.params["encoder"], state.stats["encoder"]
        return posterior(model, model.encoder.apply(params, stats, x, train=False)[0])

    def decode(
        state: State, z: Float[Array, "n d"], label: Int[Array, " n"] | None = None
    ) -> Float[Array, "n *shape"]:
        return decoded(model, state.params, state.stats, z)[0]

    def encode(
        state: State, x: Float[Array, "n *shape"], label: Int[Array, " n"] | None = None
    ) -> Float[Array, "n d"]:
        return posterior_of(state, x).centre

    def discriminate(
        state: State, x: Float[Array, "n *shape"], label: Int[Array, " n"] | None = None
    ) -> Logits:
        return logits_of(model, state.params, state.stats, x)[0][1]

    return {
        "codes": lambda state, key, n: prior.sample(key, n),
        "decode": decode,
        "encode": encode,
        "draw": lambda state, batch, key, k: posterior_of(state, batch.x).draw(key, k),
        "log_prior": lambda state, z: jax.vmap(prior.log_prob)(z),
        "log_posterior": lambda state, batch, z: posterior_of(state, batch.x).log_prob(z),
        "discriminate": discriminate,
    }
