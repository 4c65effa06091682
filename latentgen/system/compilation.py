"""Compiled programs are kept on disk: the second start of a command need not compile again."""

import contextlib
import hashlib
import os
import platform
import re
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from jax._src import compilation_cache  # no public name takes another store than JAX's own

LARGEST = 2**30  # bytes; beyond that the programs used longest ago go
FORMAT = "1"  # of an entry; another one has another folder
PINNED = {
    "jax_enable_x64": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_numpy_dtype_promotion": "standard",
}
"""Of JAX's settings those under which every run computes. The others are kept with its checkpoints
and results, where the user or a config's file has changed them: see `settings`."""

SILENT = re.compile(
    "jax_(compilation_cache|persistent_cache|enable_compilation_cache|raise_persistent_cache|log|"
    "platform|traceback|tracer_error|dump|debug_log|explain_cache|pprint|include_|source_url|"
    "compiler_detailed|check_proxy|distributed_debug|hlo_source|cuda_visible|rocm_visible|"
    "mosaic_allow|pallas_verbose|captured_constants|send_traceback|coordination)"
)
"""JAX's settings that say how it reports, caches or finds devices: no number depends on them."""

ENVIRONMENT = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")
"""What XLA and its libraries read for themselves."""

_AT_IMPORT = dict(jax.config.values)

ABANDONED = 60.0  # seconds after which a file that was never finished is another's no more


def processor() -> str:
    """Model and instructions of this machine's CPU: what a program for it may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    found = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return "\n".join(dict.fromkeys(found)) or platform.processor()


def folder() -> Path:
    """Return the folder of compiled programs: one for each jaxlib, XLA flags and CPU.

    A home folder may be shared by unlike machines, and jaxlib changed in place.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    flags = os.environ.get("XLA_FLAGS", "")
    what = (FORMAT, version("jaxlib"), flags, platform.machine(), processor())
    return Path(home, "latentgen", hashlib.sha256("\0".join(what).encode()).hexdigest()[:16])


class Programs:
    """A folder of compiled programs, as JAX's persistent compilation cache asks for one.

    An entry is a file that begins with the SHA-256 of its key and contents, and appears whole.
    One that does not match, damaged or moved from another key, is deleted, so that its program is
    compiled and written again. Nothing waits for a lock.
    """

    def __init__(self, path: Path) -> None:
        self._path = path  # JAX reads it

    def get(self, key: str) -> bytes | None:
        """The program of this key, or None."""
        file = self._path / key
        try:
            entry = file.read_bytes()
        except OSError:  # there is none
            return None
        digest, program = entry[:32], entry[32:]
        if digest != _digest(key, program):
            with contextlib.suppress(OSError):
                file.unlink()
            return None
        with contextlib.suppress(OSError):  # read-only, or another process has deleted it
            os.utime(file)  # the last use, for `prune`
        return program

    def put(self, key: str, value: bytes) -> None:
        """Keep a program; where there is no room for it, it is not kept."""
        with contextlib.suppress(OSError):
            descriptor, name = tempfile.mkstemp(prefix=".", dir=self._path)
            try:
                with open(descriptor, "wb") as file:
                    file.write(_digest(key, value) + value)
                os.replace(name, self._path / key)
            except OSError:
                os.unlink(name)

    def prune(self, largest: int = LARGEST) -> None:
        """Delete unfinished files of dead processes, and the longest unused beyond `largest`."""
        found = []
        for file in os.scandir(self._path):
            with contextlib.suppress(FileNotFoundError):  # another process has deleted it
                stat = file.stat(follow_symlinks=False)
                if not file.name.startswith("."):
                    found.append((stat.st_mtime, stat.st_size, file.path))
                elif time.time() - stat.st_mtime > ABANDONED:
                    os.unlink(file.path)
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= largest:
                break
            Path(path).unlink(missing_ok=True)
            total -= size


def _digest(key: str, program: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + program).digest()


def _private(path: Path) -> bool:
    """Make a folder that only this user can write; say whether it is one."""
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    return found.st_uid == os.getuid() and not found.st_mode & 0o022


def pin_numbers() -> None:
    """Set what would make other numbers of the same config; say so where the user set it."""
    said: Any = jax.config
    for name, value in PINNED.items():
        if (found := getattr(said, name)) != value:
            print(f"{name.upper()}={found} is ignored: a run has {value}.", file=sys.stderr)
            said.update(name, value)


def settings() -> dict[str, Any]:
    """Return settings that numbers may depend on beside config, data and versions, as plain JSON.

    Of JAX's settings those that an environment variable or code has set, and not `PINNED`: what
    they are by default goes with the version of JAX.
    """
    found: dict[str, Any] = {name: os.environ[name] for name in ENVIRONMENT if os.environ.get(name)}
    for name, value in sorted(jax.config.values.items()):
        changed = name.upper() in os.environ or value != _AT_IMPORT.get(name, value)
        if changed and name not in PINNED and not SILENT.match(name):
            found[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return found


def keep_programs() -> None:
    """Switch JAX's persistent compilation cache on, unless the user has said otherwise.

    JAX_COMPILATION_CACHE_DIR names another folder, JAX_ENABLE_COMPILATION_CACHE=false wants none.
    Where the folder cannot be written, or others can write it, there is none either: a program
    that somebody else put there would be run.
    """
    said: Any = jax.config
    if said.jax_compilation_cache_dir or not said.jax_enable_compilation_cache:
        return
    try:
        place = folder()
        place.parents[1].mkdir(parents=True, exist_ok=True)
        if not (_private(place.parent) and _private(place)):
            print(f"Compiled programs are not kept: others can write {place}.", file=sys.stderr)
            return
        with tempfile.TemporaryFile(dir=place):
            pass
        programs = Programs(place)
        programs.prune()
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return
    default = compilation_cache.get_file_cache

    def store(path: str) -> tuple[Any, str] | None:
        return (programs, path) if path == str(place) else default(path)

    compilation_cache.get_file_cache = store
    jax.config.update("jax_compilation_cache_dir", str(place))
    # A run has some twenty small programs, none of which takes the second that JAX asks for.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
