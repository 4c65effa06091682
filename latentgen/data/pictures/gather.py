"""Pieces to final arrays: examples of each split in the order of their pixels' digests."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32, UInt8

from latentgen.data import store
from latentgen.data.pictures import pieces
from latentgen.data.pictures.labels import SPLITS

BLOCK_BYTES = 2**27
"""Bytes of the examples that are in memory at a time."""


class Taken(NamedTuple):
    """Entries that were converted, in the order of their names.

    entry: position in the listing
    piece, row: place of the pixels in the pieces
    digest, grey: SHA-256 of the pixels, and of one channel of them
    is_grey: whether all channels are equal
    size: width and height of the file's picture
    """

    entry: Int[np.ndarray, " n"]
    piece: Int32[np.ndarray, " n"]
    row: Int32[np.ndarray, " n"]
    digest: UInt8[np.ndarray, "n 32"]
    grey: UInt8[np.ndarray, "n 32"]
    is_grey: Bool[np.ndarray, " n"]
    size: Int32[np.ndarray, "n 2"]

    def only(self, kept: Bool[np.ndarray, " n"]) -> "Taken":
        """Select rows."""
        return Taken(*(field[kept] for field in self))


class Rows(NamedTuple):
    """Examples of a split, in order; piece and row as in `Taken`, factors as in `Examples`."""

    piece: Int32[np.ndarray, " n"]
    row: Int32[np.ndarray, " n"]
    label: Int32[np.ndarray, " n"]
    factors: Int32[np.ndarray, "n k"] | None = None


def collect(work: Path, number: int) -> tuple[Taken, dict[int, str]]:
    """Read the outcomes of all pieces; return the taken entries, and entry -> reason of others.

    Args:
        number: how many pieces there are.
    """
    parts, start = [], 0
    refused: dict[int, str] = {}
    for piece in range(number):
        found = pieces.outcomes(work, piece)
        refused |= {start + i: each.reason for i, each in enumerate(found) if each.reason}
        parts.append(_taken(piece, start, found))
        start += len(found)
    return Taken(*(np.concatenate(fields) for fields in zip(*parts, strict=True))), refused


def _taken(piece: int, start: int, outcomes: list[pieces.Outcome]) -> Taken:
    entry = np.array([start + i for i, o in enumerate(outcomes) if not o.reason], np.int64)
    found = [outcome for outcome in outcomes if not outcome.reason]
    return Taken(
        entry=entry,
        piece=np.full(len(found), piece, np.int32),
        row=np.arange(len(found), dtype=np.int32),
        digest=_digests([o.sha256 for o in found]),
        grey=_digests([o.grey or "0" * 64 for o in found]),
        is_grey=np.array([bool(o.grey) for o in found], np.bool_),
        size=np.array([(o.width, o.height) for o in found], np.int32).reshape(-1, 2),
    )


def _digests(texts: list[str]) -> UInt8[np.ndarray, "n 32"]:
    return np.frombuffer(bytes.fromhex("".join(texts)), np.uint8).reshape(-1, 32)


def in_last_split(
    digest: UInt8[np.ndarray, "n 32"], split: Int[np.ndarray, " n"]
) -> Bool[np.ndarray, " n"]:
    """Return whether no later split has the same pixels."""
    group = _groups(digest)
    last = np.zeros(len(group), np.int64)
    np.maximum.at(last, group, split)
    return split == last[group]


def duplicates(digest: UInt8[np.ndarray, "n 32"]) -> int:
    """Return the number of images that equal another one, less one of each."""
    return len(digest) - int(_groups(digest).max(initial=-1)) - 1


def _groups(digest: UInt8[np.ndarray, "n 32"]) -> Int[np.ndarray, " n"]:
    """Number the different digests; return the number of each row."""
    order = np.lexsort(digest.view(">u8").T[::-1])
    ordered = digest[order]
    new = np.ones(len(digest), np.int64)
    new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    group = np.empty(len(digest), np.int64)
    group[order] = np.cumsum(new) - 1
    return group


def arranged(
    taken: Taken,
    split: Int[np.ndarray, " n"],
    label: Int32[np.ndarray, " n"],
    factors: Int32[np.ndarray, "n k"] | None,
) -> dict[str, Rows]:
    """Sort the examples of each split by digest, then label, then name."""
    order = np.lexsort((label, *taken.digest.view(">u8").T[::-1]))
    found = {}
    for position, name in enumerate(SPLITS):
        at = order[split[order] == position]
        if len(at):
            own = None if factors is None else factors[at]
            found[name] = Rows(taken.piece[at], taken.row[at], label[at], own)
    return found


def write(
    work: Path, out: Path, splits: Mapping[str, Rows], shape: tuple[int, int, int]
) -> tuple[dict[str, str], str]:
    """Write the arrays of all splits.

    Args:
        work: folder of the pieces.
        out: where to write.
        shape: of an example.

    Returns:
        Array -> SHA-256 of its bytes, and the SHA-256 of all labels, then all pixels.
    """
    whole = hashlib.sha256()
    digests = {}
    for name, rows in splits.items():
        whole.update(rows.label.tobytes())
        for kind, values in (("label", rows.label), ("factors", rows.factors)):
            if values is not None:
                array = f"{name}_{kind}"
                digests[array] = _write(out / f"{array}.npy", values.shape, np.int32, [values])
    for name, rows in splits.items():
        blocks = _hashed(_pixels(work, rows, shape), whole)
        file = out / f"{name}_x.npy"
        digests[f"{name}_x"] = _write(file, (len(rows.label), *shape), np.uint8, blocks)
    return digests, whole.hexdigest()


def _write(path: Path, shape: tuple[int, ...], dtype: Any, blocks: Iterable[np.ndarray]) -> str:
    """Write an array in blocks; return its digest."""
    file = store.Rows(path, shape, np.dtype(dtype))
    for block in blocks:
        file.add(block)
    return file.close()


def _hashed(blocks: Iterable[np.ndarray], digest: Any) -> Iterator[np.ndarray]:
    """Yield blocks after adding them to a digest."""
    for block in blocks:
        digest.update(block.data)
        yield block


def _pixels(
    work: Path, rows: Rows, shape: tuple[int, int, int]
) -> Iterator[UInt8[np.ndarray, "m h w c"]]:
    """Yield the images of a split in blocks."""
    n, each = len(rows.label), max(1, BLOCK_BYTES // int(np.prod(shape)))
    for start in range(0, n, each):
        block = np.empty((min(each, n - start), *shape), np.uint8)
        at = slice(start, start + each)
        _read_rows(work, rows.piece[at], rows.row[at], block)
        yield block


def _read_rows(
    work: Path,
    piece: Int32[np.ndarray, " n"],
    row: Int32[np.ndarray, " n"],
    out: UInt8[np.ndarray, "n h w c"],
) -> None:
    """Read rows of pieces, each file once; of three equal channels keep one if `out` has one."""
    order = np.lexsort((row, piece))
    starts = np.flatnonzero(np.diff(piece[order], prepend=-1))
    for part in np.split(order, starts[1:]):
        x = np.load(pieces.pixels_file(work, int(piece[part[0]])), mmap_mode="r")
        out[part] = x[row[part], ..., : out.shape[-1]]
