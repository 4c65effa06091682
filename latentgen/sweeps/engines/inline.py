"""Sweeps on the command line: a file with get_sweep(h); `--grid`, `--zip`, `--draw`, `--seeds`."""

import ast
import re
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from latentgen.core.errors import BadInput, choose, positive
from latentgen.sweeps import vocabulary
from latentgen.sweeps.vocabulary import Series

MOST = 10**6  # maximum number of seeds
DRAWS: dict[str, Callable[[str, list[Any]], Series]] = {
    "uniform": lambda key, domain: vocabulary.uniform(key, tuple(domain)),
    "loguniform": lambda key, domain: vocabulary.loguniform(key, tuple(domain)),
    "discrete": vocabulary.uniform,
}
BOOLEANS = {"True": True, "False": False, "true": True, "false": False}


def value(text: str) -> Any:
    """Parse a number, a tuple, True or False; any other text is a string."""
    text = text.strip()
    if text in BOOLEANS:
        return BOOLEANS[text]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def values(text: str) -> list[Any]:
    """Parse '1,(2,3),name' as [1, (2, 3), 'name']; commas within brackets do not separate."""
    parts = re.split(r",(?![^(\[]*[)\]])", text)
    return [value(part) for part in parts if part.strip()]


def swept(flag: str, text: str) -> Series:
    """Parse 'config.a.b=1,2' as a sweep over these values."""
    key, _, right = text.partition("=")
    found = values(right)
    if not key.startswith("config.") or not found:
        raise BadInput(f"--{flag}={text!r} must look like 'config.a.b=1,2'.")
    return vocabulary.sweep(key, found)


def drawn(text: str) -> Series:
    """Parse 'config.a.b=loguniform(1e-5,1e-2)' as an unlimited series of random values."""
    key, _, right = text.partition("=")
    found = re.fullmatch(r"\s*(\w+)\((.*)\)\s*", right)
    if not key.startswith("config.") or found is None:
        raise BadInput(f"--draw={text!r} must look like 'config.a.b=loguniform(1e-5,1e-2)'.")
    return choose(f"--draw={key}", found[1], DRAWS)(key, values(found[2]))


def _seed(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def seeds(text: str) -> Series:
    """Parse '0:10' as the seeds 0 to 9, and '3,5' as these two."""
    try:
        first, colon, stop = text.partition(":")
        found = range(int(first or 0), int(stop)) if colon else list(map(_seed, values(text)))
    except (TypeError, ValueError):
        raise BadInput(f"--seeds={text!r} must look like 0:10 or 3,5,8.") from None
    if not found or (found[0] if colon else min(found)) < 0:
        raise BadInput(f"--seeds={text!r} must name at least one seed, none below 0.")
    if len(found) > MOST:
        raise BadInput(f"--seeds={text!r} names {len(found)} seeds; at most {MOST}.")
    return vocabulary.sweep("config.seed", found)


def series(
    grid: Sequence[str], zipped: Sequence[str], draw: Sequence[str], draws: int | None
) -> list[Series]:
    """Return the series of these flags, whose `product` is the sweep."""
    found = [swept("grid", text) for text in grid]
    if zipped:
        found.append(vocabulary.zipit([swept("zip", text) for text in zipped]))
    if draw and draws is None:
        raise BadInput("--draws is missing: how many times --draw draws.")
    if draws is not None and not draw:
        raise BadInput(f"--draws={draws} needs a --draw: what is drawn.")
    if draw and draws is not None:
        random = [drawn(text) for text in draw]
        found.append(vocabulary.zipit(random, length=positive("--draws", draws)))
    return found


def described(file: str) -> Series:
    """Return the series that get_sweep(h) of a file returns.

    Raises:
        BadInput: the file is missing, raises, or returns something else.
    """
    if not Path(file).is_file():
        raise BadInput(f"--sweep={file!r}: there is no such file.")
    try:
        found = runpy.run_path(file)["get_sweep"](vocabulary)
    except BadInput as error:
        raise BadInput(f"--sweep={file!r}: {error}") from None
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise BadInput(f"--sweep={file!r} fails with {type(error).__name__}: {error}.") from None
    if isinstance(found, list) and all(isinstance(row, dict) for row in found):
        listed: list[dict[str, Any]] = found
        return Series(lambda i, seed: listed[i], len(listed))
    if not isinstance(found, Series):
        raise BadInput(f"--sweep={file!r}: get_sweep returns a {type(found).__name__}.")
    return found
