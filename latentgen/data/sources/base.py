"""The type of a source of data sets."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from latentgen.data.dataset import DataSet


class Request(NamedTuple):
    """A data set that a config asks for.

    name: config.data.name
    argument: the part of the name after the colon, as in folder:PATH
    data_dir: TFDS's folder, where sets are prepared
    manual_dir: a folder with original files; None: not given
    size: config.data.size, the side of an image; 0: the set's own
    color: config.data.color: rgb, grey, or as_is
    """

    name: str
    argument: str
    data_dir: Path
    manual_dir: Path | None
    size: int = 0
    color: str = "rgb"


class Source(NamedTuple):
    """A source of one or several data sets, a row of `SOURCES`.

    load: request -> the data set, with the splits 'train' and, if it has them, others
    held_out: examples of 'train' for validation by default, or a share of them as a float; None: a
        tenth, at most 5,000
    sized: it makes images of the size and colour that a request names
    argument: form of the argument in the set's name; "": it has none
    """

    load: Callable[[Request], DataSet]
    held_out: int | float | None = None
    sized: bool = False
    argument: str = ""


SETS = "latentgen_sets"
"""Folder in `data_dir` with the sets that are prepared here as arrays."""
