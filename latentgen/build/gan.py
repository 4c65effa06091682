"""The config of a GAN."""

from latentgen.build.parts import DTYPES, Plan, Shape, average, network, optimizer
from latentgen.config import Section
from latentgen.core.types import Method
from latentgen.data.preprocess import Preprocess
from latentgen.methods.gan import gan
from latentgen.networks import DECODERS, ENCODERS
from latentgen.objectives.adversarial import GAMES
from latentgen.probability.priors import PRIORS


def gan_of(root: Section, method: Section, preprocess: Preprocess) -> Plan:
    """The GAN that a config describes."""
    dtype = root.choose("compute", DTYPES)
    values = method.choose("game", GAMES)
    prior = method.choose("prior", PRIORS)(method.integer("code_dim", low=1))
    repeats = method.integer("discriminator_steps", low=1)
    steps = root.integer("steps", low=1)
    generator_tx, discriminator_tx = (
        optimizer(root.section(f"{name}_optimizer"), updates)
        for name, updates in (("generator", steps), ("discriminator", steps * repeats))
    )
    generator = network(root, "generator", dtype, DECODERS)
    discriminator = network(root, "discriminator", dtype, ENCODERS)
    averaged = average(method, ("generator",))

    def wire(shape: Shape) -> Method:
        return averaged(
            gan(
                generator.decoder(shape),
                discriminator.encoder(shape, 1),
                values,
                prior,
                generator_tx,
                discriminator_tx,
                shape,
                repeats,
                preprocess.range,
            )
        )

    return Plan(wire, root.word("compute"), (prior.dim,))
