"""Names of classes: for pictures, pages and flags."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Int

from latentgen.core.errors import BadInput, nearest, printable, shortened
from latentgen.storage import workdir
from latentgen.training.setup import Run

NAMES = "classes"  # in a data set, and in the description of the data in the workdir
LONGEST = 60  # characters of a name that is shown


def names_of(run: Run) -> tuple[str, ...]:
    """Return the names of the labels of a run's data; () if they have none.

    Data that are not yet read are not read for this: their workdir keeps the names.
    """
    found: Any = getattr(run.dataset, NAMES, ())
    found = found or workdir.described(run.folder).get(NAMES, ())
    is_valid = isinstance(found, list | tuple) and all(isinstance(name, str) for name in found)
    return tuple(found) if is_valid else ()


def shown(label: int, names: Sequence[str]) -> str:
    """Return the name of a class, or its number if it has none that the built-in font can write."""
    name = names[label] if 0 <= label < len(names) else ""
    is_latin = name.encode("latin-1", errors="ignore").decode("latin-1") == name
    return shortened(printable(name), LONGEST) if name and is_latin else str(label)


def captions(run: Run, label: Int[Array | np.ndarray, " n"] | None, repeats: int = 1) -> list[str]:
    """Return the class of each image, for a conditional method; else [].

    Args:
        label: None for a method without classes.
        repeats: number of images of each label, in turn.
    """
    if not run.experiment.plan.classes or label is None:
        return []
    names = names_of(run)
    return [shown(int(each), names) for each in np.asarray(label) for _ in range(repeats)]


def parse(key: str, values: Sequence[str], classes: int, names: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of the classes that a user has chosen.

    Args:
        key: the flag, for the message.
        values: numbers or names; what is both is a name.
        classes: number of classes.
        names: of the classes; () for none.

    Raises:
        BadInput: there are no such classes, or none are chosen.
    """
    numbers = {str(i): i for i in range(classes)}
    known = numbers | {name: i for i, name in enumerate(names[:classes])}
    valid = f"Valid: 0 .. {classes - 1}"
    if names:
        valid += f", or {shortened(', '.join(names[:classes]))}"
    if not values:
        raise BadInput(f"{key} is empty. {valid}.")
    for value in values:
        if value not in known:
            raise BadInput(f"{key}={value!r} is no class{nearest(value, names)} {valid}.")
    return tuple(known[value] for value in values)
