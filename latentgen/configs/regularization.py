"""Regularizers of a discriminator, other than gradient penalties, read from a config."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Key

from latentgen.configs.section import TINY, Section
from latentgen.core.errors import BadInput, nearest, written
from latentgen.core.schedules import is_zero
from latentgen.data.augment import augmentation
from latentgen.objectives.augment import Augmentation, has_probability, transform
from latentgen.objectives.augment.control import Control
from latentgen.objectives.regularizers import Groups, Regularizers

Range = tuple[float, float] | None

FORMS: dict[str, tuple[str, ...]] = {
    "cr": ("real",),
    "bcr": ("real", "synthetic"),
    "zcr": ("latent", "diverse", "latent_std"),
    "lecam": ("lecam",),
    "features": ("features",),
    "topk": ("top", "top_images"),
}
"""Name in `config.method.regularize` -> the fields of `Regularizers` that its numbers are."""


def augmentation_of(method: Section, range: Range) -> Augmentation | None:
    """Read what the discriminator's inputs go through in training.

    Args:
        range: interval of x; None if it is unbounded.
    """
    name = method.word("augment")
    p, target = method.number("augment_p", 0.0, 1.0), method.number_or_off("augment_target", 1.0)
    interval = method.integer("augment_interval", low=1)
    images = method.positive("augment_images")
    if is_zero(target):
        target = None
    adapts = has_probability(name)
    if target is not None and not adapts:
        raise BadInput(
            f"{method.shown('augment_target')} needs a probability that adapts: "
            f"{method.key('augment')}='ada', not {name!r}."
        )
    if target is not None and method.is_scheduled("augment_p"):
        raise BadInput(
            f"{method.key('augment_p')} must be a number where {method.shown('augment_target')} "
            "moves it."
        )
    if name == "none":
        return None
    if adapts and target is None and is_zero(p):
        raise BadInput(
            f"{method.key('augment')}={name!r} changes nothing with "
            f"{method.key('augment_p')}=0.0 and {method.key('augment_target')}=0.0: one of them "
            "must be above 0, such as augment_target=0.6."
        )
    control = None if target is None else Control(target, interval, images)
    return Augmentation(transform(name, range), p if adapts else None, control)


def constant_augmentation_of(method: Section, range: Range) -> Augmentation | None:
    """Read what a discriminator's inputs go through in training, where its p never changes."""
    name, p = method.word("augment"), method.number("augment_p", 0.0, 1.0)
    if name == "none":
        return None
    adapts = has_probability(name)
    if adapts and is_zero(p):
        raise BadInput(
            f"{method.key('augment')}={name!r} changes nothing with {method.key('augment_p')}=0.0: "
            "it must be above 0."
        )
    return Augmentation(transform(name, range), p if adapts else None)


def regularizers_of(method: Section, range: Range) -> Regularizers:
    """Read `config.method.regularize`: entries such as 'bcr:10,10'."""
    key, names = method.key("regularize"), method.words("regularize")
    values: dict[str, Any] = {}
    for entry in names:
        found = _entry(key, entry)
        if twice := sorted(found.keys() & values.keys()):
            raise BadInput(f"{key}={written(names)} gives {twice[0]!r} twice: {entry!r}.")
        values |= found
    if not 0 < values.get("top", 1.0) <= 1:
        raise BadInput(f"{key}: the share of 'topk' must be above 0 and at most 1.")
    chosen = Regularizers()._replace(**values)
    if chosen.latent and (categories := method.sizes("categories")):
        raise BadInput(
            f"{key}={written(names)}: 'zcr' adds noise to codes, which one-hot ones cannot have; "
            f"{method.key('categories')}={categories} must be ()."
        )
    if not chosen.real:
        return chosen
    if range is None:
        raise BadInput(
            f"{key}={written(names)} moves images, so it needs x in a bounded range, such as those "
            "of config.data.preprocess='unit' or 'signed'."
        )
    return chosen._replace(move=_move(range))


def _entry(key: str, entry: str) -> dict[str, float]:
    """Return the fields of `Regularizers` that an entry sets.

    Raises:
        BadInput: the name is unknown, or the numbers are not as many as it has, or below 0.
    """
    name, _, rest = entry.partition(":")
    valid = [f"{each}:{','.join(field.upper() for field in f)}" for each, f in FORMS.items()]
    if name not in FORMS:
        raise BadInput(f"{key}: {entry!r} is unknown{nearest(name, FORMS)} Valid: {valid}.")
    try:
        numbers = [float(text) for text in rest.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != len(FORMS[name]) or not all(TINY <= n < 1e30 for n in numbers):
        form = valid[list(FORMS).index(name)]
        raise BadInput(f"{key}: {entry!r} must be {form}, with numbers above 0.")
    return dict(zip(FORMS[name], numbers, strict=True))


def _move(range: tuple[float, float]) -> Callable[[Groups, Key[Array, ""]], Groups]:
    """Make the transform of consistency: a flip, and a shift by up to an eighth of the image.

    4 of 32 pixels, with what lies beyond the border reflected.
    """

    def move(x: Groups, key: Key[Array, ""]) -> Groups:
        if x.ndim != 5:
            raise BadInput(
                "config.method.regularize: consistency moves images; x is of shape "
                f"{x.shape[2:]}. Valid here: zcr, lecam, features, topk."
            )
        pixels = min(x.shape[2:4]) // 8
        names = ("flip", f"crop:{pixels}") if pixels else ("flip",)
        flat = x.reshape(-1, *x.shape[2:])
        return augmentation(names, range)(flat, key).reshape(x.shape)

    return move
