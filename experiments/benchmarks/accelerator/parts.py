"""The parts of the command in the order of their worth, each with its time limit."""

import importlib
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]


class Item(NamedTuple):
    """A piece of a part, after which what was found is kept.

    call: () -> rows; a row with "ok" is a check.
    checks: its rows are checks, so that the command fails where it is not reached.
    """

    name: str
    call: Callable[[], list[Row]]
    checks: bool = False


class Context(NamedTuple):
    """The circumstances of a part.

    dry: tiny shapes, on a CPU.
    results: found so far, by this part and by others.
    folder: for pictures and the like, beside the JSON.
    seconds: until this part is ended.
    skip: items that are done, or that broke the process of an earlier attempt.
    """

    dry: bool
    results: dict[str, Any]
    folder: Path
    seconds: float
    skip: Set[str] = frozenset()


class Part(NamedTuple):
    """A part of the command.

    what: a phrase for people.
    module: has `items(context) -> list[Item]`.
    seconds: its limit on a GPU; None: all that is left.
    dry_seconds: its limit in a dry run.
    environment: set for its process.
    """

    what: str
    module: str
    seconds: float | None
    dry_seconds: float
    environment: Mapping[str, str] = {}

    def items(self, context: Context) -> list[Item]:
        """The pieces, by worth."""
        package = __name__.rpartition(".")[0]
        return importlib.import_module(f"{package}.{self.module}").items(context)


TOTAL, DRY_TOTAL = 480.0, 600.0
"""Seconds of the whole command; a dry run has time for a busy machine."""

SHARED = {
    # Memory is measured, and PyTorch's processes run beside ours.
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.92",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
PARTS: dict[str, Part] = {
    "correct": Part("the numbers are right", "correct", 140, 240),
    "speed": Part("steps a second beside PyTorch", "speed", 180, 240),
    "populations": Part("many seeds as one program", "populations", 40, 120),
    "profile": Part(
        "where the time goes",
        "profile",
        *(60, 120),
        # Else one entry stands for many kernels, which then have no names.
        {"XLA_FLAGS": "--xla_gpu_enable_command_buffer="},
    ),
    "recipe": Part("a published recipe at full width", "recipe", None, 120),
}
