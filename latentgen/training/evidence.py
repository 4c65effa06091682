"""What a run's folder says of how it diverged: written by `solo.py`, read by whoever looks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentgen.errors import BadInput
from latentgen.training import log, workdir

DIVERGED = "diverged.json"
"""Where the run has ended by it."""

SKIPPED = "skipped.jsonl"
"""Where it has gone on without the step: a line for each."""

STATE = "diverged"
"""The checkpoints of the state before each."""


def diverged(folder: Path) -> dict[str, Any] | None:
    """What the folder's run says of how it diverged; None where it has not.

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
    """Whether it is what `solo.leave` writes, as far as it is read again."""
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
    """What the folder's run says of each divergence that it has gone on from, in order.

    Raises:
        BadInput: the file cannot be read.
    """
    file = folder / SKIPPED
    found = log.read(file) if file.exists() else []
    if not all(map(_tells, found)):
        raise BadInput(f"{str(file)!r} is not readable; which steps the run left out is not known.")
    return found


def skipped(records: Sequence[Mapping[str, Any]]) -> list[range]:
    """The steps left out, by the numbers of updates before them, as `loop.leaving_out` has them."""
    return [range(record["first"], record["last"]) for record in records]


def said(folder: Path, record: Mapping[str, Any]) -> str:
    """What `diverged` found, in a line."""
    first, last = record["first"], record["last"]
    place = f"in steps {first + 1} to {last}" if last > first + 1 else f"at step {last}"
    turn = record.get("turn")
    whose = f", turn of {turn}" if turn else ""
    name, counts = next(iter(record["tensors"].items()))
    return (
        f"diverged {place}{whose}: {name} is not finite ({counts['not_finite']} of "
        f"{counts['values']} values); the state before it is in {folder / STATE}"
    )
