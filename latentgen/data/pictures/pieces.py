"""Pieces of a set: runs of converted entries, each in files of its own, so that work is resumed.

A work folder holds job.json, fatal.json (entries whose decoder ended its process), and for each
piece n: entries_n.json, and once it is finished piece_n.npy, the pixels of the entries that are
taken, and piece_n.json, an `Outcome` for each entry. Byte n of the file claims is locked by the
process that makes piece n.
"""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from latentgen.data.pictures import convert
from latentgen.data.pictures.convert import Options, Refused
from latentgen.data.pictures.entries import Entry, Listing, Reader

LEAST, MOST, MOST_BYTES = 32, 512, 2**26
"""Limits of a piece's entries and bytes; a change needs other RULES: pieces are found again."""

JOB, FATAL, CLAIMS = "job.json", "fatal.json", "claims"


class Outcome(NamedTuple):
    """Result of an entry.

    reason: why it is refused; '' if it is taken
    sha256: digest of its pixels, in hex
    grey: digest of one channel of them if all three are equal, else ''
    """

    reason: str
    sha256: str = ""
    grey: str = ""
    width: int = 0
    height: int = 0


class Job(NamedTuple):
    """The source and the options of all pieces.

    where, kind: as in `Listing`
    parent: id of the process that waits for the pieces
    pieces: number of pieces
    """

    where: Path
    kind: str
    options: Options
    parent: int
    pieces: int


def length(entries: int, size: int) -> int:
    """Return the number of entries in a piece: few enough for workers to share them evenly.

    Args:
        entries: number of all entries.
        size: side of an image.
    """
    return min(MOST, max(LEAST, entries // 64), max(1, MOST_BYTES // (3 * size * size)))


def write_job(work: Path, listing: Listing, options: Options) -> int:
    """Write a job and its entries; return the number of pieces."""
    each = length(len(listing.entries), options.size)
    starts = range(0, len(listing.entries), each)
    for number, at in enumerate(starts):
        write_json(_path(work, number, "json", "entries"), listing.entries[at : at + each])
    job = (str(listing.where), listing.kind, options, os.getpid(), len(starts))
    write_json(work / JOB, job)
    return len(starts)


def read_job(work: Path) -> Job:
    """Read what `write_job` wrote, without the entries."""
    where, kind, options, parent, number = read_json(work / JOB)
    return Job(Path(where), kind, Options(*options), parent, number)


def read_entries(work: Path, number: int) -> list[Entry]:
    """Return the entries of a piece."""
    rows = read_json(_path(work, number, "json", "entries"))
    return [Entry(name, size, time, tuple(at), why) for name, size, time, at, why in rows]


@contextlib.contextmanager
def claims(work: Path) -> Iterator[Callable[[int], bool]]:
    """Yield a function that claims a piece, and returns False if another process has claimed it.

    Claims end with the context, or with the process.
    """
    with open(work / CLAIMS, "wb") as file:

        def claimed(number: int) -> bool:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
            except (BlockingIOError, PermissionError):  # POSIX allows both
                return False
            return True

        yield claimed


def is_done(work: Path, number: int) -> bool:
    """Return whether a piece is finished."""
    return os.path.exists(_path(work, number, "json"))


def pixels_file(work: Path, number: int) -> Path:
    """Return the file with the pixels of a piece."""
    return _path(work, number, "npy")


def outcomes(work: Path, number: int) -> list[Outcome]:
    """Return the outcomes of a finished piece."""
    return [Outcome(*row) for row in read_json(_path(work, number, "json"))]


def make(
    work: Path, number: int, reader: Reader, options: Options, before: Callable[[int], None]
) -> None:
    """Convert the entries of a piece and write its files.

    Args:
        before: called with the position of each entry, before it is decoded.
    """
    fatal = read_fatal(work).get(str(number), {})
    pixels, found = [], []
    for position, entry in enumerate(read_entries(work, number)):
        before(position)
        x, outcome = _converted(reader, entry, options, fatal.get(str(position), ""))
        found.append(outcome)
        if x is not None:
            pixels.append(x)
    channels = 1 if options.color == "grey" else 3
    empty = np.empty((0, options.size, options.size, channels), np.uint8)
    temporary = pixels_file(work, number).with_suffix(".tmp")
    with open(temporary, "wb") as file:
        np.save(file, np.stack(pixels) if pixels else empty)
    os.replace(temporary, pixels_file(work, number))
    write_json(_path(work, number, "json"), found)


def _converted(
    reader: Reader, entry: Entry, options: Options, fatal: str
) -> tuple[np.ndarray | None, Outcome]:
    """Convert an entry; return (None, the reason) if it is refused."""
    if fatal:
        return None, Outcome(fatal)
    try:
        x, width, height = convert.convert(reader.read(entry), options)
    except Refused as error:
        return None, Outcome(str(error))
    except MemoryError:
        return None, Outcome("needs too much memory")
    plane = np.ascontiguousarray(x[..., :1])
    grey = _digest(plane) if (x == plane).all() else ""
    return x, Outcome("", _digest(x), grey, width, height)


def read_fatal(work: Path) -> dict[str, dict[str, str]]:
    """Return piece -> position -> reason of the entries that ended their process."""
    path = work / FATAL
    return read_json(path) if path.exists() else {}


def add_fatal(work: Path, number: int, position: int, reason: str) -> None:
    """Refuse an entry from now on."""
    found = read_fatal(work)
    found.setdefault(str(number), {})[str(position)] = reason
    write_json(work / FATAL, found)


def write_json(path: Path, value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write JSON by renaming, so that the file is whole or not there."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(json.dumps(value))
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote."""
    return json.loads(path.read_text())


def _digest(x: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(x).data).hexdigest()


def _path(work: Path, number: int, suffix: str, prefix: str = "piece") -> Path:
    return work / f"{prefix}_{number:06}.{suffix}"
