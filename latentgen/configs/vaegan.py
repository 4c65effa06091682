"""The config of a VAE-GAN."""

from latentgen.configs.components import DTYPES, Plan, Shape, average, network, optimizer
from latentgen.configs.regularization import constant_augmentation_of
from latentgen.configs.section import Section
from latentgen.core.types import Method
from latentgen.data.preprocess import Preprocess
from latentgen.methods.vaegan import Model, vaegan
from latentgen.networks import DECODERS, ENCODERS, mlp
from latentgen.objectives.adversarial import LOSSES
from latentgen.objectives.augment import augmented
from latentgen.probability.posteriors import diagonal


def vaegan_of(root: Section, method: Section, preprocess: Preprocess) -> Plan:
    """The VAE-GAN that a config describes."""
    dtype, steps = root.choose("compute", DTYPES), root.integer("steps", low=1)
    dim, width = method.size("code_dim"), method.size("features")
    values, gamma = method.choose("loss", LOSSES), method.number("gamma", low=0.0)
    encoder_tx = optimizer(root.section("encoder_optimizer"), steps)
    decoder_tx = optimizer(root.section("decoder_optimizer"), steps)
    discriminator_tx = optimizer(root.section("discriminator_optimizer"), steps)
    encoder = network(root, "encoder", dtype, ENCODERS)
    decoder = network(root, "decoder", dtype, DECODERS)
    discriminator = network(root, "discriminator", dtype, ENCODERS)
    augmentation = constant_augmentation_of(method, preprocess.range)
    averaged = average(root, method, ("encoder", "decoder"))
    last = {k: v for k, v in discriminator.options.items() if k in ("norm", "init", "dtype")}

    def wire(shape: Shape) -> Method:
        posterior = diagonal(dim)
        model = Model(
            encoder=encoder.encoder(shape, posterior.outputs),
            decoder=decoder.generator(shape, preprocess.range),
            features=augmented(discriminator.encoder(shape, width), augmentation),
            head=mlp.encoder((), outputs=1, **last),
            posterior=posterior,
            code_dim=dim,
            width=width,
        )
        return averaged(
            vaegan(model, values, gamma, encoder_tx, decoder_tx, discriminator_tx, shape)
        )

    return Plan(wire, root.word("compute"), (dim,))
