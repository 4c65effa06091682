"""JAX's persistent compilation cache, and the settings that a run's numbers depend on.

With the cache, a command that is started again does not compile its programs again.
"""

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
from jax._src import compilation_cache  # JAX has no public way to set a cache backend

MAX_CACHE_BYTES = 2**30  # beyond it, the least recently used programs are deleted
ENTRY_FORMAT = "1"  # version of an entry's layout; each version has a folder of its own
PINNED = {
    "jax_enable_x64": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_numpy_dtype_promotion": "standard",
    "jax_transfer_guard": None,
    "jax_transfer_guard_host_to_device": None,
    "jax_transfer_guard_device_to_host": None,
    "jax_transfer_guard_device_to_device": None,
    "jax_debug_key_reuse": False,  # pictures of a run are drawn from the same codes
    "jax_no_execution": False,
    "jax_no_tracing": False,
    "jax_error_checking_behavior_nan": "ignore",
    "jax_error_checking_behavior_divide": "ignore",
    "jax_error_checking_behavior_oob": "ignore",
}
"""JAX's settings that are the same in every run: numbers depend on them, or a run fails with others
by design. Other settings that were changed are stored with checkpoints and results, see
`settings`."""

IRRELEVANT_SETTINGS = re.compile(
    "jax_(compilation_cache|persistent_cache|enable_compilation_cache|raise_persistent_cache|log|"
    "platform|traceback|tracer_error|dump|debug_log|explain_cache|pprint|include_|source_url|"
    "compiler_detailed|check_proxy|distributed_debug|hlo_source|cuda_visible|rocm_visible|"
    "mosaic_allow|pallas_verbose|captured_constants|send_traceback|coordination)"
)
"""JAX's settings of reports, caches and device discovery: no number depends on them."""

ENVIRONMENT = (
    *("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG"),
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"),
    *("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"),
)
"""Environment variables that XLA and its libraries read."""

_AT_IMPORT = dict(jax.config.values)

ABANDONED_SECONDS = 60.0  # age at which an unfinished file is taken for that of a dead process


def _environment(name: str) -> str:
    """Return a variable of `ENVIRONMENT`; the contents of the file that XLA_FLAGS may name."""
    value = os.environ.get(name, "")
    if name == "XLA_FLAGS" and value and not value.lstrip().startswith("-"):
        with contextlib.suppress(OSError, ValueError):
            return f"{value}: {' '.join(Path(value).read_text().split())}"
    return value


def processor() -> str:
    """Return the CPU's model and instruction set, on which compiled programs depend."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    described = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return "\n".join(dict.fromkeys(described)) or platform.processor()


def folder() -> Path:
    """Return the cache folder: one for each version of jaxlib, XLA flags and CPU.

    Different machines may share a home folder, and jaxlib may be upgraded in place.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    flags = _environment("XLA_FLAGS")
    parts = (ENTRY_FORMAT, version("jaxlib"), flags, platform.machine(), processor())
    return Path(home, "latentgen", hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16])


class ProgramCache:
    """Backend of JAX's persistent compilation cache: a folder with a file for each program.

    A file begins with the SHA-256 of its key and contents and is written atomically. A file whose
    digest does not match is damaged or belongs to another key. It is deleted, so that its program
    is compiled and written again. There are no locks.
    """

    def __init__(self, path: Path) -> None:
        self._path = path  # JAX reads it

    def get(self, key: str) -> bytes | None:
        """Return the program of this key; None if it is not in the cache."""
        file = self._path / key
        try:
            entry = file.read_bytes()
        except OSError:  # there is no such file
            return None
        digest, program = entry[:32], entry[32:]
        if digest != _digest(key, program):
            with contextlib.suppress(OSError):
                file.unlink()
            return None
        with contextlib.suppress(OSError):  # read-only, or another process has deleted it
            os.utime(file)  # time of last use, for `prune`
        return program

    def put(self, key: str, value: bytes) -> None:
        """Store a program; a full disk or a missing folder is no error."""
        with contextlib.suppress(OSError):
            descriptor, name = tempfile.mkstemp(prefix=".", dir=self._path)
            try:
                with open(descriptor, "wb") as file:
                    file.write(_digest(key, value) + value)
                os.replace(name, self._path / key)
            except OSError:
                os.unlink(name)

    def prune(self, max_bytes: int = MAX_CACHE_BYTES) -> None:
        """Delete unfinished files of dead processes and the least recently used programs.

        Args:
            max_bytes: of the programs that remain.
        """
        entries = []
        for file in os.scandir(self._path):
            with contextlib.suppress(FileNotFoundError):  # another process has deleted it
                stat = file.stat(follow_symlinks=False)
                if not file.name.startswith("."):
                    entries.append((stat.st_mtime, stat.st_size, file.path))
                elif time.time() - stat.st_mtime > ABANDONED_SECONDS:
                    os.unlink(file.path)
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= max_bytes:
                break
            Path(path).unlink(missing_ok=True)
            total -= size


def _digest(key: str, program: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + program).digest()


def _make_private(path: Path) -> bool:
    """Make a folder that only this user can write; return False if others can write it."""
    path.mkdir(mode=0o700, exist_ok=True)
    stat = path.lstat()
    return stat.st_uid == os.getuid() and not stat.st_mode & 0o022


def pin_settings() -> None:
    """Set JAX's settings to `PINNED`; print a line for each one that the user has changed."""
    config: Any = jax.config
    for name, value in PINNED.items():
        if name not in config.values:  # of another version of JAX
            continue
        if (user_value := getattr(config, name)) != value:
            print(f"{name.upper()}={user_value} is ignored: a run has {value}.", file=sys.stderr)
            config.update(name, value)


def settings() -> dict[str, Any]:
    """Return the changed settings of JAX and XLA that a run's numbers may depend on, as plain JSON.

    These are set environment variables of `ENVIRONMENT`, and JAX's settings that an environment
    variable or code has set. `PINNED` is left out, and so are defaults, which depend on the version
    of JAX alone.
    """
    changed: dict[str, Any] = {name: value for name in ENVIRONMENT if (value := _environment(name))}
    for name, value in sorted(jax.config.values.items()):
        is_changed = name.upper() in os.environ or value != _AT_IMPORT.get(name, value)
        if is_changed and name not in PINNED and not IRRELEVANT_SETTINGS.match(name):
            changed[name] = value if isinstance(value, bool | int | float | str) else str(value)
    return changed


def enable_compilation_cache() -> None:
    """Enable JAX's persistent compilation cache, unless the user has configured it.

    JAX_COMPILATION_CACHE_DIR sets another folder; JAX_ENABLE_COMPILATION_CACHE=false disables the
    cache. It stays disabled if the folder cannot be written, or if others can write it: their
    programs would be run.
    """
    config: Any = jax.config
    if config.jax_compilation_cache_dir or not config.jax_enable_compilation_cache:
        return
    try:
        root = folder()
        root.parents[1].mkdir(parents=True, exist_ok=True)
        if not (_make_private(root.parent) and _make_private(root)):
            print(f"Compiled programs are not kept: others can write {root}.", file=sys.stderr)
            return
        with tempfile.TemporaryFile(dir=root):
            pass
        cache = ProgramCache(root)
        cache.prune()
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return
    default = compilation_cache.get_file_cache

    def get_file_cache(path: str) -> tuple[Any, str] | None:
        return (cache, path) if path == str(root) else default(path)

    compilation_cache.get_file_cache = get_file_cache
    jax.config.update("jax_compilation_cache_dir", str(root))
    # A run has about twenty small programs, each compiled in less than JAX's minimum of a second.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
