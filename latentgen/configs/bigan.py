"""The config of BiGAN and ALI."""

from latentgen.configs.components import DTYPES, Plan, Shape, average, network, optimizer
from latentgen.configs.regularization import constant_augmentation_of
from latentgen.configs.section import Section
from latentgen.core.errors import BadInput
from latentgen.core.types import Method
from latentgen.data.preprocess import Preprocess
from latentgen.methods.bigan import Model, bigan
from latentgen.networks import DECODERS, ENCODERS, mlp
from latentgen.objectives.adversarial import LOSSES, AdversarialLoss
from latentgen.objectives.augment import augmented
from latentgen.probability.posteriors import diagonal
from latentgen.probability.priors import PRIORS

UNFIT = "least_squares"


def bigan_of(root: Section, method: Section, preprocess: Preprocess) -> Plan:
    """The BiGAN that a config describes; with a stochastic encoder, ALI."""
    dtype, steps = root.choose("compute", DTYPES), root.integer("steps", low=1)
    dim, width = method.size("code_dim"), method.size("features")
    prior, values = method.choose("prior", PRIORS)(dim), _loss(method)
    stochastic = method.choose("encoder", {"stochastic": True, "deterministic": False})
    posterior = diagonal(dim) if stochastic else None
    generator_tx = optimizer(root.section("generator_optimizer"), steps)
    discriminator_tx = optimizer(root.section("discriminator_optimizer"), steps)
    generator = network(root, "generator", dtype, DECODERS)
    encoder = network(root, "encoder", dtype, ENCODERS)
    discriminator = network(root, "discriminator", dtype, ENCODERS)
    head = network(root, "head", dtype, {"mlp": mlp.encoder})
    augmentation = constant_augmentation_of(method, preprocess.range)
    averaged = average(root, method, ("generator", "encoder"))
    if not head.options["hidden"]:
        raise BadInput(
            f"{head.section.key('hidden')}=() must name at least one size: a linear layer would "
            "judge image and code apart."
        )

    def wire(shape: Shape) -> Method:
        model = Model(
            generator=generator.generator(shape, preprocess.range),
            encoder=encoder.encoder(shape, dim if posterior is None else posterior.outputs),
            features=augmented(discriminator.encoder(shape, width), augmentation),
            head=head.encoder((width + dim,), 1),
            prior=prior,
            posterior=posterior,
            width=width,
        )
        return averaged(bigan(model, values, generator_tx, discriminator_tx, shape))

    return Plan(wire, root.word("compute"), (dim,))


def _loss(method: Section) -> AdversarialLoss:
    values = method.choose("loss", LOSSES)
    if method.word("loss") == UNFIT:
        raise BadInput(
            f"{method.key('loss')}={method.word('loss')!r} is not supported for BiGAN: its targets "
            f"0 and 1 are not symmetric. Valid: {', '.join(sorted(set(LOSSES) - {UNFIT}))}."
        )
    return values
