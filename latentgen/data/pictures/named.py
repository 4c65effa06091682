"""Names of prepared sets: NAME.json beside the folders of the sets."""

import re
from pathlib import Path
from typing import NamedTuple

from latentgen.core.errors import BadInput
from latentgen.data.pictures import pieces
from latentgen.data.pictures.entries import shown

_VALID = re.compile(r"[A-Za-z0-9_-]+")


class Named(NamedTuple):
    """A named set.

    folder: name of its folder
    holdout: part of the training examples that is held out for validation; None: the default
    """

    folder: str
    holdout: float | None = None


def read(parent: Path, name: str) -> Named | None:
    """Return the set of this name in `parent`; None if there is none.

    Raises:
        BadInput: the name's file is damaged.
    """
    path = parent / f"{name}.json"
    try:
        found = pieces.read_json(path)
        return Named(str(found["folder"]), found["holdout"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{shown(str(path))} is damaged; write it with --replace.") from None


def is_valid(name: str) -> bool:
    """Return whether a set can have this name."""
    return _VALID.fullmatch(name) is not None


def check(parent: Path, name: str, holdout: float | None) -> None:
    """Check a name and a held-out part.

    Raises:
        BadInput: the name has other characters than letters, digits, _ and -, or the part is not
            between 0 and 1.
    """
    if not is_valid(name):
        raise BadInput(f"--name={name!r} must have letters A-Z and a-z, digits, _ and - only.")
    if holdout is not None and not 0 < holdout < 1:
        raise BadInput(f"--holdout={holdout} must be above 0 and below 1.")


def write(parent: Path, name: str, named: Named, replace: bool = False) -> None:
    """Name a set.

    Args:
        replace: whether the name may be another set's so far.

    Raises:
        BadInput: it is another set's, or the name or the part is not valid.
    """
    check(parent, name, named.holdout)
    if not replace and (before := read(parent, name)) and before.folder != named.folder:
        raise BadInput(
            f"--name={name!r} is the set {before.folder}; choose another name, or --replace it."
        )
    pieces.write_json(parent / f"{name}.json", named._asdict())
