"""Comparison of a run's states by a measure that is taken during training."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from latentgen.core.types import PyTree

SPLIT = "evaluation"
"""Split of the lines of `metrics.jsonl` that hold the measure's values."""


class Evaluation(NamedTuple):
    """A measure to take during training.

    measure: (step, state) -> values by name
    names: names of the value by which states are compared: the first that the measure returns;
        () if they cannot be compared
    sign: 1 if higher is better, -1 if lower is
    """

    measure: Callable[[int, PyTree], dict[str, float]]
    names: tuple[str, ...] = ()
    sign: int = -1


class Best(NamedTuple):
    """The best evaluation so far.

    later: number of evaluations after it
    """

    step: int
    name: str
    value: float
    later: int


def best_of(
    lines: Iterable[Mapping[str, Any]], evaluation: Evaluation, last: float | int = math.inf
) -> Best | None:
    """Find the best evaluation in lines of `metrics.jsonl`; of equal ones, the first.

    Args:
        last: the last step that counts.

    Returns:
        None if no line has a finite value by which states are compared.
    """
    best: Best | None = None
    for line in lines:
        if line["split"] != SPLIT or line["step"] > last:
            continue
        found = compared(line, evaluation)
        if found is not None and (best is None or evaluation.sign * (found[1] - best.value) > 0):
            best = Best(line["step"], *found, later=0)
        elif best is not None:
            best = best._replace(later=best.later + 1)
    return best


def compared(values: Mapping[str, Any], evaluation: Evaluation) -> tuple[str, float] | None:
    """Return name and value by which states are compared; None if it is missing or not finite."""
    name = next((name for name in evaluation.names if name in values), None)
    if name is None or not math.isfinite(value := float(values[name])):
        return None
    return name, value
