"""A run's folder: one writer at a time, atomic writes, one config for its lifetime."""

import contextlib
import errno
import fcntl
import io
import json
import math
import os
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from latentgen.core.errors import BadInput, is_transient
from latentgen.storage import aliases

CONFIG = "config.json"
DATA = "data.json"
HISTORY = "history"  # in config.json: the changes of its keys, by step
ORIGIN = "init_from"  # in data.json: the initial weights
DESCRIBED = "example"  # in data.json: shape and dtype of an example, folders of the data
CHECKPOINTS = "checkpoints"
BEST = "best"  # the checkpoint that was best by the measure that the run took
DEEPEST = 64  # maximum nesting depth of a JSON file
DIGITS = 300  # maximum digits of an integer in a JSON file: more than a float can have
LARGEST = 2**28  # maximum bytes of a JSON file
LARGEST_LOCK = 10_000  # maximum bytes of a lock file
AGAIN, PATIENCE = 0.1, 2.0  # seconds between attempts to lock a folder, and in all


@contextlib.contextmanager
def naming(path: str | os.PathLike[str], alias: Path | None = None) -> Iterator[None]:
    """Name the file in an OSError that names none, as those of write and fsync.

    Args:
        alias: a temporary file whose name is replaced as well.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(alias)):
            error.filename = str(path)
        raise


def check(path: str | os.PathLike[str], key: str = "workdir") -> Path:
    """Check that `path` is a writable folder or can be created as one; return it.

    Args:
        key: the folder's name in error messages.

    Raises:
        BadInput: `path` is a file or lies in one, or its nearest existing parent is not writable.
        OSError: the disk is full or fails.
    """
    path = Path(path)
    try:
        parent = path.absolute()
        while not os.path.lexists(parent):
            parent = parent.parent
        if not parent.is_dir():
            what = "is" if parent == path.absolute() else f"lies in {str(parent)!r},"
            raise BadInput(f"{key}={str(path)!r} {what} a file; it must be a folder.")
        # For root, os.access returns True on a read-only filesystem as well, so try to write.
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise _unwritable(path, key, error) from None
    return path


def prepare(path: str | os.PathLike[str], key: str = "workdir") -> Path:
    """Create the folder if it is missing; return it.

    Raises:
        BadInput, OSError: as for `check`.
    """
    path = check(path, key)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, key, error) from None
    return path


def own(path: str | os.PathLike[str], depth: int | None = None) -> None:
    """Refuse a folder that contains a link out of it, so that a run writes into its folder only.

    The folder itself may be a link, or lie behind one.

    Args:
        depth: how many levels of subfolders to check; None for all.

    Raises:
        BadInput: there is such a link.
    """
    root = os.path.realpath(path)
    for link in _links(root, depth):
        if not leads_into(link, root):
            raise BadInput(
                f"workdir={str(path)!r}: {os.path.relpath(link, root)!r} in it is a link to "
                f"{os.path.realpath(link)!r}, out of it, where nothing shall be written; remove "
                "the link, or name a folder without one."
            )


def leads_into(path: str | os.PathLike[str], root: str | os.PathLike[str]) -> bool:
    """Return whether `path`, with all links followed, is `root` or lies in it."""
    real, inside = os.path.realpath(path), os.path.realpath(root)
    return os.path.commonpath([real, inside]) == inside


def _links(folder: str, depth: int | None) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_symlink():
            yield entry.path
        elif entry.is_dir(follow_symlinks=False) and (depth is None or depth > 1):
            yield from _links(entry.path, None if depth is None else depth - 1)


class Unsafe(OSError, ValueError):
    """Raised instead of opening a pipe, a device or an unsafe link in an untrusted folder."""

    def __str__(self) -> str:
        return str(self.args[0])


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], mode: str, **how: Any) -> Iterator[Any]:
    """Open a file of a workdir or a sweep; all of their files are opened here.

    The file must be a regular one, so that opening never blocks. A link is only followed for
    reading, and only to a target within its folder.

    Args:
        mode, how: as for `open`. Do not use "w", which is not atomic; use `write_bytes`.

    Raises:
        Unsafe: it is not such a file.
    """
    with open(path, mode, opener=_regular, **how) as file:
        yield file


def _regular(name: str | os.PathLike[str], flags: int) -> int:
    """Open a regular file as an `opener` of `open`, safe against replacement of the file."""
    path = os.fspath(name)
    if flags & os.O_ACCMODE == os.O_RDONLY and os.path.islink(path):
        if not leads_into(path, os.path.dirname(path) or "."):
            raise _unsafe(path, "it is a link out of its folder")
        path = os.path.realpath(path)
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _unsafe(path, "it is a link") from None
        if error.errno == errno.ENXIO:  # a pipe without a reader, or a socket
            raise _unsafe(path, "it is no regular file") from None
        raise
    if not stat.S_ISREG(mode := os.fstat(descriptor).st_mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise _unsafe(path, "it is no regular file")
    return descriptor


def _unsafe(path: str, why: str) -> Unsafe:
    error = Unsafe(why)
    error.filename = path
    return error


def _unwritable(path: Path, key: str, error: OSError) -> BadInput | OSError:
    if is_transient(error) and error.errno != errno.EROFS:  # not a mistake of the user
        return OSError(error.errno, error.strerror, str(path))
    return BadInput(
        f"{key}={str(path)!r} cannot be written ({error.strerror}); name a writable folder."
    )


@contextlib.contextmanager
def lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Lock the folder for this process; the kernel releases the lock when the process ends.

    The file `lock` is not removed. It names the present or the last holder.

    Raises:
        BadInput: another process holds the lock; the message names its pid, host and start.
    """
    lock_file = Path(path) / "lock"
    with opened(lock_file, "ab", buffering=0) as file:
        with naming(lock_file):
            _acquire(file.fileno(), Path(path))
            owner = {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "job": os.environ.get("SLURM_JOB_ID"),
                "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            }
            file.truncate(0)
            write_all(file, json.dumps(owner).encode())
        yield


def _acquire(file: int, path: Path) -> None:
    """Lock the folder, or raise BadInput with its holder.

    It tries several times: a process that only tests the lock holds it for a moment, and a new
    holder may not have written its name yet.
    """
    deadline, retried = time.monotonic() + PATIENCE, False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = _holder(path / "lock")
        if (retried and holder) or time.monotonic() > deadline:
            raise BadInput(
                f"workdir={str(path)!r} is in use by {holder or 'another process'}; "
                "stop it or name another workdir."
            )
        retried = True
        time.sleep(AGAIN)


def _holder(path: Path) -> str | None:
    """Describe the holder that the lock file names; None if there is none or it has ended."""
    try:
        owner = parsed(read_text(path, largest=LARGEST_LOCK))
        job = f" (job {owner['job']})" if owner["job"] else ""
        if owner["host"] == socket.gethostname():
            with contextlib.suppress(PermissionError):  # another user's process
                os.kill(owner["pid"], 0)
        return f"pid {owner['pid']}{job} on host {owner['host']} since {owner['since']}"
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        return None


def write_all(file: io.FileIO, content: bytes) -> None:
    """Write all of `content` to an unbuffered file, in several writes if needed."""
    remaining = memoryview(content)
    while remaining:
        remaining = remaining[file.write(remaining) :]


def write_bytes(path: str | os.PathLike[str], content: bytes, sync: bool = True) -> None:
    """Write a file atomically; see `replacing`."""
    with replacing(path, sync) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], sync: bool = True) -> Iterator[IO[bytes]]:
    """Open a file for writing that replaces `path` when the context ends without an error.

    A reader, or a crash, sees the old content or the new one. The temporary file has a fixed name,
    so that the next write replaces one that a killed writer has left. Concurrent writers wait for
    each other.

    Args:
        sync: whether to flush the file to disk. If not, a power failure may leave it incomplete.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    with naming(path, temporary), _temporary_file(temporary) as file:
        try:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        if sync:
            sync_folder(path.parent)


@contextlib.contextmanager
def _temporary_file(temporary: Path) -> Iterator[IO[bytes]]:
    """Open this file empty and locked, until it is renamed or the context ends."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(temporary.lstat().st_mode):
                temporary.unlink()
        with opened(temporary, "ab") as file:
            with contextlib.suppress(OSError):  # file systems without locks, see README
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_same_file(file, temporary):  # else the former holder has renamed it: try again
                # "a" has created it; without O_APPEND the writer may seek back, as zipfile does.
                fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) & ~os.O_APPEND)
                file.seek(0)
                file.truncate(0)
                yield file
                return


