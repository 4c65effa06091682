"""Config of a GAN -> method; checks the values and their combinations."""

from typing import Any

import optax

from latentgen.configs.components import (
    DTYPES,
    Network,
    Plan,
    Shape,
    average,
    network,
    optimizer,
    prior_of,
)
from latentgen.configs.section import LARGEST, WIDEST, Section
from latentgen.core.errors import BadInput
from latentgen.core.types import Method
from latentgen.data.preprocess import Preprocess
from latentgen.methods.gan import CONDITIONS, Model, Objective, gan, outputs
from latentgen.networks import DECODERS, ENCODERS
from latentgen.networks.net import OUTPUTS
from latentgen.objectives.adversarial import LOSSES
from latentgen.objectives.penalties import (
    PENALTIES,
    clip_weights,
    orthogonal_regularization,
)
from latentgen.probability import priors
from latentgen.probability.codes import Codes, structured
from latentgen.probability.priors import LearnedPrior


def gan_of(root: Section, method: Section, preprocess: Preprocess) -> Plan:
    """Make the plan of the GAN that a config describes."""
    dtype = root.choose("compute", DTYPES)
    codes = _codes(method)
    prior, code_dim = _prior(method, codes)
    classes = method.size("classes", low=0)
    condition, packing = method.word("condition"), method.size("packing")
    method.choose("condition", dict.fromkeys(CONDITIONS))
    repeats = method.size("discriminator_steps")
    generator_tx, discriminator_tx = _optimizers(root, method, repeats)
    generator = network(root, "generator", dtype, DECODERS, classes=classes, code_dim=code_dim)
    by_network = classes if condition == "network" else 0
    discriminator = network(root, "discriminator", dtype, ENCODERS, packing, classes=by_network)
    objective = _objective(method, discriminator, repeats * root.size("batch_size"))
    output = method.word("output")
    method.choose("output", OUTPUTS)
    wrap_ema = average(root, method, ("generator", "prior"), repeats)
    if condition != "concat" and (packing > 1 or not classes):
        raise BadInput(
            f"{method.key('condition')}={condition!r} needs {method.key('classes')} above 0 and "
            f"{method.key('packing')}=1."
        )
    if codes.size and packing > 1:
        raise BadInput(
            f"{method.key('packing')}={packing} must be 1 with {method.key('categories')} or "
            f"{method.key('continuous')}, which are inferred from single examples."
        )
    if condition == "network" and not discriminator.takes_class:
        raise BadInput(
            f"{method.key('condition')}='network' needs a discriminator that takes the class "
            f"itself; {discriminator.section.key('network')}={discriminator.kind!r} does not."
        )
    if (batch := root.size("batch_size")) % packing:
        raise BadInput(
            f"{root.key('batch_size')}={batch} must be a multiple of "
            f"{method.key('packing')}={packing}."
        )
    generator_batches = _generator_batches(root, method)
    label_channels = classes if condition == "concat" else 0

    def wire(shape: Shape) -> Method:
        *rest, last = shape
        group = (*rest, packing * (last + label_channels))
        model = Model(
            generator.generator(shape, preprocess.range, output),
            discriminator.encoder(group, outputs(classes, condition, codes)),
            prior,
            code_dim,
            classes,
            condition,
            packing,
            codes,
        )
        made = gan(
            model, objective, generator_tx, discriminator_tx, shape, repeats, generator_batches
        )
        return wrap_ema(made)

    return Plan(wire, root.word("compute"), (code_dim,), classes)


def _codes(method: Section) -> Codes:
    """Read which coordinates of codes the discriminator infers."""
    categories = method.sizes("categories")
    if 1 in categories:
        raise BadInput(f"{method.key('categories')}={categories} must each be at least 2.")
    return Codes(categories, method.integer("continuous", low=0, high=WIDEST))


def _prior(method: Section, codes: Codes) -> tuple[LearnedPrior, int]:
    """Return the prior and the dimension of the codes: noise, then the coordinates of `codes`."""
    dim, components = method.size("code_dim"), method.size("components")
    if (noise := dim - codes.size) < 1:
        raise BadInput(
            f"{method.key('code_dim')}={dim} must be above {codes.size}, the coordinates of "
            f"{method.key('categories')} and {method.key('continuous')}: the others are noise."
        )
    prior = prior_of(method, {"mixture": priors.mixture})(noise, components)
    return (structured(prior, codes) if codes.size else prior), dim


def _generator_batches(root: Section, method: Section) -> int:
    """Return how many minibatches of synthetic examples the generator's turn has."""
    size, batch = method.size("generator_batch", low=0), root.size("batch_size")
    if size % batch:
        raise BadInput(
            f"{method.key('generator_batch')}={size} must be 0 or a multiple of "
            f"{root.key('batch_size')}={batch}."
        )
    return max(1, size // batch)


def _optimizers(
    root: Section, method: Section, repeats: int
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Make the optimizers of generator and discriminator.

    `orthogonal` regularizes the generator's kernels; `weight_clip` clips the discriminator's.

    Args:
        repeats: updates of the discriminator in a step.
    """
    steps = root.integer("steps", low=1)
    if steps * repeats > LARGEST:
        raise BadInput(
            f"{method.key('discriminator_steps')}={repeats} times {root.key('steps')}={steps} must "
            f"be at most {LARGEST}, which is as far as its updates are counted."
        )
    batch = root.size("batch_size")
    generator = optimizer(root.section("generator_optimizer"), steps, batch * repeats)
    discriminator = optimizer(root.section("discriminator_optimizer"), steps * repeats, batch)
    orthogonal: Any = method.number("orthogonal", low=0.0)
    if not (isinstance(orthogonal, int | float) and orthogonal == 0):
        regularization = orthogonal_regularization(orthogonal, "generator")
        generator = optax.chain(regularization, generator)
    limit: Any = method.number("weight_clip", low=0.0)
    if isinstance(limit, int | float) and limit == 0:
        return generator, discriminator
    return generator, optax.chain(discriminator, clip_weights(limit))


def _objective(method: Section, discriminator: Network, images_per_step: int) -> Objective:
    loss = method.choose("loss", LOSSES)
    weight = method.value("penalty_weight", low=0.0)
    penalty = method.choose("penalty", {"none": None, **PENALTIES})
    if penalty is not None and discriminator.options.get("norm") == "batch":
        raise BadInput(
            f"{method.key('penalty')}={method.word('penalty')!r} does not fit "
            "config.discriminator.norm='batch', under which examples see each other: its gradient "
            "in one x is no longer one example's. Valid: layer, none, spectral."
        )
    auxiliary_weight = method.value("auxiliary_weight", low=0.0)
    return Objective(loss, penalty, weight, images_per_step, auxiliary_weight)
