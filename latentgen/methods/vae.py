"""Variational autoencoder: a game of one player, encoder and decoder together.

The encoder maps each image to a distribution q(z|x) over codes, the decoder maps a code to a
distribution p(x|z) over images. Loss: the negative ELBO, -E_q[log p(x|z)] + KL(q(z|x) || p(z)),
or another bound on log p(x) from several codes per image.

Reference: Kingma & Welling 2014 (arXiv:1312.6114).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from latentgen.core.errors import BadInput
from latentgen.core.game import game, players
from latentgen.core.keys import named_key
from latentgen.core.schedules import is_zero
from latentgen.core.split import flatten_samples, unflatten_samples
from latentgen.core.types import Batch, Method, Net, Params, Phase, State, Terms
from latentgen.networks.labels import concat_label, cycle_labels
from latentgen.objectives.bounds import Bound, value
from latentgen.objectives.elbo import Schedule, elbo, free_nats
from latentgen.objectives.estimators import Estimator, negative_bound, one_view
from latentgen.probability.likelihoods import Likelihood
from latentgen.probability.posteriors import Posterior, PosteriorFamily
from latentgen.probability.priors import LearnedPrior, Prior


class Model(NamedTuple):
    """Components of p(z) p(x|z) and q(z|x).

    encoder: x -> outputs that parametrize q(z|x)
    decoder: code -> outputs that parametrize p(x|z)
    code_dim: number of coordinates of a code, over all stochastic layers
    decoder_sees: number of coordinates that the decoder takes, from the first on; less than
        `code_dim` if there is a second stochastic layer
    classes: number of classes that both networks are conditioned on; 0: unconditional
    """

    encoder: Net
    decoder: Net
    prior: LearnedPrior
    posterior: PosteriorFamily
    likelihood: Likelihood
    code_dim: int
    decoder_sees: int
    classes: int = 0


class Objective(NamedTuple):
    """Training objective: a bound on log p(x), the number of codes per image, gradient estimator.

    samples: number of codes per image
    bound: on log p(x)
    estimator: of the encoder's gradient
    closed_kl: True for the ELBO with its KL in closed form instead of sampled
    free_nats: for the ELBO, nats below which the KL of a group of coordinates is not penalized; a
        sampled KL has one group, of all coordinates
    """

    samples: int
    bound: Bound
    estimator: Estimator
    closed_kl: bool
    free_nats: Any = 0.0


class Weights(NamedTuple):
    """Log-densities in nats of k codes of each of n images, for their importance weights."""

    log_px: Float[Array, "k n"]
    log_pz: Float[Array, "k n"]
    log_qz: Float[Array, "k n"]

    def log_w(self, beta: float | Float[Array, ""] = 1.0) -> Float[Array, "k n"]:
        """Return log w = log p(x|z) + beta (log p(z) - log q(z|x))."""
        return self.log_px + beta * (self.log_pz - self.log_qz)


def vae(
    model: Model,
    objective: Objective,
    beta: Schedule,
    tx: optax.GradientTransformation,
    x_shape: tuple[int, ...],
) -> Method:
    """Make a VAE, which ascends a lower bound on log p(x).

    The ELBO is E_q[log p(x|z)] - beta(step) KL(q(z|x) || p(z)).

    Args:
        beta: step -> weight of the KL, or of log p(z) - log q(z|x) in log w.
        x_shape: the shape of one example, e.g. (28, 28, 1).
    """
    trains = ("encoder", "decoder", "prior", "posterior", "likelihood")
    phase = Phase(_loss(model, objective, beta), trains, tx)
    probe_fns = probes(model)

    def sample(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n *shape"]:
        return probe_fns["decode"](state, probe_fns["codes"](state, key, n))

    return game(_init(model, x_shape), [phase], sample, probe_fns)


def _init(model: Model, x_shape: tuple[int, ...]) -> Callable[..., tuple[Params, Params]]:
    *rest, last = x_shape
    networks = players(
        {
            "encoder": (model.encoder, (*rest, last + model.classes)),
            "decoder": (model.decoder, (model.decoder_sees + model.classes,)),
        }
    )

    def init(key: Key[Array, ""]) -> tuple[Params, Params]:
        params, stats = networks(key)
        for name in ("prior", "posterior", "likelihood"):
            params[name] = getattr(model, name).init(named_key(key, name))
        return params, stats

    return init


def _loss(model: Model, objective: Objective, beta: Schedule) -> Callable[..., tuple]:
    """Make the loss of all players: minus the bound, with the weight beta."""

    def loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        code_key, encoder_key, decoder_key = jax.random.split(key, 3)
        outputs, encoder_stats = encoded(model, params, stats, batch, train, encoder_key)
        q = model.posterior.at(params["posterior"], outputs)
        z, log_qz = q.draw(code_key, objective.samples)
        weight, stop_gradient = beta(step), jax.lax.stop_gradient

        def densities(params: Params, z: Array, log_qz: Array) -> tuple[Weights, Params]:
            log_px, new_stats = log_likelihood(model, params, stats, batch, z, train, decoder_key)
            return Weights(log_px, log_prior(model, params, stats, z), log_qz), new_stats

        if objective.closed_kl:
            log_px, decoder_stats = log_likelihood(
                model, params, stats, batch, z, train, decoder_key
            )
            terms, loss_n = _closed_kl_loss(objective, log_px.mean(axis=0), q, weight)
        else:
            if objective.estimator.stops:
                stopped_q = model.posterior.at(*stop_gradient((params["posterior"], outputs)))
                log_qz = stopped_q.log_prob(z)
            weights, decoder_stats = densities(params, z, log_qz)
            if not is_zero(objective.free_nats):
                rate = (weights.log_qz - weights.log_pz).mean(axis=0)
                kl = free_nats(jnp.expand_dims(rate, 1), objective.free_nats)
                loss_n = weight * kl - weights.log_px.mean(axis=0)
            elif one_view(objective.bound, objective.estimator):
                loss_n = -value(objective.bound.decoder, weights.log_w(weight))
            else:  # equal values, different gradients: the compiler merges the two forward passes
                model_weights, decoder_stats = densities(params, *stop_gradient((z, log_qz)))
                path_weights, _ = densities(stop_gradient(params), z, log_qz)
                loss_n = negative_bound(
                    objective.bound,
                    objective.estimator,
                    model_weights.log_w(weight),
                    path_weights.log_w(weight),
                    weight,
                )
            terms = _sampled_terms(objective, weights) | {"loss": loss_n}
        return loss_n, ({"encoder": encoder_stats, "decoder": decoder_stats}, terms)

    return loss


def _closed_kl_loss(
    objective: Objective, log_px: Float[Array, " n"], q: Posterior, weight: Float[Array, ""]
) -> tuple[Terms, Float[Array, " n"]]:
    """Return the ELBO's terms, and the loss weight free_nats(KL) - log p(x|z)."""
    assert q.kl is not None  # configs/vae.py refuses posteriors without a closed form
    loss_n = weight * free_nats(q.kl, objective.free_nats) - log_px
    terms = elbo(log_px, q.kl.sum(axis=1))._replace(loss=loss_n)
    return terms._asdict(), loss_n


