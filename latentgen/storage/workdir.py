"""A run's folder: one writer at a time, whole files only, one config for life."""

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
HISTORY = "history"  # in config.json: which keys were changed after which step
ORIGIN = "init_from"  # in data.json: the weights that the run began with
DESCRIBED = "example"  # in data.json: shape and dtype of an example, and where the data were
CHECKPOINTS = "checkpoints"
DEEPEST = 64  # lists and objects within each other, in a file that is read
DIGITS = 300  # of a whole number there: more than a float can be
LARGEST = 2**28  # bytes of a JSON file
LARGEST_LOCK = 10_000  # and of a lock
AGAIN, PATIENCE = 0.1, 2.0  # seconds: between asking for a taken folder, and in all


@contextlib.contextmanager
def naming(path: str | os.PathLike[str], alias: Path | None = None) -> Iterator[None]:
    """Inside, an OSError that names no file, as those of write and fsync, names this one.

    Args:
        alias: a file of ours that stands for it, which the user does not know.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(alias)):
            error.filename = str(path)
        raise


def check(path: str | os.PathLike[str], key: str = "workdir") -> Path:
    """`path`, if it is a folder that can be written or could be made; leaves nothing behind.

    Args:
        key: what the user calls the folder.

    Raises:
        BadInput: it is a file, lies in one, or its nearest existing parent cannot be written.
        OSError: its disk is full or fails.
    """
    path = Path(path)
    try:
        parent = path.absolute()
        while not os.path.lexists(parent):
            parent = parent.parent
        if not parent.is_dir():
            what = "is" if parent == path.absolute() else f"lies in {str(parent)!r},"
            raise BadInput(f"{key}={str(path)!r} {what} a file; it must be a folder.")
        # Only an attempt tells: os.access says yes to root, also on a read-only filesystem.
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise _unwritable(path, key, error) from None
    return path


def prepare(path: str | os.PathLike[str], key: str = "workdir") -> Path:
    """Make the folder where it is missing.

    Raises:
        BadInput, OSError: as for `check`; then nothing has been written.
    """
    path = check(path, key)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, key, error) from None
    return path


def own(path: str | os.PathLike[str], depth: int | None = None) -> None:
    """Refuse a folder in which a link leads out of it: a run writes into its own folder only.

    The folder itself may be a link, or lie behind one: the user has named it so.

    Args:
        depth: how many levels of folders are looked into; None for all.

    Raises:
        BadInput: names the link and where it leads.
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
    """A file in a folder that may be anybody's is none to open: a pipe, a device, a link."""

    def __str__(self) -> str:
        return str(self.args[0])


@contextlib.contextmanager
def opened(path: str | os.PathLike[str], mode: str, **how: Any) -> Iterator[Any]:
    """Open a file of a workdir or a sweep: every one of them goes this way.

    It must be a regular file, so that nothing is waited for. For reading it may be a link within
    its folder; for writing it may be none.

    Args:
        mode, how: as for `open`; but "w" is not safe, and `write_bytes` is there for it.

    Raises:
        Unsafe: it is something else.
    """
    with open(path, mode, opener=_regular, **how) as file:
        yield file


def _regular(name: str | os.PathLike[str], flags: int) -> int:
    """Open what `opened` may, and nothing else even where it is replaced meanwhile."""
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
        if error.errno == errno.ENXIO:  # a pipe that nobody reads, or a socket
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
    if is_transient(error) and error.errno != errno.EROFS:  # no mistake of the user's
        return OSError(error.errno, error.strerror, str(path))
    return BadInput(
        f"{key}={str(path)!r} cannot be written ({error.strerror}); name a writable folder."
    )


