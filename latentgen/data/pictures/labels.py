"""Labels and splits of pictures, from dataset.json, labels.csv or the names of folders.

- dataset.json at the root: `{"labels": [["a/b.png", 3], ...]}`, or null for no classes.
- labels.csv at the root: lines `path,label`; a label is a whole number or a name.
- Else the folders right below the root, or below a split, if there are at least two and every
  picture is in one.

Top folders that are named train and (val, valid or validation) or test are splits.
"""

import csv
import io
import json
import posixpath
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Int32

from latentgen.core.errors import BadInput, written
from latentgen.data.pictures.convert import Refused
from latentgen.data.pictures.entries import Listing, Reader, shown

SPLITS = ("train", "validation", "test")
NAMES = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
"""Folder -> position of its split in `SPLITS`."""

MOST_CLASSES = 100_000

Label = str | int


class FileLabels(NamedTuple):
    """Labels of a file at the root.

    file: its name; '' without one
    labels: name of a picture -> label; None without labels
    """

    file: str = ""
    labels: dict[str, Label] | None = None


def read(listing: Listing) -> FileLabels:
    """Read the labels of dataset.json or labels.csv.

    Raises:
        BadInput: the file is damaged.
    """
    for file, parse in (("dataset.json", _from_json), ("labels.csv", _from_csv)):
        if (entry := listing.labels.get(file)) is not None:
            try:
                with Reader(listing.where, listing.kind) as reader:
                    text = reader.read(entry).decode("utf-8-sig", errors="surrogateescape")
                rows = parse(text)
                return FileLabels(file, None if rows is None else _unique(rows))
            except (Refused, ValueError, csv.Error, RecursionError) as error:
                at = shown(str(listing.where / file))
                raise BadInput(f"{at}: {shown(str(error))}.") from None
    return FileLabels()


def _from_json(text: str) -> list[tuple[str, Label]] | None:
    found = json.loads(text)
    if not isinstance(found, dict) or "labels" not in found:
        raise ValueError('needs a key "labels"')
    if found["labels"] is None:
        return None
    if not isinstance(found["labels"], list):
        raise ValueError('"labels" must be a list of ["name", label], or null')
    for row in found["labels"]:
        if not (isinstance(row, list) and [type(v) for v in row] in ([str, int], [str, str])):
            raise ValueError(f'{written(row)} in "labels" must be ["name", label]')
    return [(name, label) for name, label in found["labels"]]


def _from_csv(text: str) -> list[tuple[str, Label]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[str, Label]] = []
    for row in reader:
        if len(row) not in (0, 2):
            raise ValueError(f"line {reader.line_num} must be path,label")
        if row:
            rows.append((row[0], row[1].strip()))
    return rows  # a header names no picture


def _unique(rows: Sequence[tuple[str, Label]]) -> dict[str, Label]:
    found: dict[str, Label] = {}
    for name, label in rows:
        name = posixpath.normpath(name)
        if found.setdefault(name, label) != label:
            raise ValueError(f"{name!r} has two labels, {found[name]!r} and {label!r}")
    return found


def splits(
    names: Sequence[str], split_of: Mapping[str, str] | None = None
) -> tuple[Int[np.ndarray, " n"], int]:
    """Return the position in `SPLITS` of each name, and the number of folders that name it.

    Args:
        split_of: name -> split, in place of the names of folders.

    Raises:
        BadInput: a name is not in `split_of`, or lies beside folders of splits.
    """
    if split_of is not None:
        if missing := [name for name in names if name not in split_of]:
            raise BadInput(f"{shown(missing[0])!r} and {len(missing) - 1} more are in no split.")
        return np.array([SPLITS.index(split_of[name]) for name in names], np.int64), 0
    tops = [name.partition("/")[0].lower() if "/" in name else "" for name in names]
    of_splits = {top for top in tops if top in NAMES}
    if "train" not in of_splits or (len(of_splits) == 1 and len(set(tops)) > 1):
        return np.zeros(len(names), np.int64), 0  # 'train' may be a class
    if other := [name for name, top in zip(names, tops, strict=True) if top not in NAMES]:
        raise BadInput(
            f"{shown(other[0])!r} is in none of the folders {', '.join(sorted(of_splits))}, which "
            "are splits by their names; move it into one of them, or rename them."
        )
    return np.array([NAMES[top] for top in tops], np.int64), 1


def numbered(
    names: Sequence[str], given: FileLabels, depth: int
) -> tuple[Int32[np.ndarray, " n"], tuple[str, ...]]:
    """Return the labels of taken pictures, and the names of the classes; () without classes.

    Args:
        names: each is in `given.labels`, if there are such.
        depth: the number of folders that name the split.

    Raises:
        BadInput: a number is negative or too large.
    """
    if given.labels is not None:
        found = [given.labels[name] for name in names]
        if all(isinstance(label, int) or _is_number(label) for label in found):
            return _numeric([int(label) for label in found], given.file)
        labels = [str(label) for label in found]
    else:
        parts = [name.split("/") for name in names]
        labels = [part[depth] for part in parts if len(part) > depth + 1]
        if given.file or len(labels) < len(names) or len(set(labels)) < 2:
            return np.zeros(len(names), np.int32), ()
    classes = sorted(set(labels))
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[label] for label in labels], np.int32), tuple(classes)


def _is_number(label: str) -> bool:
    return label.isascii() and label.isdecimal() and len(label) < 20


def _numeric(labels: list[int], file: str) -> tuple[Int32[np.ndarray, " n"], tuple[str, ...]]:
    """Keep numbers as they are."""
    for label in (min(labels), max(labels)):
        if not 0 <= label < MOST_CLASSES:
            raise BadInput(f"{file}: label {label} must be in 0 .. {MOST_CLASSES - 1}.")
    return np.array(labels, np.int32), tuple(map(str, range(max(labels) + 1)))
