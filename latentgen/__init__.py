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
    from latentgen.core.types import Batch, Method, Net, Phase, State
    from latentgen.core.wrappers import population, with_ema
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
    "core.types": ("Batch", "Method", "Net", "Phase", "State"),
    "core.wrappers": ("population", "with_ema"),
    "methods.aae": ("aae",),
    "methods.bigan": ("bigan",),
    "methods.gan": ("gan",),
    "methods.vae": ("vae",),
    "methods.vaegan": ("vaegan",),
}
"""Module -> its public names here."""

__all__ = [
    "BadInput",
    "Batch",
    "Diverged",
    "Method",
    "Model",
    "Net",
    "Phase",
    "State",
    "aae",
    "ascend",
    "bigan",
    "game",
    "gan",
    "load",
    "players",
    "population",
    "train",
    "vae",
    "vaegan",
    "with_ema",
]


def __getattr__(name: str) -> Any:
    for home, names in HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


NOT_HERE = "latentgen runs on Linux and macOS; on Windows, use it inside WSL2."


def _refuse_windows(platform: str) -> None:
    """Refuse Windows in one line, where no module named 'fcntl' would be all that is said.

    Raises:
        ImportError: this is Windows. A command ends with exit code 2 instead.
    """
    if platform != "win32":
        return
    if sys.argv[:1] != ["-m"]:
        raise ImportError(NOT_HERE)
    print(f"error: {NOT_HERE}", file=sys.stderr)
    sys.exit(2)


def _current_folder_last() -> None:
    """`python -m` looks for modules in the current folder first, which may be anybody's workdir: a
    jax.py in it would be run. So it comes last, unless this package itself lies there.
    """
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        current = os.getcwd()
    except FileNotFoundError:  # somebody has removed it
        return
    if sys.argv[:1] == ["-m"] and sys.path[:1] == [current] and sys.path[0] != here:
        sys.path.append(sys.path.pop(0))


_refuse_windows(sys.platform)
_current_folder_last()


def watch_process() -> None:
    """Have a signal end this process in a line from here on, while its command is imported too."""
    from latentgen.system import signals, startup, streams

    streams.guard()
    signals.install()
    startup.guard()


if sys.argv[:1] == ["-m"]:  # a command is about to be imported
    watch_process()
