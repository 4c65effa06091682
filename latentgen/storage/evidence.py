"""How a run diverged: written into its folder by `training/trainer.py`, read by commands."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentgen.core.errors import BadInput
from latentgen.storage import log, workdir

DIVERGED = "diverged.json"
"""Where the run has ended by it."""

SKIPPED = "skipped.jsonl"
"""Where it has gone on without the step: a line for each."""

STATE = "diverged"
"""The checkpoints of the state before each."""


def diverged(folder: Path) -> dict[str, Any] | None:
    """Read the record of the run's divergence; None if it has not diverged.

    Raises:
        BadInput: the file cannot be read.
    """
    try:
        record = workdir.read_json(folder / DIVERGED)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        record = None
    if not _tells(record):
        raise BadInput(f"{str(folder / DIVERGED)!r} is not readable; remove it to train again.")
    return record


LONGEST = 10**6
"""Steps of a chunk that is searched for the one that diverged."""


def _tells(record: Any) -> bool:
    """Return whether `record` is one of `trainer.leave`, in the fields that are read again."""
    if not isinstance(record, dict) or not isinstance(record.get("tensors"), dict):
        return False
    first, last, counts = record.get("first"), record.get("last"), record["tensors"].values()
    return (
        isinstance(first, int)
        and isinstance(last, int)
        and not isinstance(first, bool)
        and 0 <= first <= last < 2**31
        and last - first <= LONGEST
        and len(counts) > 0
        and all(isinstance(n, dict) and {"not_finite", "values"} <= n.keys() for n in counts)
        and isinstance(record.get("tensor"), str)
    )


def skips(folder: Path) -> list[dict[str, Any]]:
    """Read the records of the divergences that the run has continued from, in order.

    Raises:
        BadInput: the file cannot be read.
    """
    file = folder / SKIPPED
    found = log.read(file) if file.exists() else []
    if not all(map(_tells, found)):
        raise BadInput(f"{str(file)!r} is not readable; which steps the run left out is not known.")
    return found


def skipped(records: Sequence[Mapping[str, Any]]) -> list[range]:
    """The steps left out, by the numbers of updates before them, as `loop.skip_steps` has them."""
    return [range(record["first"], record["last"]) for record in records]


def said(folder: Path, record: Mapping[str, Any]) -> str:
    """Describe a record of a divergence in one line."""
    first, last = record["first"], record["last"]
    place = f"in steps {first + 1} to {last}" if last > first + 1 else f"at step {last}"
    turn = record.get("turn")
    whose = f", turn of {turn}" if turn else ""
    name, counts = next(iter(record["tensors"].items()))
    return (
        f"diverged {place}{whose}: {name} is not finite ({counts['not_finite']} of "
        f"{counts['values']} values); the state before it is in {folder / STATE}"
    )
