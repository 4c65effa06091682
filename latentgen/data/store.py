"""Arrays of a data set in a folder: written once, as streams, then mapped into memory.

A folder holds {split}_{x, label, factors}.npy, the SHA-256 of each, and a card: shape, names of
classes, factors, and the SHA-256 of `dataset.identity`. It appears with all of this or not at all.
"""

import contextlib
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from latentgen.data import folders
from latentgen.data.dataset import SPLITS, DataSet, Examples, content_sha256

CARD = "card.json"
IN_MEMORY = 2**30
"""Decoded images of at most this many bytes are kept in memory where no folder can be written."""


class Block(NamedTuple):
    """Consecutive examples of a split; label is 0 without classes."""

    x: UInt8[np.ndarray, "n h w c"]
    label: Int32[np.ndarray, " n"]
    factors: Int32[np.ndarray, "n k"] | None = None


class Columns(NamedTuple):
    """A split to be written: number of its examples, and blocks of them in order."""

    size: int
    blocks: Iterable[Block]


class Contents(NamedTuple):
    """A data set to be written.

    shape: (h, w, c)
    splits: split -> its columns
    classes, factors, by_content: see `DataSet`
    """

    shape: tuple[int, ...]
    splits: Mapping[str, Columns]
    classes: tuple[str, ...] = ()
    factors: Mapping[str, int] = {}
    by_content: bool = False


class Rows:
    """An .npy file of a known shape, written row by row, and its digest."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._file = open(path, "wb")  # noqa: SIM115
        self._dtype, self._left, self._digest = dtype, shape[0], hashlib.sha256()
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": shape,
        }
        np.lib.format.write_array_header_1_0(self._file, header)

    def add(self, rows: np.ndarray) -> None:
        """Append rows."""
        data = np.ascontiguousarray(rows, self._dtype).reshape(len(rows), -1)
        self._left -= len(rows)
        self._digest.update(data.data)
        self._file.write(data.data)

    def close(self) -> str:
        """Flush the file; return the SHA-256 of its rows.

        Raises:
            ValueError: it has another number of rows than was said.
        """
        with self._file as file:
            file.flush()
            os.fsync(file.fileno())
        if self._left:
            raise ValueError(
                f"{abs(self._left)} examples {'missing' if self._left > 0 else 'more'}"
            )
        return self._digest.hexdigest()


def write(
    folder: Path, contents: Contents, check: Callable[[dict[str, str]], None] = lambda digests: None
) -> None:
    """Write a data set's arrays into a new folder, atomically; memory holds a block at a time.

    Args:
        folder: the new folder; if it appears meanwhile, that one is kept.
        contents: the data set.
        check: called with array name -> SHA-256 before the folder appears.

    Raises:
        ValueError: a split has another number of examples than it says.
        OSError: the folder cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folders.scratch(folder.parent) as scratch:
        done = scratch / "arrays"
        done.mkdir()
        digests: dict[str, str] = {}
        for split, columns in contents.splits.items():
            digests |= _write_split(done, split, columns, contents)
        check(digests)
        folders.write_digests(done, digests)
        card = {
            "shape": list(contents.shape),
            "classes": list(contents.classes),
            "factors": dict(contents.factors),
            "by_content": contents.by_content,
            "sha256": content_sha256(_mapped(done)),
        }
        (done / CARD).write_text(json.dumps(card, indent=2) + "\n")
        try:
            os.rename(done, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise


def _write_split(done: Path, split: str, columns: Columns, contents: Contents) -> dict[str, str]:
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "x": (contents.shape, np.uint8),
        "label": ((), np.int32),
    }
    if contents.factors:
        shapes["factors"] = ((len(contents.factors),), np.int32)
    files = {
        kind: Rows(done / f"{split}_{kind}.npy", (columns.size, *shape), np.dtype(dtype))
        for kind, (shape, dtype) in shapes.items()
    }
    try:
        for block in columns.blocks:
            for kind, rows in files.items():
                rows.add(getattr(block, kind))
    finally:
        digests = {}
        for kind, rows in files.items():
            with contextlib.suppress(ValueError):
                digests[f"{split}_{kind}"] = rows.close()
    if len(digests) < len(files):
        raise ValueError(f"{split} has another number of examples than {columns.size}")
    return digests


