"""The config of an adversarial autoencoder."""

from latentgen.configs.components import DTYPES, Plan, Shape, average, network, optimizer
from latentgen.configs.section import Section
from latentgen.configs.vae import levels_of, likelihood_of
from latentgen.core.types import Method
from latentgen.data.preprocess import Preprocess
from latentgen.methods.aae import Model, aae
from latentgen.networks import DECODERS, ENCODERS, mlp
from latentgen.objectives.adversarial import LOSSES
from latentgen.probability.priors import PRIORS


def aae_of(root: Section, method: Section, preprocess: Preprocess) -> Plan:
    """The adversarial autoencoder that a config describes."""
    dtype, steps = root.choose("compute", DTYPES), root.integer("steps", low=1)
    dim = method.size("code_dim")
    prior, values = method.choose("prior", PRIORS)(dim), method.choose("loss", LOSSES)
    likelihood = likelihood_of(method, preprocess)
    autoencoder_tx = optimizer(root.section("autoencoder_optimizer"), steps)
    discriminator_tx = optimizer(root.section("discriminator_optimizer"), steps)
    encoder_tx = optimizer(root.section("encoder_optimizer"), steps)
    encoder = network(root, "encoder", dtype, ENCODERS)
    decoder = network(root, "decoder", dtype, DECODERS)
    discriminator = network(root, "discriminator", dtype, {"mlp": mlp.encoder})
    averaged = average(root, method, ("encoder", "decoder", "likelihood"))

    def wire(shape: Shape) -> Method:
        *rest, last = shape
        seen = likelihood(shape)
        model = Model(
            encoder.encoder(shape, dim),
            decoder.decoder((*rest, last * seen.features)),
            discriminator.encoder((dim,), 1),
            prior,
            seen,
        )
        return averaged(aae(model, values, autoencoder_tx, discriminator_tx, encoder_tx, shape))

    levels, score = levels_of(likelihood((1,)), preprocess)
    return Plan(wire, root.word("compute"), (dim,), levels=levels, score=score)
