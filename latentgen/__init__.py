"""Variational autoencoders and generative adversarial networks as games of pure functions.

    model = latentgen.train("latentgen:gan:dcgan", images, workdir="runs/mine")
    model = latentgen.load("runs/mine")
    model.sample(64), model.evaluate("frechet")

Names below are imported when they are first used, so that `import latentgen` is quick.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentgen.api.fit import train
    from latentgen.api.model import Model, load
    from latentgen.core.errors import BadInput, Diverged
    from latentgen.core.game import ascend, game, players
    from latentgen.core.schedules import Schedule
    from latentgen.core.types import Batch, Method, Net, Phase, State
    from latentgen.core.wrappers import population, scheduled, with_ema, with_microbatches
    from latentgen.methods.aae import aae
    from latentgen.methods.bigan import bigan
    from latentgen.methods.gan import gan
    from latentgen.methods.vae import vae
    from latentgen.methods.vaegan import vaegan

__version__ = "0.1.0"

HOMES = {
    "api.fit": ("train",),
    "api.model": ("Model", "load"),
    "core.errors": ("BadInput", "Diverged"),
    "core.game": ("ascend", "game", "players"),
    "core.schedules": ("Schedule",),
    "core.types": ("Batch", "Method", "Net", "Phase", "State"),
    "core.wrappers": ("population", "scheduled", "with_ema", "with_microbatches"),
    "methods.aae": ("aae",),
    "methods.bigan": ("bigan",),
    "methods.gan": ("gan",),
    "methods.vae": ("vae",),
    "methods.vaegan": ("vaegan",),
}
"""Module -> its public names here."""

PACKAGES = ("core", "data", "methods", "metrics", "networks", "objectives", "probability")
"""Packages of functions of arrays, such as `latentgen.objectives`."""

__all__ = [
    "BadInput",
    "Batch",
    "Diverged",
    "Method",
    "Model",
    "Net",
    "Phase",
    "Schedule",
    "State",
    "aae",
    "ascend",
    "bigan",
    "game",
    "gan",
    "load",
    "players",
    "population",
    "scheduled",
    "train",
    "vae",
    "vaegan",
    "with_ema",
    "with_microbatches",
]


def __getattr__(name: str) -> Any:
    for home, names in HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    if name in PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({"__version__", *PACKAGES, *__all__})


NOT_HERE = "latentgen runs on Linux and macOS; on Windows, use it inside WSL2."


def _refuse_windows(platform: str) -> None:
    """Refuse Windows with a clear message, instead of a missing module 'fcntl'.

    Raises:
        ImportError: the platform is Windows. A command ends with exit code 2 instead.
    """
    if platform != "win32":
        return
    if sys.argv[:1] != ["-m"]:
        raise ImportError(NOT_HERE)
    print(f"error: {NOT_HERE}", file=sys.stderr)
    sys.exit(2)


def _current_folder_last() -> None:
    """Move the current folder to the end of sys.path under `python -m`.

    It comes first by default, so that a jax.py in an untrusted workdir would be run. It stays if
    this package lies there.
    """
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        current = os.getcwd()
    except FileNotFoundError:  # it was removed
        return
    if sys.argv[:1] == ["-m"] and sys.path[:1] == [current] and sys.path[0] != here:
        sys.path.append(sys.path.pop(0))


_refuse_windows(sys.platform)
_current_folder_last()


def watch_process() -> None:
    """Handle signals from now on, also while a command is imported: end with one line."""
    from latentgen.system import signals, startup, streams

    streams.guard()
    signals.install()
    startup.guard()


if sys.argv[:1] == ["-m"]:  # a command is about to be imported
    watch_process()
