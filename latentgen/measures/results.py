"""Results that were written, and whether they may stand side by side."""

from pathlib import Path
from typing import Any

from latentgen.errors import BadInput
from latentgen.training.log import read
from latentgen.training.workdir import differences

EVALUATIONS = "evaluations.jsonl"
ALIKE = ("metric", "split", "protocol", "data")  # what two results must agree in


def shown(value: Any) -> str:
    """A figure in words: a mean with its standard error, a number, or a list of them."""
    if isinstance(value, dict):
        return f"{value['mean']:12.4f} +- {value['standard_error']:.4f}"
    if isinstance(value, list):
        return " ".join(f"{each:.3g}" for each in value)
    return f"{value:12d}" if isinstance(value, int) else f"{value:12.4f}"


def last(folder: Path, metric: str) -> dict[str, Any]:
    """The newest result of this metric in the folder.

    Raises:
        BadInput: there is none.
    """
    file = folder / EVALUATIONS
    found = [line for line in read(file) if line["metric"] == metric] if file.exists() else []
    if not found:
        raise BadInput(
            f"--workdirs: {str(folder)!r} has no result of {metric!r}; "
            f"python -m latentgen.evaluate --workdir {folder} --metrics={metric} makes one."
        )
    return found[-1]


def compared(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The values of each result, if they were come by in the same way.

    Raises:
        BadInput: two differ in their protocol, split or data; names in what.
    """
    (first, reference), *others = results.items()
    for name, result in others:
        old, new = ({key: each[key] for key in ALIKE} for each in (reference, result))
        if unlike := differences(old, new):
            words = "; ".join(unlike).replace(" in the workdir", f" in {first}")
            raise BadInput(f"{name} cannot be compared with {first}: {words.replace(' now', '')}.")
    return {name: result["values"] for name, result in results.items()}
