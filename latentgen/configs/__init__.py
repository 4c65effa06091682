"""From a config to what it describes: the only reader of configs.

`experiment` checks every key before anything is loaded or written; `Experiment.plan.wire` then
makes the method for data of a given shape. Hyperparameters may be traced, so that a population
shares one compilation.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxtyping import Array, Float

from latentgen.configs.aae import aae_of
from latentgen.configs.bigan import bigan_of
from latentgen.configs.classifier import classifier_of
from latentgen.configs.components import Plan, Shape
from latentgen.configs.gan import gan_of
from latentgen.configs.python import python_of
from latentgen.configs.section import Section
from latentgen.configs.vae import vae_of
from latentgen.configs.vaegan import vaegan_of
from latentgen.core.errors import BadInput
from latentgen.core.schedules import is_schedule
from latentgen.core.types import Method
from latentgen.core.wrappers import scheduled, with_microbatches
from latentgen.data.augment import BLENDING, augmentation
from latentgen.data.pipeline import Augmentation
from latentgen.data.preprocess import PREPROCESS, Preprocess
from latentgen.system import plugins

METHODS: dict[str, Callable[[Section, Section, Preprocess], Plan]] = {
    "aae": aae_of,
    "bigan": bigan_of,
    "classifier": classifier_of,
    "gan": gan_of,
    "python": python_of,
    "vae": vae_of,
    "vaegan": vaegan_of,
}
"""(the config, its section `method`, the preprocessing) -> a plan of the method."""

COLORS = ("rgb", "grey", "as_is")
MOST_SKIPPED = 100
"""Times: a run that diverges more often is no run of its config any more."""


class Data(NamedTuple):
    """A data set and its preprocessing.

    validation: examples held out from the end of the training split; None: the set's default.
    pad_to: the side of its images after padding with black; 0: no padding.
    size: the side of images of a source that makes them of any size; 0: the source's own.
    color: of the same sources: rgb, grey or as_is.
    augment: (x, key) -> x of a training batch; None: no augmentation.
    balance: every class has the same share of the training batches.
    labels: ground-truth factors whose combinations are the classes; (): the set's own classes.
    """

    name: str
    preprocess: Preprocess
    validation: int | None
    pad_to: int
    size: int
    color: str
    augment: Augmentation | None
    balance: bool
    labels: tuple[str, ...]


class Every(NamedTuple):
    """Steps between two lines of the log, validations, pictures and checkpoints."""

    log: int
    validate: int
    sample: int
    checkpoint: int


class Evaluate(NamedTuple):
    """A measure that is taken during training.

    every: steps between two evaluations; 0: none.
    metric: name of the measure; "": frechet, or terms where nothing is generated.
    samples: number of synthetic examples, and of real ones.
    features: name of the features; "": the data set's default.
    patience: evaluations without a better value after which the run ends; 0: it does not.
    """

    every: int
    metric: str
    samples: int
    features: str
    patience: int


class Experiment(NamedTuple):
    """A config, checked and parsed.

    plan: makes the method for data of a given shape.
    skip_diverged: how many times a run that diverges may go on without the steps at fault.
    microbatches: parts of a minibatch, whose gradients are taken in turn.
    """

    seed: int
    steps: int
    batch_size: int
    data: Data
    every: Every
    plan: Plan
    skip_diverged: int
    evaluate: Evaluate
    microbatches: int


def experiment(config: Mapping[str, Any]) -> Experiment:
    """Read and check a whole config.

    Raises:
        BadInput: a key is missing, unknown, or holds what it cannot.
    """
    root = Section("config", config)
    plugins.load(root.words("plugins"))
    data_section = root.section("data")
    data = _data(data_section)
    method, every = root.section("method"), root.section("every")
    plan = method.choose("name", METHODS)(root, method, data.preprocess)
    _check_levels(data_section, 2 if data.preprocess.levels == 2 else plan.levels)
    parts = _microbatches(root, method)
    found = Experiment(
        seed=root.integer("seed", low=0, high=2**32 - 1),
        steps=root.integer("steps", low=1),
        batch_size=root.size("batch_size"),
        data=data,
        every=_every(every),
        plan=plan._replace(wire=lambda shape: with_microbatches(plan.wire(shape), parts)),
        skip_diverged=root.integer("skip_diverged", low=0, high=MOST_SKIPPED),
        evaluate=_evaluate(every, root.section("evaluate"), root.section("stop")),
        microbatches=parts,
    )
    root.finish()
    if not root.schedules:
        return found
    changing = {key.removeprefix("config."): value for key, value in root.schedules.items()}
    wire = lambda shape: scheduled(make(config, shape), changing, found.batch_size)  # noqa: E731
    return found._replace(plan=found.plan._replace(wire=wire))


def make(
    config: Mapping[str, Any], shape: Shape
) -> Callable[[Mapping[str, Float[Array, ""] | float]], Method]:
    """hyperparameters -> the method of `config` with these in place of its own.

    Args:
        config: see `experiment`.
        shape: of one example.

    Raises:
        BadInput: as for `experiment`; the made function raises it for a hyperparameter that is
            not a number with a fraction in the config, since others shape the program.
    """

    def method(hypers: Mapping[str, Float[Array, ""] | float]) -> Method:
        replaced: Mapping[str, Any] = config
        for key, value in hypers.items():
            replaced = _replace(replaced, key, key.split("."), value)
        return experiment(replaced).plan.wire(shape)

    return method


def _replace(values: Mapping[str, Any], key: str, path: list[str], new: Any) -> Mapping[str, Any]:
    name, *rest = path
    if rest and isinstance(values.get(name), Mapping):
        return {**values, name: _replace(values[name], key, rest, new)}
    old = values.get(name)
    if rest or not (isinstance(old, float) or (isinstance(old, str) and is_schedule(old))):
        raise BadInput(f"hyperparameter {key!r} must be a key of the config with a float value.")
    return {**values, name: new}


def _data(section: Section) -> Data:
    preprocess, names = section.choose("preprocess", PREPROCESS), section.words("augment")
    return Data(
        name=section.word("name"),
        preprocess=preprocess,
        validation=section.integer_or_none("validation", low=0),
        pad_to=section.integer("pad_to", low=0, high=4096),
        size=section.integer("size", low=0, high=4096),
        color=section.choose("color", {color: color for color in COLORS}),
        augment=augmentation(names, preprocess.range) if names else None,
        balance=section.flag("balance"),
        labels=section.words("labels"),
    )


def _check_levels(section: Section, levels: int | None) -> None:
    """Refuse an augmentation that makes pixels of other values than a pixel may have.

    Args:
        levels: number of values of a pixel, by the preprocessing or under p(x|z); None: any.
    """
    names = section.words("augment")
    blending = [name for name in names if name.partition(":")[0] in BLENDING]
    if levels is not None and blending:
        raise BadInput(
            f"{section.key('augment')}={names!r}: {blending[0]!r} makes pixels between the "
            f"{levels} levels of {section.key('preprocess')}={section.word('preprocess')!r}, and a "
            "pixel may have no others here."
        )


def _every(section: Section) -> Every:
    every = Every(*(section.integer(name, low=1) for name in Every._fields))
    for name, value in zip(Every._fields, every, strict=True):
        if value % every.log:
            raise BadInput(
                f"{section.key(name)}={value} must be a multiple of "
                f"{section.key('log')}={every.log}."
            )
    return every


def _evaluate(every: Section, section: Section, stop: Section) -> Evaluate:
    steps, log = every.integer("evaluate", low=0), every.integer("log", low=1)
    if steps % log:
        raise BadInput(
            f"{every.key('evaluate')}={steps} must be a multiple of {every.key('log')}={log}, or "
            "0 for no evaluation."
        )
    patience = stop.integer("patience", low=0)
    if patience and not steps:
        raise BadInput(
            f"{stop.key('patience')}={patience} counts evaluations, of which there are none: "
            f"{every.key('evaluate')}=0 must be above 0."
        )
    samples = section.integer("samples", low=10, high=10**7)
    return Evaluate(steps, section.word("metric"), samples, section.word("features"), patience)


def _microbatches(root: Section, method: Section) -> int:
    """Read the number of parts of a minibatch, each of whole packs of `packing` examples."""
    parts, batch = root.size("microbatches"), root.size("batch_size")
    packing = method.size("packing") if method.has("packing") else 1
    if batch % (parts * packing):
        packs = f" times {method.key('packing')}={packing}" if packing > 1 else ""
        raise BadInput(
            f"{root.key('batch_size')}={batch} must be a multiple of "
            f"{root.key('microbatches')}={parts}{packs}."
        )
    return parts
