"""Where a number comes from: versions, device, flags. Every written result carries it."""

import hashlib
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import jax

import latentgen
from latentgen.storage import aliases
from latentgen.system import plugins
from latentgen.system.compilation import settings

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


def config_hash(config: Mapping[str, Any]) -> str:
    """The first 16 hex digits of SHA-256 over the config as sorted JSON."""
    return hashlib.sha256(aliases.text(config)).hexdigest()[:16]


def versions() -> dict[str, str]:
    """Return the versions of latentgen, Python and the libraries that numbers depend on."""
    found = {"latentgen": latentgen.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def device() -> dict[str, Any]:
    """Describe devices and settings: bitwise equality is promised only where these are the same."""
    first = jax.devices()[0]
    return {
        "platform": first.platform,
        "kind": first.device_kind,
        "count": jax.device_count(),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "settings": settings(),
    }


def command(module: str) -> str:
    """The command line that started this process."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def stamp(config: Mapping[str, Any], data: Mapping[str, Any], module: str) -> dict[str, Any]:
    """Return the provenance that every written result carries.

    Args:
        config: of the run.
        data: its data set's identity.
        module: the command that wrote it.
    """
    own = plugins.digests(plugins.names(config))
    return {
        "data": dict(data),
        **({"plugins": own} if own else {}),
        "config_sha256": config_hash(config),
        "versions": versions(),
        "device": device(),
        "command": command(module),
    }
