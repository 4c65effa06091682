"""Folders that are created atomically, and digests of the arrays in them."""

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
    """Create a temporary folder in `parent`; first remove those of killed processes.

    A process locks its folder; the kernel releases the lock when the process ends.
    """
    with contextlib.ExitStack() as stack:
        # The lock keeps others from removing the new folder before it is locked.
        with _locked(parent, wait=True):
            _remove_leftovers(parent)
            path = stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent))
            stack.enter_context(_locked(Path(path), wait=True))
        yield Path(path)


@contextlib.contextmanager
def _locked(folder: Path, wait: bool) -> Iterator[bool]:
    """Lock the folder within the context; yield whether that worked, which needs file locks."""
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


def _remove_leftovers(parent: Path) -> None:
    for leftover in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            with _locked(leftover, wait=False) as unlocked:
                if unlocked:
                    shutil.rmtree(leftover, ignore_errors=True)


def digest(array: np.ndarray) -> str:
    """Return the SHA-256 of an array's bytes."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def write_digests(folder: Path, digests: Mapping[str, str]) -> None:
    """Write the digests of a folder's arrays into the folder."""
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
