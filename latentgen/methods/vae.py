"""The variational autoencoder: a game of one player, encoder and decoder together.

The encoder gives each image a normal distribution over codes; the decoder turns a sample of it
into an image. Loss: the distance between output and input, plus the KL divergence between the
code's distribution and the prior.

Reference: Kingma & Welling 2014 (arXiv:1312.6114).
"""

import jax
import optax
from jaxtyping import Array, Float, Int, Key

from latentgen.core.game import game, players
from latentgen.core.types import Batch, Method, Net, Params, Phase, State, Terms
from latentgen.objectives.elbo import Schedule, elbo
from latentgen.probability.distributions import Normal, kl_to_standard_normal, normal_sample
from latentgen.probability.likelihoods import Likelihood
from latentgen.probability.posteriors import diagonal_normal
from latentgen.probability.priors import normal


def vae(
    encoder: Net,
    decoder: Net,
    likelihood: Likelihood,
    code_dim: int,
    beta: Schedule,
    tx: optax.GradientTransformation,
    x_shape: tuple[int, ...],
) -> Method:
    """Descend E_q(z|x)[-log p(x|z)] + beta(step) KL(q(z|x) || N(0, I)).

    Args:
        encoder: x -> 2 code_dim outputs, mean and log std of the code.
        decoder: code -> the likelihood's outputs, in the shape of x.
        beta: step -> weight of the KL.
        x_shape: the shape of one example, e.g. (28, 28, 1).
    """
    prior = normal(code_dim)
    init = players({"encoder": (encoder, x_shape), "decoder": (decoder, (code_dim,))})

    def loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        code_key, encoder_key, decoder_key = jax.random.split(key, 3)
        outputs, encoder_stats = encoder.apply(
            params["encoder"], stats["encoder"], batch.x, train=train, key=encoder_key
        )
        posterior = diagonal_normal(outputs)
        z = normal_sample(posterior, code_key)
        outputs, decoder_stats = decoder.apply(
            params["decoder"], stats["decoder"], z, train=train, key=decoder_key
        )
        bound = elbo(
            likelihood.log_prob(outputs, batch.x), kl_to_standard_normal(posterior), beta(step)
        )
        moved = {"encoder": encoder_stats, "decoder": decoder_stats}
        return bound.loss, (moved, bound._asdict())

    def encode(state: State, x: Float[Array, "n *shape"]) -> Normal:
        outputs, _ = encoder.apply(state.params["encoder"], state.stats["encoder"], x, train=False)
        return diagonal_normal(outputs)

    def decode(state: State, z: Float[Array, "n d"]) -> Float[Array, "n *shape"]:
        outputs, _ = decoder.apply(state.params["decoder"], state.stats["decoder"], z, train=False)
        return likelihood.mean(outputs)

    def codes(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
        del state
        return prior.sample(key, n)

    def sample(state: State, key: Key[Array, ""], n: int) -> Float[Array, "n *shape"]:
        return decode(state, codes(state, key, n))

    phase = Phase(loss, ("encoder", "decoder"), tx)
    return game(init, [phase], sample, {"encode": encode, "decode": decode, "codes": codes})
