"""Folders that appear whole or not at all, and what their arrays must be."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

PREFIX = ".latentgen_"
DIGESTS = "latentgen_sha256.json"


@contextlib.contextmanager
def scratch(parent: Path) -> Iterator[Path]:
    """A folder in `parent` that goes at the end; what killed processes left there goes first.

    A process holds its own with a lock, which the kernel lets go when the process dies.
    """
    with contextlib.ExitStack() as held:
        with _locked(parent, wait=True):  # nobody sweeps a folder that is not yet locked
            _sweep(parent)
            place = held.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent))
            held.enter_context(_locked(Path(place), wait=True))
        yield Path(place)


@contextlib.contextmanager
def _locked(folder: Path, wait: bool) -> Iterator[bool]:
    """Lock the folder within the context; yield whether that worked (not all file systems can)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _sweep(parent: Path) -> None:
    for left in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            with _locked(left, wait=False) as dead:
                if dead:
                    shutil.rmtree(left, ignore_errors=True)


def digest(array: np.ndarray) -> str:
    """The sha256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def digest_files(paths: list[Path]) -> str:
    """The sha256 of the files' contents, one after the other."""
    found = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def write_digests(folder: Path, digests: Mapping[str, str]) -> None:
    """Sign a folder with the digests of what it holds."""
    (folder / DIGESTS).write_text(json.dumps(dict(digests), indent=2) + "\n")


def read_digests(folder: Path) -> dict[str, str] | None:
    """Return the digests that `write_digests` wrote; None if the folder has none.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        found = json.loads((folder / DIGESTS).read_text())
    except FileNotFoundError:
        return None
    if not isinstance(found, dict):
        raise ValueError(f"{DIGESTS} is damaged")
    return found