def _is_same_file(file: IO[bytes], path: Path) -> bool:
    """Return whether `path` still names the open file."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Flush a folder's entries to disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def json_safe(value: Any) -> Any:
    """Return `value` with nan, inf and -inf as strings, which JSON cannot represent."""
    if isinstance(value, Mapping):
        return {key: json_safe(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as JSON, atomically; see `json_safe`."""
    write_bytes(path, (json.dumps(json_safe(value), indent=2, allow_nan=False) + "\n").encode())


def write_lines(path: str | os.PathLike[str], values: Iterable[Any]) -> None:
    """Write a line of JSON for each value, atomically; see `json_safe`."""
    lines = [json.dumps(json_safe(value), allow_nan=False) + "\n" for value in values]
    write_bytes(path, "".join(lines).encode())


def append_json(path: str | os.PathLike[str], value: Any) -> None:
    """Append a line of JSON to a file; see `json_safe`.

    An incomplete last line, which a crash may leave, is removed. Concurrent writers wait for each
    other.
    """
    line = json.dumps(json_safe(value), allow_nan=False).encode() + b"\n"
    with naming(path), opened(path, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: it is not JSON, not a regular file, or too large.
    """
    return parsed(read_text(path))


def read_text(
    path: str | os.PathLike[str], errors: str = "strict", largest: int | float = LARGEST
) -> str:
    """Read the text of an untrusted file; see `read_bytes`.

    Raises:
        ValueError: it is not a regular file, too large, or not UTF-8.
    """
    return read_bytes(path, largest).decode(errors=errors)


def read_bytes(path: str | os.PathLike[str], largest: int | float = LARGEST) -> bytes:
    """Read the content of an untrusted file, with `opened`.

    Raises:
        ValueError: it is not a regular file, or too large.
    """
    with opened(path, "rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > largest:
            raise ValueError(f"it has {size} bytes")
        return file.read()


def parsed(text: str) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: it is not JSON, nested too deeply, or has an integer that is too long or a
            string that is not Unicode.
    """
    try:
        found = json.loads(text, parse_int=_parse_int)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if "\\ud" in text.lower():  # possibly an unpaired surrogate
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("holds what is no Unicode") from None
    if text.count("[") + text.count("{") > DEEPEST and _is_deeper(found, DEEPEST):
        raise ValueError("nested too deeply")
    return found


def _parse_int(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _is_deeper(value: Any, levels: int) -> bool:
    """Return whether any value lies inside `levels` nested lists and objects."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 1 or _is_deeper(each, levels - 1) for each in inner)


def flatten(config: Mapping[Any, Any]) -> dict[str, Any]:
    """Flatten `{'a': {'b': 1}}` to `{'a.b': 1}`; keep empty mappings as values."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{key}.{inner}": leaf for inner, leaf in flatten(value).items()}
        else:
            flat[str(key)] = value
    return flat


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return key -> (old value, new value) where they differ, sorted by key; None for no value.

    Values are compared as JSON: a tuple equals a list, but true is not 1.
    """

    def as_json(config: Mapping[str, Any]) -> dict[str, str]:
        return {key: json.dumps(value, sort_keys=True) for key, value in flatten(config).items()}

    before, after = as_json(old), as_json(new)
    old_flat, new_flat = flatten(old), flatten(new)
    return {
        key: (old_flat.get(key), new_flat.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Describe differences in lines: "optimizer.lr: 0.001 in the workdir, 0.002 now"."""
    old_flat, new_flat = flatten(old), flatten(new)

    def shown(config: Mapping[str, Any], key: str) -> str:
        return json.dumps(config[key], sort_keys=True) if key in config else "no value"

    return [
        f"{key}: {shown(old_flat, key)} in the workdir, {shown(new_flat, key)} now"
        for key in changes(old, new)
    ]


def without_history(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config in a config.json without its history, under the current names."""
    return aliases.current({key: value for key, value in config.items() if key != HISTORY})


def history(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the changes of a run's config, oldest first: {step, changed: key -> [old, new]}.

    Raises:
        BadInput: the config cannot be read.
    """
    found = (_read(Path(path), CONFIG) or {}).get(HISTORY, [])
    return found if isinstance(found, list) else []


def changed(path: str | os.PathLike[str], config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return key -> (value in the folder, value in `config`) where they differ."""
    old = _read(Path(path), CONFIG)
    return {} if old is None else changes(without_history(old), config)


def amend(path: str | os.PathLike[str], config: Mapping[str, Any], step: int) -> None:
    """Change the config of the folder's run from `step` on, and add the change to its history."""
    entry = {"step": step, "changed": changed(path, config)}
    if entry["changed"]:
        write_json(Path(path) / CONFIG, {**config, HISTORY: [*history(path), entry]})


MOVABLE = ("folder:", "arrays:")
"""Prefixes of the names of data sets that are paths."""


def is_move(key: str, old: Any, new: Any) -> bool:
    """Return whether a change of the config only says where the same data are now.

    `same_data` compares the data themselves.
    """
    names = (old, new)
    return key == "data.name" and any(
        all(isinstance(name, str) and name.startswith(kind) for name in names) for kind in MOVABLE
    )


def _no_key(key: str) -> bool:
    return False


def check_config(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    may_change: Callable[[str], bool] = _no_key,
) -> bool:
    """Return whether the folder holds a run of this config; write nothing.

    The path of a folder of images or of a file of arrays may differ.

    Args:
        may_change: key -> whether its value in the folder's config may differ.

    Raises:
        BadInput: it holds a run of another config (the message names the keys), the config is
            unreadable, or there are checkpoints without a config.
    """
    path = Path(path)
    old = _read(path, CONFIG)
    if old is None:
        if any((path / CHECKPOINTS).glob("*")):
            raise BadInput(
                f"workdir={str(path)!r} has checkpoints but no {CONFIG}; name another workdir."
            )
        return False
    old = without_history(old)
    kept = {
        key
        for key, pair in changes(old, config).items()
        if not may_change(key) and not is_move(key, *pair)
    }
    if changed := [line for line in differences(old, config) if line.partition(":")[0] in kept]:
        raise BadInput(
            f"workdir={str(path)!r} belongs to another config: {'; '.join(changed)}. "
            "Name another workdir, or see --extend and --allow_change."
        )
    return True


def sign(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    data: Mapping[str, Any],
    may_change: Callable[[str], bool] = _no_key,
    description: Mapping[str, Any] | None = None,
) -> None:
    """Write config and data identity into a new folder, or check those of an old one.

    Args:
        description: shape and dtype of an example, and more; see `described`.
        may_change: see `check_config`; `amend` writes the changes once the run continues.

    Raises:
        BadInput: as for `check_config`, the data differ from those that the run began with, or
            nothing says which these were.
    """
    path = Path(path)
    exists = check_config(path, config, may_change)
    if exists and _read(path, DATA) is None and any((path / CHECKPOINTS).glob("*")):
        raise BadInput(
            f"workdir={str(path)!r} has checkpoints but no {DATA}, which names the data that they "
            "were trained on; name another workdir."
        )
    if not same_data(path, data):
        write_json(path / DATA, {**data, DESCRIBED: dict(description)} if description else data)
    if not exists:
        write_json(path / CONFIG, config)


def same_data(path: str | os.PathLike[str], data: Mapping[str, Any]) -> bool:
    """Return whether the folder's run began with these data; False if none are recorded.

    Raises:
        BadInput: it began with other data.
    """
    old = _read(Path(path), DATA)
    if old is not None:  # readers of a run need not pass these
        unsaid = {ORIGIN, DESCRIBED} - data.keys()
        old = {key: value for key, value in old.items() if key not in unsaid}
    if old is not None and (changed := differences(old, data)):
        raise BadInput(
            f"workdir={str(path)!r} was trained on other data: {'; '.join(changed)}. "
            "Name another workdir, or give it the data it began with."
        )
    return old is not None


def origin(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the origin of the run's initial weights; None if they were drawn at random.

    Raises:
        BadInput: data.json cannot be read.
    """
    return (_read(Path(path), DATA) or {}).get(ORIGIN)


def described(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return shape and dtype of an example and the data's folders; {} for runs of old versions.

    Raises:
        BadInput: data.json cannot be read, or the description is not valid.
    """
    found = (_read(Path(path), DATA) or {}).get(DESCRIBED, {})
    shape = found.get("shape") if isinstance(found, dict) else None
    folders = [found.get(key) for key in ("data_dir", "manual_dir")] if shape else []
    is_valid = (
        isinstance(shape, list)
        and 0 < len(shape) <= 3
        and all(type(side) is int and 0 < side < 2**20 for side in shape)
        and found.get("dtype") in ("uint8", "float32")
        and all(folder is None or isinstance(folder, str) for folder in folders)
    )
    if found and not is_valid:
        raise BadInput(f"{str(Path(path) / DATA)!r} describes no data under {DESCRIBED!r}.")
    return found if is_valid else {}


def _read(path: Path, name: str) -> dict[str, Any] | None:
    """Read config.json or data.json; return None if it is missing."""
    try:
        found = read_json(path / name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(
            f"{str(path / name)!r} is not readable as JSON; restore it or name another workdir."
        )
    return found
