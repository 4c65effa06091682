"""Config of a GAN -> method; checks the values and their combinations."""

from collections.abc import Callable
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
from latentgen.configs.regularization import augmentation_of, regularizers_of
from latentgen.configs.section import LARGEST, WIDEST, Section
from latentgen.core.errors import BadInput
from latentgen.core.schedules import is_zero
from latentgen.core.types import Method
from latentgen.data.preprocess import Preprocess
from latentgen.methods.gan import CONDITIONS, FIRST, Model, Objective, gan, outputs
from latentgen.methods.styles import Mapping, PathLength
from latentgen.networks import DECODERS, ENCODERS, MAPPINGS
from latentgen.networks.net import OUTPUTS
from latentgen.networks.stylegan2 import mean_style, style_levels
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
    mapping, path = _mapping(root, method, generator, classes)
    by_network = classes if condition == "network" else 0
    discriminator = network(root, "discriminator", dtype, ENCODERS, packing, classes=by_network)
    objective = _objective(method, discriminator, preprocess, repeats * root.size("batch_size"))
    normalize_gradient = method.flag("gradient_normalization")
    objective = objective._replace(path_length=path)
    first = method.word("first")
    method.choose("first", dict.fromkeys(FIRST))
    output = method.word("output")
    method.choose("output", OUTPUTS)
    averaged = ("generator", "mapping", "prior")
    wrap_ema = average(root, method, averaged, repeats, copied=("mapping",))
    _check_condition(root, method, codes, discriminator)
    generator_batches = _generator_batches(root, method)
    label_channels = classes if condition == "concat" else 0

    def wire(shape: Shape) -> Method:
        *rest, last = shape
        group = (*rest, packing * (last + label_channels))
        model = Model(
            generator=generator.generator(shape, preprocess.range, output),
            discriminator=discriminator.encoder(group, outputs(classes, condition, codes)),
            prior=prior,
            code_dim=code_dim,
            classes=classes,
            condition=condition,
            packing=packing,
            codes=codes,
            normalize_gradient=normalize_gradient,
            mapping=mapping and mapping(shape),
        )
        made = gan(
            model,
            objective,
            generator_tx,
            discriminator_tx,
            shape,
            discriminator_steps=repeats,
            first=first,
            generator_batches=generator_batches,
        )
        return wrap_ema(made)

    return Plan(wire, root.word("compute"), (code_dim,), classes)


def _check_condition(root: Section, method: Section, codes: Codes, discriminator: Network) -> None:
    """Check that classes, packs and inferred codes go together.

    Raises:
        BadInput: they do not, or the discriminator does not fit them.
    """
    condition, packing = method.word("condition"), method.size("packing")
    classes = method.size("classes", low=0)
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


def _mapping(
    root: Section, method: Section, generator: Network, classes: int
) -> tuple[Callable[[Shape], Mapping] | None, PathLength | None]:
    """Read what comes with a mapping network: it, its mixed styles, its path lengths."""
    mixing = method.number("style_mixing", low=0.0, high=1.0)
    weight = method.number("path_length", low=0.0)
    every = method.integer("path_every", low=1)
    path = None if is_zero(weight) else PathLength(weight, every)
    if not root.has("mapping"):
        for name, value in (("style_mixing", mixing), ("path_length", weight)):
            if not is_zero(value):
                raise BadInput(f"{method.shown(name)} needs {root.key('mapping')}.")
        return None, None
    if generator.kind != "stylegan2":
        raise BadInput(
            f"{root.key('mapping')} needs a generator that takes styles: "
            f"{generator.section.key('network')}={generator.kind!r} must be 'stylegan2'."
        )
    net = network(root, "mapping", "float32", MAPPINGS, classes=classes)

    def make(shape: Shape) -> Mapping:
        return Mapping(net.mapping(), net.options["width"], style_levels(shape), mixing, mean_style)

    return make, path


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
    path_every, penalty_every = (
        method.integer(f"{name}_every", low=1) for name in ("path", "penalty")
    )
    has_path = not is_zero(method.number("path_length"))
    g_updates = steps + (-(-steps // path_every) if has_path else 0)
    d_updates = steps * repeats + (-(-steps // penalty_every) if penalty_every > 1 else 0)
    generator = optimizer(root.section("generator_optimizer"), g_updates)
    discriminator = optimizer(root.section("discriminator_optimizer"), d_updates)
    orthogonal = method.number("orthogonal", low=0.0)
    if not is_zero(orthogonal):
        generator = optax.chain(orthogonal_regularization(orthogonal, "generator"), generator)
    limit: Any = method.number_or_off("weight_clip")
    if is_zero(limit):
        return generator, discriminator
    return generator, optax.chain(discriminator, clip_weights(limit))


def _objective(
    method: Section, discriminator: Network, preprocess: Preprocess, images_per_step: int
) -> Objective:
    loss = method.choose("loss", LOSSES)
    weight = method.number("penalty_weight", low=0.0)
    penalty = method.choose("penalty", {"none": None, **PENALTIES})
    asks = ""
    if method.flag("gradient_normalization"):
        asks = f"{method.key('gradient_normalization')}=True"
    if penalty is not None:
        asks = f"{method.key('penalty')}={method.word('penalty')!r}"
    if asks and discriminator.options.get("norm") == "batch":
        raise BadInput(
            f"{asks} does not fit config.discriminator.norm='batch', under which examples see each "
            "other: its gradient in one x is no longer one example's. Valid: layer, none, spectral."
        )
    return Objective(
        loss=loss,
        penalty=penalty,
        weight=weight,
        images_per_step=images_per_step,
        auxiliary_weight=method.number("auxiliary_weight", low=0.0),
        augmentation=augmentation_of(method, preprocess.range),
        regularizers=regularizers_of(method, preprocess.range),
        penalty_every=method.integer("penalty_every", low=1),
    )
