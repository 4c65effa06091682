"""Prepared sets of pictures: a folder or an archive to arrays of equal-size uint8 images.

The folder of a set holds {split}_x.npy, {split}_label.npy, their digests and card.json. The
examples of a split are sorted by the SHA-256 of their pixels, so that the arrays depend on the
pictures and their labels alone, not on names, places or the order of files. Equal images are
neighbours. An image that is in two given splits is kept in the later one, of train, validation,
test.

Work is done in pieces that are kept, so that a killed preparation continues.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
from jaxtyping import Int, Int32

from latentgen.core.errors import BadInput
from latentgen.data import folders
from latentgen.data.pictures import convert, entries, gather, labels, pieces, workers
from latentgen.data.pictures.convert import Options
from latentgen.data.pictures.entries import Listing, shown

__all__ = ["Factors", "Metadata", "Options", "Prepared", "prepare"]

RULES = 2
"""Version of the rules of `convert` and `entries`; a change prepares sets anew."""

CARD, PREFIX = "card.json", ".work_"
FEW = 200
"""Fewer entries than this are converted in this process."""

STALE = 7 * 24 * 3600
"""Seconds after which the work of a killed preparation is removed."""


class Factors(NamedTuple):
    """Ground-truth factors of pictures.

    sizes: factor -> number of its values
    of: name of a picture -> the index of each factor's value
    """

    sizes: Mapping[str, int]
    of: Mapping[str, Int32[np.ndarray, " k"]]


class Metadata(NamedTuple):
    """Facts about pictures that their files do not hold; None: there are none.

    split_of: name of a picture -> its split; None: by the names of folders
    """

    split_of: Mapping[str, str] | None = None
    factors: Factors | None = None


NO_METADATA = Metadata()


class Prepared(NamedTuple):
    """A prepared set.

    folder: of its arrays
    report: numbers of files that were seen, taken, refused and ignored, with reasons and sizes
    """

    folder: Path
    report: dict[str, Any]


def prepare(
    where: Path,
    options: Options,
    parent: Path,
    *,
    workers: int | None = None,
    say: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    metadata: Metadata = NO_METADATA,
) -> Prepared:
    """Prepare a set of pictures in a folder of `parent`, unless it is there.

    Args:
        where: a folder, a .zip or an uncompressed .tar.
        options: size of an image, crop and colour.
        parent: folder of prepared sets.
        workers: number of processes; 0: this one; None: one for each CPU.
        say: called with lines for the user.
        progress: called with the number of entries that are done, and of all.
        metadata: splits and factors.

    Raises:
        BadInput: an option is not valid, or there is no picture that can be used; with
            options.strict, a picture is refused.
        OSError: a file cannot be written.
    """
    convert.check(options)
    if workers is not None and workers < 0:
        raise BadInput(f"workers={workers} must be at least 0.")
    listing = entries.listed(where)
    given = labels.read(listing)
    key = _key(listing, options, metadata)
    folder = parent / key
    if not _is_complete(folder):
        parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(parent)
        with _work_folder(parent / f"{PREFIX}{key}") as work:
            if not _is_complete(folder):  # another process may have prepared it meanwhile
                (say or _silent)(f"{shown(str(where))}: {len(listing.entries)} pictures")
                _convert(work, listing, options, workers, progress)
                try:
                    _finish(work, listing, given, options, metadata, folder)
                except BadInput:  # the same again would be refused again
                    shutil.rmtree(work, ignore_errors=True)
                    raise
            shutil.rmtree(work, ignore_errors=True)
    return Prepared(folder, pieces.read_json(folder / CARD)["report"])


def _silent(line: str) -> None:
    pass


def _key(listing: Listing, options: Options, metadata: Metadata) -> str:
    """Return 16 hex digits of the SHA-256 of the listing, the options, metadata and the rules."""
    digest = hashlib.sha256(json.dumps([str(listing.where), options, RULES]).encode())
    if metadata.split_of is not None:
        digest.update(json.dumps(sorted(metadata.split_of.items())).encode())
    if metadata.factors is not None:
        digest.update(json.dumps(dict(metadata.factors.sizes)).encode())
        for name, values in sorted(metadata.factors.of.items(), key=lambda item: item[0]):
            digest.update(name.encode() + b"\0" + values.tobytes())
    for each in [*listing.entries, *listing.labels.values()]:
        digest.update(json.dumps([each.name, each.size, each.mtime_ns, each.refused]).encode())
    return digest.hexdigest()[:16]


def _is_complete(folder: Path) -> bool:
    return (folder / folders.DIGESTS).exists()


@contextlib.contextmanager
def _work_folder(work: Path) -> Iterator[Path]:
    """Create and lock the work folder; wait for another process that has it."""
    with contextlib.ExitStack() as stack:
        while True:
            work.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # the other process has removed it
                before = work.stat()
                stack.enter_context(folders._locked(work, wait=True))
                if os.path.samestat(before, work.stat()):
                    break
        yield work


def _remove_stale(parent: Path) -> None:
    """Remove the work of preparations that were killed long ago."""
    for leftover in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > STALE:
                with folders._locked(leftover, wait=False) as unlocked:
                    if unlocked:
                        shutil.rmtree(leftover, ignore_errors=True)


def _convert(
    work: Path,
    listing: Listing,
    options: Options,
    number: int | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Make the pieces that are missing."""
    count, total = pieces.write_job(work, listing, options), len(listing.entries)
    missing = [n for n in range(count) if not pieces.is_done(work, n)]
    each = pieces.length(total, options.size)

    def done(finished: int) -> None:
        if progress is not None:
            progress(min(total, (count - len(missing) + finished) * each), total)

    number = min(_cpus() if number is None else number, len(missing))
    if number == 0 or total < FEW:
        workers.here(work, missing, done)
    else:
        workers.elsewhere(work, missing, number, done)


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _finish(
    work: Path,
    listing: Listing,
    given: labels.FileLabels,
    options: Options,
    metadata: Metadata,
    folder: Path,
) -> None:
    """Write the final folder from the pieces, and rename it at the end."""
    names = [entry.name for entry in listing.entries]
    taken, reasons = gather.collect(work, pieces.read_job(work).pieces)
    if given.labels is not None:
        known = np.array([names[i] in given.labels for i in taken.entry], np.bool_)
        reasons |= {int(i): f"not in {given.file}" for i in taken.entry[~known]}
        taken = taken.only(known)
    refused = {names[i]: reasons[i] for i in sorted(reasons)}
    _check(listing.where, options, refused, len(taken.entry))
    grey = options.color == "grey" or (options.color == "as_is" and bool(taken.is_grey.all()))
    if grey:
        taken = taken._replace(digest=taken.grey)
    taken_names = [names[i] for i in taken.entry]
    split, depth = labels.splits(taken_names, metadata.split_of)
    label, classes = labels.numbered(taken_names, given, depth)
    kept = gather.in_last_split(taken.digest, split)
    taken, split, label = taken.only(kept), split[kept], label[kept]
    sizes, of = metadata.factors or ({}, None)
    factors = None if of is None else np.stack([of[names[i]] for i in taken.entry])
    splits = gather.arranged(taken, split, label, factors)
    if "train" not in splits:
        raise BadInput(
            f"{shown(str(listing.where))}: train has no picture that can be used and is in no "
            "later split."
        )
    counts = np.bincount(label, minlength=len(classes))
    report = {
        "seen": len(names),
        "taken": len(label),
        "refused": refused,
        "ignored": listing.ignored,
        "duplicates": gather.duplicates(taken.digest),
        "in_two_splits": int((~kept).sum()),
        "width": _spread(taken.size[:, 0]),
        "height": _spread(taken.size[:, 1]),
        "classes": {name: int(n) for name, n in zip(classes, counts, strict=False) if n},
        "splits": {name: len(rows.label) for name, rows in splits.items()},
    }
    shape = (options.size, options.size, 1 if grey else 3)
    card = {"shape": shape, "classes": classes, "factors": dict(sizes)}
    _write(work, splits, card | {"options": options._asdict(), "report": report}, folder)


def _write(work: Path, splits: dict[str, gather.Rows], card: dict[str, Any], folder: Path) -> None:
    """Write arrays, digests and card into a folder of the work, and rename it."""
    out = work / "final"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    digests, whole = gather.write(work, out, splits, card["shape"])
    made = {"rules": RULES, "pillow": PIL.__version__, "sha256": whole[:16]}
    pieces.write_json(out / CARD, card | made)
    folders.write_digests(out, digests)
    if folder.exists():  # without digests: it is not complete
        shutil.rmtree(folder)
    os.replace(out, folder)


def _check(where: Path, options: Options, refused: dict[str, str], taken: int) -> None:
    """Raise BadInput if no picture is left, or with strict, if one is refused."""
    if taken and not (options.strict and refused):
        return
    name, reason = next(iter(refused.items()))
    more = f", and {len(refused) - 1} more are refused" if len(refused) > 1 else ""
    head = "no picture can be used; " if not taken else ""
    raise BadInput(f"{shown(str(where))}: {head}{shown(name)!r}: {reason}{more}.")


def _spread(values: Int[np.ndarray, " n"]) -> list[int]:
    """Return minimum, median and maximum."""
    return [int(values.min()), int(np.median(values)), int(values.max())]
