"""Provenance that every written result carries: versions, device, command."""

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
    """Return the first 16 hex digits of the SHA-256 of the config as sorted JSON."""
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
    """Describe devices and settings; results are bitwise equal only if these are the same."""
    first_device = jax.devices()[0]
    return {
        "platform": first_device.platform,
        "kind": first_device.device_kind,
        "count": jax.device_count(),
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "settings": settings(),
    }


def command(module: str) -> str:
    """Return the command line that started this process."""
    return shlex.join(["python", "-m", module, *sys.argv[1:]])


def stamp(config: Mapping[str, Any], data: Mapping[str, Any], module: str) -> dict[str, Any]:
    """Return the provenance that every written result carries.

    Args:
        config: the run's config.
        data: the identity of its data set.
        module: the command that writes the result.
    """
    own_modules = plugins.digests(plugins.names(config))
    return {
        "data": dict(data),
        **({"plugins": own_modules} if own_modules else {}),
        "config_sha256": config_hash(config),
        "versions": versions(),
        "device": device(),
        "command": command(module),
    }
