"""Compiled programs are kept on disk: the second start of a command need not compile again."""

import contextlib
import hashlib
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

LARGEST = 2**30  # bytes; beyond that the programs used longest ago go
PINNED = {
    "jax_enable_x64": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
}
"""Of JAX's settings those that no config and no workdir names."""

SETTLED = 60.0  # seconds


def processor() -> str:
    """What a program for this machine's CPU may use: the model and its instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    told = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return "\n".join(dict.fromkeys(told)) or platform.processor()


def folder() -> Path:
    """Where this machine's programs are kept: never read under another jaxlib, flags or CPU.

    A home folder may be shared by unlike machines, and jaxlib changed in place.
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    what = (version("jaxlib"), os.environ.get("XLA_FLAGS", ""), platform.machine(), processor())
    return Path(home, "latentgen", hashlib.sha256("\0".join(what).encode()).hexdigest()[:16])


def _sweep(place: Path) -> None:
    """Removes what a killed process left half written: JAX would neither read nor replace it.

    JAX writes a program and then when it was used; where it finds no such time it writes no more.
    What is younger than SETTLED may be another process's, that is about to write the time.
    """
    for program in place.glob("*-cache"):
        if program.with_name(f"{program.name.removesuffix('-cache')}-atime").exists():
            continue
        with contextlib.suppress(FileNotFoundError):  # another process has swept it
            if time.time() - program.stat().st_mtime > SETTLED:
                program.unlink()


def pin_numbers() -> None:
    """Sets what would make other numbers of the same config; says so where the user set it."""
    said: Any = jax.config
    for name, value in PINNED.items():
        if (found := getattr(said, name)) != value:
            print(f"{name.upper()}={found} is ignored: a run has {value}.", file=sys.stderr)
            said.update(name, value)


def keep_programs() -> None:
    """Switches JAX's persistent compilation cache on, unless the user has said otherwise.

    JAX_COMPILATION_CACHE_DIR names another folder, JAX_ENABLE_COMPILATION_CACHE=false wants none.
    Where the folder cannot be written there is none either.
    """
    said: Any = jax.config
    if said.jax_compilation_cache_dir or not said.jax_enable_compilation_cache:
        return
    try:
        place = folder()
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
        _sweep(place)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return
    jax.config.update("jax_compilation_cache_dir", str(place))
    # A run has some twenty small programs, none of which takes the second that JAX asks for.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_compilation_cache_max_size", LARGEST)
