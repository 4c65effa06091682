"""Records of a run's divergence, which `training/trainer.py` writes into its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentgen.core.errors import BadInput
from latentgen.storage import log, workdir

DIVERGED = "diverged.json"
"""The divergence that ended the run."""

SKIPPED = "skipped.jsonl"
"""Divergences whose steps the run left out and continued, one a line."""

STATE = "diverged"
"""Folder with the checkpoints of the state before each divergence."""


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
    if not _is_record(record):
        raise BadInput(f"{str(folder / DIVERGED)!r} is not readable; remove it to train again.")
    return record


LONGEST = 10**6
"""Maximum number of steps between `first` and `last` of a record."""


def _is_record(record: Any) -> bool:
    """Return whether `record` has the fields that `trainer.leave` writes."""
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
    if not all(map(_is_record, found)):
        raise BadInput(f"{str(file)!r} is not readable; which steps the run left out is not known.")
    return found


def skipped(records: Sequence[Mapping[str, Any]]) -> list[range]:
    """Return the ranges of steps left out, as `loop.skip_steps` takes them."""
    return [range(record["first"], record["last"]) for record in records]


def message(folder: Path, record: Mapping[str, Any]) -> str:
    """Describe a record of a divergence in one line."""
    first, last = record["first"], record["last"]
    steps = f"in steps {first + 1} to {last}" if last > first + 1 else f"at step {last}"
    turn = record.get("turn")
    suffix = f", turn of {turn}" if turn else ""
    name, counts = next(iter(record["tensors"].items()))
    return (
        f"diverged {steps}{suffix}: {name} is not finite ({counts['not_finite']} of "
        f"{counts['values']} values); the state before it is in {folder / STATE}"
    )