def _sampled_terms(objective: Objective, weights: Weights) -> Terms:
    """Return the terms of the ELBO and of the bound, with beta = 1 whatever the training loss."""
    rate = (weights.log_qz - weights.log_pz).mean(axis=0)
    terms = elbo(weights.log_px.mean(axis=0), rate)._asdict()
    return terms | {"negative_bound": -value(objective.bound.decoder, weights.log_w())}


def encoded(
    model: Model,
    params: Params,
    stats: Params,
    batch: Batch,
    train: bool = False,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "n o"], Params]:
    """Return the encoder's outputs for each image, (n, o), and its new stats."""
    x = concat_label(batch.x, batch.label, model.classes)
    return model.encoder.apply(params["encoder"], stats["encoder"], x, train=train, key=key)


def posterior(model: Model, params: Params, stats: Params, batch: Batch) -> Posterior:
    """Return q(z|x) of each image, with the encoder in evaluation mode."""
    return model.posterior.at(params["posterior"], encoded(model, params, stats, batch)[0])


def prior(model: Model, params: Params, stats: Params) -> Prior:
    """Return p(z); a VampPrior encodes its pseudo-inputs in evaluation mode."""

    def encode(x: Float[Array, "m *shape"]) -> Posterior:
        return posterior(model, params, stats, Batch(x, jnp.zeros(x.shape[0], jnp.int32)))

    return model.prior.at(params["prior"], encode)