def read(folder: Path) -> DataSet:
    """Map a folder's arrays into memory, after checking them against their digests.

    Returns:
        The data set, whose name is that of the folder.

    Raises:
        OSError, ValueError: the folder is missing or damaged.
    """
    digests = folders.read_digests(folder)
    if digests is None:
        raise ValueError(f"{folders.DIGESTS} is missing")
    splits = _mapped(folder)
    compare(digests, digests_of(splits))
    card: dict[str, Any] = {}
    if (folder / CARD).is_file():  # caches of 0.1.0 have none
        card = json.loads((folder / CARD).read_text())
    return DataSet(
        name=folder.name,
        version="1",
        origin=f"prepared in {folder}",
        splits=splits,
        classes=tuple(card.get("classes", ())),
        factors=dict(card.get("factors", {})),
        sha256=card.get("sha256"),
        by_content=bool(card.get("by_content", False)),
    )


def read_or_write(
    folder: Path,
    contents: Callable[[], Contents],
    check: Callable[[dict[str, str]], None] = lambda digests: None,
    warn: Callable[[str], None] = lambda line: None,
) -> DataSet:
    """Read a folder; write it first if it is missing or damaged.

    Where it cannot be written, images of at most `IN_MEMORY` bytes are decoded into memory.

    Args:
        contents: makes what is to be written.
        check: see `write`.
        warn: called with a line about a damaged folder, or one that cannot be written.
    """
    if folder.is_dir():
        try:
            return read(folder)
        except (OSError, ValueError, EOFError) as error:
            warn(f"the arrays in {folder} are damaged ({error}); decoding anew")
            shutil.rmtree(folder, ignore_errors=True)
    found = contents()
    try:
        write(folder, found, check)
    except OSError as error:
        size = sum(columns.size for columns in found.splits.values()) * math.prod(found.shape)
        if size > IN_MEMORY:
            raise
        warn(f"decoded arrays are not cached: {error}")
        return _in_memory(folder.name, contents(), check)
    return read(folder)


def _in_memory(name: str, contents: Contents, check: Callable[[dict[str, str]], None]) -> DataSet:
    def joined(blocks: Iterable[Block]) -> Examples:
        columns: Any = zip(*blocks, strict=True)
        x, label, factors = (None if c[0] is None else np.concatenate(c) for c in columns)
        return Examples(x, label, factors)  # type: ignore[arg-type]

    splits = {split: joined(columns.blocks) for split, columns in contents.splits.items()}
    check(digests_of(splits))
    return DataSet(
        name=name,
        version="1",
        origin="decoded",
        splits=splits,
        classes=contents.classes,
        factors=contents.factors,
        sha256=None,
        by_content=contents.by_content,
    )


def _mapped(folder: Path) -> dict[str, Examples]:
    """Map the arrays of each split, in the order of `SPLITS`."""
    arrays = {p.stem: np.load(p, mmap_mode="r") for p in folder.glob("*.npy")}
    return {
        split: Examples(*(arrays.get(f"{split}_{kind}") for kind in Examples._fields))  # type: ignore[arg-type]
        for split in SPLITS
        if f"{split}_label" in arrays and f"{split}_x" in arrays
    }


def digests_of(splits: Mapping[str, Examples]) -> dict[str, str]:
    """Return array name -> SHA-256: 'train_x', 'train_label', ..."""
    return {
        f"{split}_{kind}": folders.digest(rows)
        for split, examples in splits.items()
        for kind, rows in examples._asdict().items()
        if rows is not None
    }


def compare(signed: Mapping[str, str] | None, found: Mapping[str, str]) -> None:
    """Compare digests with those that were written; None: nothing was.

    Raises:
        ValueError: arrays differ.
    """
    if signed is not None and signed != found:
        names = sorted(n for n in {*signed, *found} if signed.get(n) != found.get(n))
        raise ValueError(f"{', '.join(names)}: not what was written")


def in_blocks(x: np.ndarray, label: np.ndarray, size: int = 1_000) -> Iterator[Block]:
    """Iterate over arrays in blocks of `size` examples."""
    for start in range(0, len(x), size):
        yield Block(x[start : start + size], label[start : start + size])
