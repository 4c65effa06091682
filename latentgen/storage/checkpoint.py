"""Checkpoints: (step, state) on disk, where checkpoint N means N updates done.

Orbax writes the arrays and makes a step appear whole or not at all. It is given the state as a
flat dict from key path to leaf, so that what is stored depends neither on how it treats
NamedTuples and empty nodes nor on their classes; the tree comes back from the caller's `like`.
It casts a wrong dtype in silence, does not notice a flipped bit, and leaves its last writes to the
page cache. So a saved step gets a manifest, a digest of every file; a restore compares the files,
shapes and dtypes before it asks Orbax, and a digest of every leaf after it.
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
from collections.abc import Callable, Iterator
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
# tensorstore's words
OS_ERROR = re.compile(r"os_error_code=\W*(\d+)|OS error (\d+)")
LOCAL_FILE = re.compile(r'local file "([^"]+)"')

ATTEMPTS = 5  # a reader beside a busy writer: how often the newest may vanish under its hands


class Damaged(RuntimeError):
    """A checkpoint is there but is not what was saved."""


def by_path(tree: PyTree) -> dict[str, Any]:
    """The leaves of a tree by key path: {'params.encoder.bias': ...}."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    flat = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}
    if len(flat) != len(leaves):
        raise ValueError("two leaves share a key path; a key may not contain a dot")
    return flat


def describe(state: PyTree) -> dict[str, dict[str, Any]]:
    """Each leaf's dtype, shape and SHA-256 of its bytes, by key path."""

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


def _seal(place: Path) -> None:
    """Write a manifest beside a checkpoint: the digest of every file in it.

    What Orbax did not bring to the disk stays so, as each file would cost a flush of the disk:
    after a power failure the manifest tells, and the checkpoint before is used.
    """
    files = sorted(p for p in place.rglob("*") if p.is_file())
    workdir.write_json(
        place / MANIFEST, {str(file.relative_to(place)): _digest(file) for file in files}
    )
    workdir.sync_folder(place.parent)


def _inspect(step: int, place: Path) -> None:
    """Compare a checkpoint's files with its manifest, if it has one: a writer that is killed
    before may leave none.

    Raises:
        Damaged: names the first file that is not what was saved.
    """
    for path in place.rglob("*"):
        if not (path.is_file() or path.is_dir()) or path.is_symlink():  # Orbax would wait or follow
            name = path.relative_to(place)
            raise Damaged(f"checkpoint {step} is damaged: {name} is neither a file nor a folder")
    if not (place / MANIFEST).exists():
        return
    try:
        digests = dict(workdir.read_json(place / MANIFEST))
    except (ValueError, TypeError):
        raise Damaged(f"checkpoint {step} is damaged: {MANIFEST} is not readable") from None
    for name, digest in digests.items():
        try:
            found = _digest(place / name) if workdir.leads_into(place / name, place) else None
        except FileNotFoundError:
            raise Damaged(f"checkpoint {step} is damaged: {name} is missing") from None
        if found != digest:
            raise Damaged(f"checkpoint {step} is damaged: {name} is not what was saved")


