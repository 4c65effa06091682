"""Checkpoints: (step, state) on disk, where checkpoint N means N updates done.

Orbax writes the arrays and makes a step appear atomically. It gets the state as a flat dict from
key path to leaf, so the stored format does not depend on NamedTuple classes or on how Orbax treats
empty nodes. The tree structure comes from the caller's `like`.

Orbax casts a wrong dtype silently, does not detect flipped bits, and does not flush its last
writes. Each saved step therefore gets a manifest with a digest of every file. `restore` checks the
files, shapes and dtypes before it calls Orbax, and a digest of every leaf afterwards.
"""

import contextlib
import functools
import hashlib
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from latentgen.core.errors import BadInput
from latentgen.core.types import PyTree
from latentgen.storage import leaks, workdir
from latentgen.system.distributed import is_multi_process

MANIFEST = Path("record", "manifest.json")
# Patterns in tensorstore's error messages.
OS_ERROR = re.compile(r"os_error_code=\W*(\d+)|OS error (\d+)")
LOCAL_FILE = re.compile(r'local file "([^"]+)"')

ATTEMPTS = 5  # retries of a reader whose checkpoint a concurrent writer has deleted


class Damaged(RuntimeError):
    """Raised for a checkpoint whose content differs from what was saved."""


def by_path(tree: PyTree) -> dict[str, Any]:
    """Return the leaves of a tree by key path: {'params.encoder.bias': ...}."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    flat = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    if len(flat) != len(leaves):
        raise ValueError("two leaves share a key path; a key may not contain a dot")
    return flat


def describe(state: PyTree) -> dict[str, dict[str, Any]]:
    """Return each leaf's dtype, shape and SHA-256 by key path."""

    def leaf(x: Any) -> dict[str, Any]:
        x = np.asarray(x)
        sha = hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()
        return {"dtype": str(x.dtype), "shape": list(x.shape), "sha256": sha}

    return {path: leaf(x) for path, x in by_path(state).items()}


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _digest(file: Path) -> str:
    with workdir.opened(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _write_manifest(folder: Path) -> None:
    """Write the manifest of a checkpoint: the digest of every file in it.

    Files are not flushed to disk one by one, which would be slow. After a power failure the
    manifest reveals incomplete files, and the previous checkpoint is used.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    workdir.write_json(
        folder / MANIFEST, {str(file.relative_to(folder)): _digest(file) for file in files}
    )
    workdir.sync_folder(folder.parent)


def _check_files(step: int, folder: Path) -> None:
    """Compare a checkpoint's files with its manifest.

    A killed writer may leave a checkpoint without a manifest, which is accepted.

    Raises:
        Damaged: a file differs from the manifest; the message names the first one.
    """
    for path in folder.rglob("*"):
        if not (path.is_file() or path.is_dir()) or path.is_symlink():  # Orbax would wait or follow
            name = path.relative_to(folder)
            raise Damaged(f"checkpoint {step} is damaged: {name} is neither a file nor a folder")
    if not (folder / MANIFEST).exists():
        return
    try:
        digests = dict(workdir.read_json(folder / MANIFEST))
    except (ValueError, TypeError):
        raise Damaged(f"checkpoint {step} is damaged: {MANIFEST} is not readable") from None
    for name, digest in digests.items():
        try:
            found = _digest(folder / name) if workdir.leads_into(folder / name, folder) else None
        except FileNotFoundError:
            raise Damaged(f"checkpoint {step} is damaged: {name} is missing") from None
        if found != digest:
            raise Damaged(f"checkpoint {step} is damaged: {name} is not what was saved")


class Checkpoints:
    """The newest `keep` checkpoints of a run, or all for None, as a context manager.

    A writer must hold the workdir's lock, because opening deletes incomplete checkpoints. With
    `read_only` nothing is written or deleted, so that a run may write at the same time.
    """

    def __init__(self, path: str | os.PathLike[str], keep: int | None = 3, read_only: bool = False):
        logging.getLogger("absl").addFilter(_filter_orbax)
        logging.getLogger("asyncio").addFilter(_filter_asyncio)
        import orbax.checkpoint as ocp

        leaks.stop()
        _ignore_closed_event_loop()
        self._path = Path(path).absolute()
        if self._path.is_symlink() and not workdir.leads_into(self._path, self._path.parent):
            raise BadInput(f"{str(self._path)!r} is a link out of the run's folder; remove it.")
        self._read_only = read_only
        self._args = ocp.args
        with _raise_os_error(self._path):
            if not read_only:
                self._path.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                self._path,
                item_names=("state", "record"),
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=None if read_only else keep,
                    create=False,
                    read_only=read_only,
                    cleanup_tmp_directories=not read_only,
                    enable_async_checkpointing=False,
                    **_single_process_options(ocp),
                ),
            )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Closing raises the error that ended the run a second time.
        with contextlib.suppress(Exception) if error else _raise_os_error(self._path):
            self.close()

    def close(self) -> None:
        """Release Orbax's threads."""
        self._manager.close()

    def steps(self) -> list[int]:
        """List the complete checkpoints on disk, oldest first.

        The folder is read directly: Orbax's own listing is cached, or fails when a step is deleted
        while it reads. Orbax renames a step's folder once the step is complete.
        """
        if not self._path.is_dir():
            return []
        names = (entry for entry in os.listdir(self._path) if entry.isdecimal())
        return sorted(int(name) for name in names if name == str(int(name)))  # not 007

    def latest(self) -> int | None:
        """Return the newest complete checkpoint, or None."""
        return max(self.steps(), default=None)

    def forget_after(self, step: int) -> None:
        """Delete the checkpoints after `step`; a run resumed from `step` saves them again."""
        self.keep_only(saved for saved in self.steps() if saved <= step)

    def keep_only(self, steps: Iterable[int]) -> None:
        """Delete all other checkpoints."""
        for step in sorted(set(self.steps()).difference(steps)):
            with _raise_os_error(self._path / str(step)):
                self._manager.delete(step)

    def save(self, step: int, state: PyTree, meta: dict[str, Any]) -> None:
        """Write checkpoint `step`, and return once it is complete.

        Args:
            step: number of updates.
            state: a tree of arrays.
            meta: JSON data to store with the state.

        Raises:
            OSError: the checkpoint cannot be written; the error names a path.
        """
        leaves = describe(state)
        record = json.loads(json.dumps({"step": step, "meta": meta, "leaves": leaves}))
        if self._read_only:  # Orbax would report success
            raise RuntimeError(f"{str(self._path)!r} was opened for reading only")
        # With several processes, Orbax would let each save its own shard of a jax.Array.
        as_array = np.asarray if is_multi_process() else jnp.asarray
        with _raise_os_error(self._path / str(step)):
            self._manager.save(
                step,
                args=self._args.Composite(
                    state=self._args.StandardSave(
                        # Orbax refuses empty arrays; their shape is in the record.
                        {path: as_array(x) for path, x in by_path(state).items() if np.size(x)}
                    ),
                    record=self._args.JsonSave(record | {"sha256": _sha256(record)}),
                ),
                force=True,  # otherwise Orbax silently skips a step before the newest
            )
            _write_manifest(self._path / str(step))

    def restore(self, step: int | None, like: PyTree) -> tuple[int, PyTree, dict[str, Any]]:
        """Restore checkpoint `step`, or the newest, bitwise as it was saved.

        Args:
            step: which checkpoint; None for the newest.
            like: the state's tree with a jax.ShapeDtypeStruct at each leaf (jax.eval_shape).

        Returns:
            (step, state, meta)

        Raises:
            BadInput: there is no such checkpoint, or its tree, shapes or dtypes differ from `like`.
            Damaged: the checkpoint cannot be read, or a leaf differs from what was saved.
        """
        for attempt in range(ATTEMPTS):
            steps = self.steps()
            if not steps or (step is not None and step not in steps):
                there = f"there are {steps}" if steps else "there is none"
                name = "checkpoint" if step is None else f"checkpoint {step}"
                raise BadInput(f"{str(self._path)!r} has no {name}: {there}.")
            tried = steps[-1] if step is None else step
            try:
                return tried, *self._read(tried, like)
            except BadInput:
                raise
            except Exception as error:
                # A concurrent writer may have deleted it. Orbax raises errors of many types.
                now = self.steps()
                retired = tried not in now or (step is None and tried != now[-1])
                if retired and attempt + 1 < ATTEMPTS:
                    continue
                if isinstance(error, Damaged):
                    message = str(error)
                else:
                    reason = str(error).partition("<")[0].splitlines() or [type(error).__name__]
                    message = f"checkpoint {tried} cannot be read: {reason[0][:200]}"
                raise Damaged(message) from error
        raise AssertionError("unreachable")

    def newest(
        self, like: PyTree, say: Callable[[str], None]
    ) -> tuple[int, PyTree, dict[str, Any]] | None:
        """Restore the newest undamaged checkpoint; return None if there are no checkpoints.

        Once it is restored, damaged checkpoints after it are reported and, unless `read_only`,
        renamed to N.damaged.

        Args:
            like: see `restore`.
            say: prints a line.

        Raises:
            BadInput: its tree, shapes or dtypes differ from `like`.
            Damaged: all checkpoints are damaged.
        """
        bad: dict[int, Damaged] = {}
        for _ in range(ATTEMPTS):
            steps = [step for step in self.steps() if step not in bad]
            while steps:
                step = steps.pop()
                try:
                    found = self.restore(step, like)
                except Damaged as error:
                    bad[step] = error
                    continue
                except BadInput:
                    if step in self.steps():
                        raise
                    break  # deleted by a concurrent writer: list the steps again
                for damaged, why in bad.items():
                    say(f"{why}{self._set_aside(damaged)}; continuing from checkpoint {step}")
                return found
            else:
                break
        if bad:
            message = "; ".join(map(str, bad.values()))
            raise Damaged(f"none of the checkpoints in {str(self._path)!r} can be used: {message}")
        return None

    def _set_aside(self, step: int) -> str:
        if self._read_only:
            return ""
        folder = self._path / f"{step}.damaged"
        shutil.rmtree(folder, ignore_errors=True)
        (self._path / str(step)).rename(folder)
        self._manager.reload()
        return f", and is now {folder.name}"

    def shapes(self, step: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Return the shape and dtype of each leaf by key path, as a `like` for `restore`.

        Raises:
            BadInput: there is no such checkpoint.
            Damaged: its record differs from what was saved.
        """
        if step not in (steps := self.steps()):
            raise BadInput(f"{str(self._path)!r} has no checkpoint {step}: there are {steps}.")
        leaves = self._record(step)["leaves"]
        return {
            path: jax.ShapeDtypeStruct(tuple(leaf["shape"]), jnp.dtype(leaf["dtype"]))
            for path, leaf in leaves.items()
        }

    def _record(self, step: int) -> dict[str, Any]:
        _check_files(step, self._path / str(step))
        record = self._manager.restore(
            step, args=self._args.Composite(record=self._args.JsonRestore())
        ).record
        signed = record.pop("sha256", None)
        if signed != _sha256(record):
            raise Damaged(f"checkpoint {step} is damaged: its record is not what was saved")
        if (other := record.get("step", step)) != step:
            raise Damaged(f"checkpoint {step} is damaged: it holds what was saved after {other}")
        return record

    def _read(self, step: int, like: PyTree) -> tuple[PyTree, dict[str, Any]]:
        record, targets = self._record(step), by_path(like)
        _compare(step, record["leaves"], targets)
        given = {path: _target(x) for path, x in targets.items() if np.size(x)}
        flat = self._manager.restore(
            step, args=self._args.Composite(state=self._args.StandardRestore(given))
        ).state
        flat |= {path: jnp.zeros(x.shape, x.dtype) for path, x in targets.items() if not np.size(x)}
        found = describe(flat)
        for path, leaf in record["leaves"].items():
            if found[path] != leaf:
                raise Damaged(f"checkpoint {step} is damaged: {path} is not what was saved")
        # Committed to no device, as a new state is: both then run by the same compiled program.
        arrays = (flat[path] for path in targets)
        leaves = [x if isinstance(x, jax.Array) else jnp.array(x) for x in arrays]
        return jax.tree.unflatten(jax.tree.structure(like), leaves), record["meta"]


def _target(x: Any) -> Any:
    """Return what makes Orbax restore an array with its sharding, or in NumPy if it has none."""
    if (sharding := getattr(x, "sharding", None)) is None:
        return np.empty(x.shape, x.dtype)
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


@contextlib.contextmanager
def _raise_os_error(path: Path) -> Iterator[None]:
    """Convert errors of failed writes, which Orbax raises in many types, to OSError.

    The error names the file if the original error does, else `path`.
    """
    try:
        yield
    except Exception as error:
        found = _os_error(error)
        if found is None:
            raise
        number, name = found
        raise OSError(number, os.strerror(number), name or str(path)) from error


def _os_error(error: BaseException) -> tuple[int, str | None] | None:
    """Return (errno, file) of the system error that caused this error, or None."""
    pending: list[BaseException | None] = [error]
    visited: list[BaseException] = []
    while pending:
        now = pending.pop(0)
        if now is None or any(now is other for other in visited):
            continue
        visited.append(now)
        if isinstance(now, OSError) and now.errno is not None:
            return now.errno, now.filename
        if match := OS_ERROR.search(str(now)):
            file = LOCAL_FILE.search(str(now))
            return int(match[1] or match[2]), file and file[1]
        pending += [now.__cause__, now.__context__, *getattr(now, "exceptions", ())]
    return None


def _single_process_options(ocp: Any) -> dict[str, Any]:
    """Return options with which Orbax does not wait for the other processes."""
    if not is_multi_process():
        return {}
    me = jax.process_index()
    return {
        "multiprocessing_options": ocp.options.MultiprocessingOptions(
            primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
        )
    }


def _compare(step: int, stored: dict[str, dict[str, Any]], targets: dict[str, Any]) -> None:
    """Raise BadInput for the first leaf whose presence, dtype or shape differs."""

    def array_type(dtype: Any, shape: Any) -> str:
        return f"{dtype}{tuple(shape)}"

    old = {path: array_type(leaf["dtype"], leaf["shape"]) for path, leaf in stored.items()}
    new = {path: array_type(np.dtype(x.dtype), x.shape) for path, x in targets.items()}
    for path in [*new, *old]:
        if old.get(path) != new.get(path):
            raise BadInput(
                f"checkpoint {step} does not fit: {path} is {old.get(path, 'missing')} in it "
                f"and {new.get(path, 'missing')} in this run."
            )


def _filter_orbax(record: logging.LogRecord) -> bool:
    """Drop Orbax's log messages, except errors that are not raised as well."""
    if "orbax" not in record.pathname:
        return True
    return record.levelno >= logging.ERROR and not record.exc_info


def _filter_asyncio(record: logging.LogRecord) -> bool:
    """Drop asyncio's messages on the other writes of a save whose failure was reported."""
    error = record.exc_info[1] if record.exc_info else None
    late = "exception was never retrieved" in record.getMessage()
    return not (late and error is not None and _os_error(error))


@functools.cache
def _ignore_closed_event_loop() -> None:
    """Ignore errors of writes that end after Orbax has closed the event loop of a failed save."""
    original_hook = sys.unraisablehook

    def hook(found: Any) -> None:
        error = found.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            original_hook(found)

    sys.unraisablehook = hook