@contextlib.contextmanager
def lock(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the folder for this process; the kernel lets go when the process dies, however.

    The file `lock` stays behind and says who holds the folder or held it last.

    Raises:
        BadInput: another process holds it; names pid, host and since when.
    """
    place = Path(path) / "lock"
    with opened(place, "ab", buffering=0) as file:
        with naming(place):
            _take(file.fileno(), Path(path))
            owner = {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "job": os.environ.get("SLURM_JOB_ID"),
                "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            }
            file.truncate(0)
            write_all(file, json.dumps(owner).encode())
        yield


def _take(file: int, path: Path) -> None:
    """Lock the folder, or raise with its holder.

    Not at the first refusal: whoever looks whether the folder is held has it for a moment, and who
    holds it may not have signed yet.
    """
    last, asked = time.monotonic() + PATIENCE, False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            holder = _holder(path / "lock")
        if (asked and holder) or time.monotonic() > last:
            raise BadInput(
                f"workdir={str(path)!r} is in use by {holder or 'another process'}; "
                "stop it or name another workdir."
            )
        asked = True
        time.sleep(AGAIN)


def _holder(path: Path) -> str | None:
    """Who has signed the lock; None where that is nobody, or a process that is no more."""
    try:
        owner = parsed(read_text(path, largest=LARGEST_LOCK))
        job = f" (job {owner['job']})" if owner["job"] else ""
        if owner["host"] == socket.gethostname():
            with contextlib.suppress(PermissionError):  # it lives, and is another user's
                os.kill(owner["pid"], 0)
        return f"pid {owner['pid']}{job} on host {owner['host']} since {owner['since']}"
    except (ValueError, KeyError, TypeError, OverflowError, OSError):
        return None


def write_all(file: io.FileIO, content: bytes) -> None:
    """Write all of it to an unbuffered file, which may take less at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace the file whole: a reader, or a crash, sees the old content or the new one.

    What a killed writer leaves behind has a fixed name and goes with the next write. Two writers
    wait for each other.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    with naming(path, temporary), _own(temporary) as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)