def log_prior(
    model: Model, params: Params, stats: Params, z: Float[Array, "k n d"]
) -> Float[Array, "k n"]:
    """Return log p(z) in nats, (k, n)."""
    return unflatten_samples(prior(model, params, stats).log_prob(flatten_samples(z)), z.shape[0])


def decoded(
    model: Model,
    params: Params,
    stats: Params,
    z: Float[Array, "m d"],
    label: Int[Array, " m"],
    train: bool = False,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "m *outputs"], Params]:
    """Return the decoder's outputs for each code, (m, *outputs), and its new stats."""
    inputs = concat_label(z[:, : model.decoder_sees], label, model.classes)
    return model.decoder.apply(params["decoder"], stats["decoder"], inputs, train=train, key=key)


def log_likelihood(
    model: Model,
    params: Params,
    stats: Params,
    batch: Batch,
    z: Float[Array, "k n d"],
    train: bool = False,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "k n"], Params]:
    """Return log p(x_j|z_ij) in nats, (k, n), and the decoder's new stats."""
    label = flatten_samples(jnp.broadcast_to(batch.label, z.shape[:2]))
    flat, new_stats = decoded(model, params, stats, flatten_samples(z), label, train, key)
    outputs = unflatten_samples(flat, z.shape[0])
    log_px = jax.vmap(model.likelihood.log_prob, (None, 0, None))(
        params["likelihood"], outputs, batch.x
    )
    return log_px, new_stats


def probes(model: Model) -> dict[str, Callable[..., Any]]:
    """Return the probes of a trained VAE by name; each takes the state first.

    codes (key, n) -> z ~ p(z), (n, d)
    decode (z, label=None) -> E[x|z], (n, *shape); by default labels cycle through the classes
    encode (x, label=None) -> the posterior's centre, (n, d); a conditional method requires the
        label
    draw (batch, key, k) -> z ~ q(z|x), (k, n, d), and log q(z|x), (k, n)
    log_prior (z), log_posterior (batch, z), log_likelihood (batch, z) -> (k, n); z is (k, n, d)
    observe (key, z, label=None) -> x ~ p(x|z)
    noise () -> the std of p(x|z), only if p(x|z) is normal
    """

    def outputs(state: State, z: Float[Array, "n d"], label: Int[Array, " n"] | None) -> Array:
        label = cycle_labels(z.shape[0], model.classes) if label is None else label
        return decoded(model, state.params, state.stats, z, label)[0]

    def codes(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
        return prior(model, state.params, state.stats).sample(key, n)

    def decode(
        state: State, z: Float[Array, "n d"], label: Int[Array, " n"] | None = None
    ) -> Float[Array, "n *shape"]:
        return model.likelihood.mean(state.params["likelihood"], outputs(state, z, label))

    def observe(
        state: State,
        key: Key[Array, ""],
        z: Float[Array, "n d"],
        label: Int[Array, " n"] | None = None,
    ) -> Float[Array, "n *shape"]:
        return model.likelihood.sample(state.params["likelihood"], key, outputs(state, z, label))

    def posterior_of(state: State, batch: Batch) -> Posterior:
        return posterior(model, state.params, state.stats, batch)

    def encode(
        state: State, x: Float[Array, "n *shape"], label: Int[Array, " n"] | None = None
    ) -> Float[Array, "n d"]:
        if label is None and model.classes:
            raise BadInput("label is missing: this method asks what class each image is of.")
        label = jnp.zeros(x.shape[0], jnp.int32) if label is None else label
        return posterior_of(state, Batch(x, label)).centre

    std = model.likelihood.std
    noise = {} if std is None else {"noise": lambda state: std(state.params["likelihood"])}
    return noise | {
        "codes": codes,
        "decode": decode,
        "encode": encode,
        "draw": lambda state, batch, key, k: posterior_of(state, batch).draw(key, k),
        "log_prior": lambda state, z: log_prior(model, state.params, state.stats, z),
        "log_posterior": lambda state, batch, z: posterior_of(state, batch).log_prob(z),
        "log_likelihood": lambda state, batch, z: log_likelihood(
            model, state.params, state.stats, batch, z
        )[0],
        "observe": observe,
    }