class Checkpoints:
    """The checkpoints of a run, newest `keep` of them; use as a context manager.

    A writer must hold the workdir's lock: on opening it deletes what a killed writer left half
    written. With `read_only` nothing is ever written or deleted, also beside a running writer.
    """

    def __init__(self, path: str | os.PathLike[str], keep: int = 3, read_only: bool = False):
        logging.getLogger("absl").addFilter(_quiet)
        logging.getLogger("asyncio").addFilter(_unsaid)
        import orbax.checkpoint as ocp

        leaks.stop()
        _hush()
        self._path = Path(path).absolute()
        self._read_only = read_only
        self._args = ocp.args
        with _written(self._path):
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
                    **_alone(ocp),
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
        # Orbax says once more what has ended the run, in other words.
        with contextlib.suppress(Exception) if error else _written(self._path):
            self.close()

    def close(self) -> None:
        """Let go of Orbax's threads."""
        self._manager.close()

    def steps(self) -> list[int]:
        """The complete checkpoints on disk now, oldest first: Orbax renames a step when done.

        Orbax's own listing remembers, or stumbles over steps that vanish while it looks.
        """
        if not self._path.is_dir():
            return []
        names = (entry for entry in os.listdir(self._path) if entry.isdecimal())
        return sorted(int(name) for name in names if name == str(int(name)))  # 007 is not ours

    def latest(self) -> int | None:
        """The newest complete checkpoint, None where there is none."""
        return max(self.steps(), default=None)

    def forget_after(self, step: int) -> None:
        """Delete the checkpoints of later steps, which a run that goes on from here saves anew."""
        for later in self.steps():
            if later > step:
                with _written(self._path / str(later)):
                    self._manager.delete(later)

    def save(self, step: int, state: PyTree, meta: dict[str, Any]) -> None:
        """Write checkpoint `step`; when it returns, the checkpoint is complete.

        Args:
            step: updates done.
            state: a tree of arrays.
            meta: what else belongs to it, as JSON.

        Raises:
            OSError: it cannot be written; names a path.
        """
        leaves = describe(state)
        record = json.loads(json.dumps({"step": step, "meta": meta, "leaves": leaves}))
        if self._read_only:  # Orbax would say that it had saved
            raise RuntimeError(f"{str(self._path)!r} was opened for reading only")
        # Of several processes Orbax expects that each saves its part of a device's array.
        as_array = np.asarray if is_multi_process() else jnp.asarray
        with _written(self._path / str(step)):
            self._manager.save(
                step,
                args=self._args.Composite(
                    state=self._args.StandardSave(
                        # Orbax refuses arrays without elements, of which the shape is all there is.
                        {path: as_array(x) for path, x in by_path(state).items() if np.size(x)}
                    ),
                    record=self._args.JsonSave(record | {"sha256": _sha256(record)}),
                ),
                force=True,  # without it Orbax skips a step below the newest in silence
            )
            _seal(self._path / str(step))

    def restore(self, step: int | None, like: PyTree) -> tuple[int, PyTree, dict[str, Any]]:
        """Read checkpoint `step`, or the newest, bitwise as it was saved.

        Args:
            step: which; None for the newest.
            like: the state's tree with a jax.ShapeDtypeStruct at each leaf (jax.eval_shape).

        Returns:
            step, state, meta

        Raises:
            BadInput: there is no such checkpoint, or it holds another tree, shape or dtype.
            Damaged: it cannot be read, or a leaf's bytes are not those that were saved.
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
                # A writer may have retired it since we looked. Orbax's errors have many types.
                now = self.steps()
                retired = tried not in now or (step is None and tried != now[-1])
                if retired and attempt + 1 < ATTEMPTS:
                    continue
                if isinstance(error, Damaged):
                    said = str(error)
                else:
                    reason = str(error).partition("<")[0].splitlines() or [type(error).__name__]
                    said = f"checkpoint {tried} cannot be read: {reason[0][:200]}"
                raise Damaged(said) from error
        raise AssertionError("unreachable")

    def newest(
        self, like: PyTree, say: Callable[[str], None]
    ) -> tuple[int, PyTree, dict[str, Any]] | None:
        """The newest checkpoint that is what was saved; None where none was ever saved.

        Newer ones, which are damaged, are told of and, unless this is for reading only, renamed
        to N.damaged: the run goes on from the one that is found. Nothing is renamed before.

        Args:
            like: see `restore`.
            say: prints a line.

        Raises:
            BadInput: it holds another tree, shape or dtype.
            Damaged: there are checkpoints, and none is what was saved.
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
                    break  # retired by a writer since we looked: look again
                for damaged, why in bad.items():
                    say(f"{why}{self._aside(damaged)}; continuing from checkpoint {step}")
                return found
            else:
                break
        if bad:
            said = "; ".join(map(str, bad.values()))
            raise Damaged(f"none of the checkpoints in {str(self._path)!r} can be used: {said}")
        return None

    def _aside(self, step: int) -> str:
        if self._read_only:
            return ""
        place = self._path / f"{step}.damaged"
        shutil.rmtree(place, ignore_errors=True)
        (self._path / str(step)).rename(place)
        self._manager.reload()
        return f", and is now {place.name}"

    def shapes(self, step: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Shape and dtype of each leaf by key path: what `restore` wants of a run not known here.

        Raises:
            BadInput: there is no such checkpoint.
            Damaged: its record is not what was saved.
        """
        if step not in (steps := self.steps()):
            raise BadInput(f"{str(self._path)!r} has no checkpoint {step}: there are {steps}.")
        leaves = self._record(step)["leaves"]
        return {
            path: jax.ShapeDtypeStruct(tuple(leaf["shape"]), jnp.dtype(leaf["dtype"]))
            for path, leaf in leaves.items()
        }

    def _record(self, step: int) -> dict[str, Any]:
        _inspect(step, self._path / str(step))
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
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        flat = self._manager.restore(
            step,
            args=self._args.Composite(
                state=self._args.StandardRestore(
                    {
                        path: jax.ShapeDtypeStruct(
                            x.shape, x.dtype, sharding=getattr(x, "sharding", None) or here
                        )
                        for path, x in targets.items()
                        if np.size(x)
                    }
                )
            ),
        ).state
        flat |= {path: jnp.zeros(x.shape, x.dtype) for path, x in targets.items() if not np.size(x)}
        found = describe(flat)
        for path, leaf in record["leaves"].items():
            if found[path] != leaf:
                raise Damaged(f"checkpoint {step} is damaged: {path} is not what was saved")
        leaves = [flat[path] for path in targets]
        return jax.tree.unflatten(jax.tree.structure(like), leaves), record["meta"]


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """Inside, what Orbax and tensorstore say of a failed write, in many types, is an OSError.

    It names the file where one is told, else `path`.
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
    """(errno, file) of what the system refused somewhere below this error."""
    ahead: list[BaseException | None] = [error]
    seen: list[BaseException] = []
    while ahead:
        now = ahead.pop(0)
        if now is None or any(now is other for other in seen):
            continue
        seen.append(now)
        if isinstance(now, OSError) and now.errno is not None:
            return now.errno, now.filename
        if match := OS_ERROR.search(str(now)):
            file = LOCAL_FILE.search(str(now))
            return int(match[1] or match[2]), file and file[1]
        ahead += [now.__cause__, now.__context__, *getattr(now, "exceptions", ())]
    return None


def _alone(ocp: Any) -> dict[str, Any]:
    """One of several processes reads and writes by itself: Orbax is to wait for no other."""
    if not is_multi_process():
        return {}
    me = jax.process_index()
    return {
        "multiprocessing_options": ocp.options.MultiprocessingOptions(
            primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"process{me}"
        )
    }


def _compare(step: int, stored: dict[str, dict[str, Any]], targets: dict[str, Any]) -> None:
    """Raise BadInput naming the first leaf whose presence, dtype or shape differs."""

    def word(dtype: Any, shape: Any) -> str:
        return f"{dtype}{tuple(shape)}"

    old = {path: word(leaf["dtype"], leaf["shape"]) for path, leaf in stored.items()}
    new = {path: word(np.dtype(x.dtype), x.shape) for path, x in targets.items()}
    for path in [*new, *old]:
        if old.get(path) != new.get(path):
            raise BadInput(
                f"checkpoint {step} does not fit: {path} is {old.get(path, 'missing')} in it "
                f"and {new.get(path, 'missing')} in this run."
            )


def _quiet(record: logging.LogRecord) -> bool:
    """Keep Orbax's chatter off the user's terminal, and errors that are raised as well."""
    if "orbax" not in record.pathname:
        return True
    return record.levelno >= logging.ERROR and not record.exc_info


def _unsaid(record: logging.LogRecord) -> bool:
    """Drop what asyncio says of the other writes of a save that has failed and been told of."""
    error = record.exc_info[1] if record.exc_info else None
    late = "exception was never retrieved" in record.getMessage()
    return not (late and error is not None and _os_error(error))


@functools.cache
def _hush() -> None:
    """Drop what C++ says of writes that end after another one has failed, and Orbax has left."""
    tell = sys.unraisablehook

    def hook(found: Any) -> None:
        error = found.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed"):
            tell(found)

    sys.unraisablehook = hook