@contextlib.contextmanager
def _own(temporary: Path) -> Iterator[IO[bytes]]:
    """The file of this name, empty and ours alone until it is renamed or the context ends."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(temporary.lstat().st_mode):
                temporary.unlink()
        with opened(temporary, "ab") as file:
            with contextlib.suppress(OSError):  # a file system without locks, see README
                fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file, temporary):  # whoever had it has not renamed it
                file.truncate(0)
                yield file
                return


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Return whether `path` still names the open file."""
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Bring a folder's list of names to the disk."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def json_safe(value: Any) -> Any:
    """`value` with nan, inf and -inf as strings, for which JSON has no word."""
    if isinstance(value, Mapping):
        return {key: json_safe(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as JSON, atomically; see `json_safe`."""
    write_bytes(path, (json.dumps(json_safe(value), indent=2, allow_nan=False) + "\n").encode())


def write_lines(path: str | os.PathLike[str], values: Iterable[Any]) -> None:
    """Write a line of JSON for each value, the file whole; see `json_safe`."""
    lines = [json.dumps(json_safe(value), allow_nan=False) + "\n" for value in values]
    write_bytes(path, "".join(lines).encode())


def append_json(path: str | os.PathLike[str], value: Any) -> None:
    """Add a line of JSON to a file of such lines, whole; see `json_safe`.

    A torn last line, which a crash leaves, goes. Two writers wait for each other.
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
    """Read JSON, such as `write_json` writes.

    Raises:
        ValueError: it is no JSON, no regular file, or far too large.
    """
    return parsed(read_text(path))


def read_text(
    path: str | os.PathLike[str], errors: str = "strict", largest: int | float = LARGEST
) -> str:
    """The text of a file that may be anybody's: a pipe would wait for ever, a device never end.

    Raises:
        ValueError: it is no regular file, far too large, or no UTF-8.
    """
    return read_bytes(path, largest).decode(errors=errors)


def read_bytes(path: str | os.PathLike[str], largest: int | float = LARGEST) -> bytes:
    """The content of a file that may be anybody's, see `opened`.

    Raises:
        ValueError: it is none to open, or far too large.
    """
    with opened(path, "rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > largest:
            raise ValueError(f"it has {size} bytes")
        return file.read()


def parsed(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, too deep a nest, or holds what no float or no text can.
    """
    try:
        found = json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if "\\ud" in text.lower():  # half a pair of UTF-16 may stand alone
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("holds what is no Unicode") from None
    if text.count("[") + text.count("{") > DEEPEST and _deeper(found, DEEPEST):
        raise ValueError("nested too deeply")
    return found


def _whole(digits: str) -> int:
    if len(digits) > DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _deeper(value: Any, levels: int) -> bool:
    """Return whether any value lies inside `levels` nested lists and objects."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 1 or _deeper(each, levels - 1) for each in inner)


def flatten(config: Mapping[Any, Any]) -> dict[str, Any]:
    """`{'a': {'b': 1}}` as `{'a.b': 1}`; an empty mapping stays as a value of its own."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{key}.{inner}": leaf for inner, leaf in flatten(value).items()}
        else:
            flat[str(key)] = value
    return flat


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Key -> (old value, new value) where they differ, sorted by key; None for no value.

    Compares as JSON does: a tuple equals a list, but true is not 1.
    """

    def as_json(config: Mapping[str, Any]) -> dict[str, str]:
        return {key: json.dumps(value, sort_keys=True) for key, value in flatten(config).items()}

    before, after = as_json(old), as_json(new)
    olds, news = flatten(old), flatten(new)
    return {
        key: (olds.get(key), news.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    }


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lines such as "optimizer.lr: 0.001 in the workdir, 0.002 now", sorted by key."""
    olds, news = flatten(old), flatten(new)

    def shown(config: Mapping[str, Any], key: str) -> str:
        return json.dumps(config[key], sort_keys=True) if key in config else "no value"

    return [
        f"{key}: {shown(olds, key)} in the workdir, {shown(news, key)} now"
        for key in changes(old, new)
    ]


def without_history(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a config.json, which may also tell how it was changed; under today's names."""
    return aliases.current({key: value for key, value in config.items() if key != HISTORY})


def history(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Changes of the config of the folder's run, oldest first: {step, changed: key -> [old, new]}.

    Raises:
        BadInput: its config cannot be read.
    """
    found = (_read(Path(path), CONFIG) or {}).get(HISTORY, [])
    return found if isinstance(found, list) else []


def changed(path: str | os.PathLike[str], config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Key -> (the folder's value, the config's), where they differ; empty for a new folder."""
    old = _read(Path(path), CONFIG)
    return {} if old is None else changes(without_history(old), config)


def amend(path: str | os.PathLike[str], config: Mapping[str, Any], step: int) -> None:
    """Give the folder's run another config, from `step` on, and keep what it was before."""
    entry = {"step": step, "changed": changed(path, config)}
    if entry["changed"]:
        write_json(Path(path) / CONFIG, {**config, HISTORY: [*history(path), entry]})


def _nothing(key: str) -> bool:
    return False


def check_config(
    path: str | os.PathLike[str],
    config: Mapping[str, Any],
    may_change: Callable[[str], bool] = _nothing,
) -> bool:
    """Return whether the folder holds a run of this config; change nothing.

    Args:
        may_change: key -> whether the folder's config may have another value of it.

    Raises:
        BadInput: it holds one of another config (names the keys), or one whose config is
            unreadable or missing beside checkpoints.
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
    kept = {key for key in changes(old, config) if not may_change(key)}
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
    may_change: Callable[[str], bool] = _nothing,
    description: Mapping[str, Any] | None = None,
) -> None:
    """Sign a new folder with its config and its data's identity, or check an old one's.

    Args:
        description: shape and dtype of an example, and the like, see `described`.
        may_change: see `check_config`; `amend` writes what has changed, once the run goes on.

    Raises:
        BadInput: as for `check_config`, or the data are not those that the run began with.
    """
    path = Path(path)
    known = check_config(path, config, may_change)
    if not same_data(path, data):
        write_json(path / DATA, {**data, DESCRIBED: dict(description)} if description else data)
    if not known:
        write_json(path / CONFIG, config)


def same_data(path: str | os.PathLike[str], data: Mapping[str, Any]) -> bool:
    """Return whether the folder's run began with these data; False if none are recorded.

    Raises:
        BadInput: it began with others.
    """
    old = _read(Path(path), DATA)
    if old is not None:  # who reads a run need not say what it began with
        unsaid = {ORIGIN, DESCRIBED} - data.keys()
        old = {key: value for key, value in old.items() if key not in unsaid}
    if old is not None and (changed := differences(old, data)):
        raise BadInput(
            f"workdir={str(path)!r} was trained on other data: {'; '.join(changed)}. "
            "Name another workdir, or give it the data it began with."
        )
    return old is not None


def origin(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The weights that the folder's run began with; None where it drew its own.

    Raises:
        BadInput: its data.json cannot be read.
    """
    return (_read(Path(path), DATA) or {}).get(ORIGIN)


def described(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The shape and dtype of an example and the data's folders, {} where an early run has none.

    Raises:
        BadInput: its data.json cannot be read, or describes no data.
    """
    found = (_read(Path(path), DATA) or {}).get(DESCRIBED, {})
    shape = found.get("shape") if isinstance(found, dict) else None
    places = [found.get(key) for key in ("data_dir", "manual_dir")] if shape else []
    sound = (
        isinstance(shape, list)
        and 0 < len(shape) <= 3
        and all(type(side) is int and 0 < side < 2**20 for side in shape)
        and found.get("dtype") in ("uint8", "float32")
        and all(place is None or isinstance(place, str) for place in places)
    )
    if found and not sound:
        raise BadInput(f"{str(Path(path) / DATA)!r} describes no data under {DESCRIBED!r}.")
    return found if sound else {}


def _read(path: Path, name: str) -> dict[str, Any] | None:
    """A signature, None where there is none."""
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
