"""Written results of measures: how they are printed, read and compared."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentgen.configs.section import is_averaged
from latentgen.core.errors import BadInput
from latentgen.storage.log import read
from latentgen.storage.workdir import differences

EVALUATIONS = "evaluations.jsonl"
COMPARED_KEYS = ("metric", "split", "protocol", "data")  # equal in results that may be compared
ERROR = "_standard_error"  # suffix of the name of a standard error
REFERENCES = {
    "real": "real",
    "removed": "one mode removed",
    "noise": "noise",
    "another": "another real image",
}
"""Prefix of a value's name -> description of the examples that replace the synthetic ones."""


def shown(value: Any) -> str:
    """Format a mean with its standard error, a number, or a list of numbers."""
    if isinstance(value, dict):
        mean, error = (_number(value[key]) for key in ("mean", "standard_error"))
        return f"{mean:12.4f}" + (f" +- {error:.4f}" if math.isfinite(error) else "")
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(f"{each:.3g}" for each in value)
    return f"{value:12d}" if isinstance(value, int) else f"{value:12.4f}"


def _number(value: Any) -> float:
    """Convert a number that `workdir.json_safe` wrote; return nan for anything else."""
    return float(value) if isinstance(value, int | float | str) else math.nan


def lines(values: Mapping[str, Any]) -> list[str]:
    """Format values for printing, each with its standard error and its references, if any."""
    found = []
    for key, value in values.items():
        prefix, _, rest = key.partition("_")
        if key.endswith(ERROR) or (prefix in REFERENCES and rest in values):
            continue
        error = values.get(key + ERROR)
        figure = value if error is None else {"mean": value, "standard_error": error}
        others = [f"{REFERENCES[name]} {shown(values[f'{name}_{key}']).strip()}"
                  for name in REFERENCES if f"{name}_{key}" in values]  # fmt: skip
        found.append(f"{key:28} {shown(figure)}" + (f"   ({', '.join(others)})" if others else ""))
    return found


def evaluated(folder: Path, left_out: list[str] | None = None) -> list[dict[str, Any]]:
    """Read the results in a run's folder, oldest first; none if it was not evaluated.

    Args:
        left_out: takes a sentence for each line that is not a result, which is then left out.

    Raises:
        BadInput: a line is not a result and `left_out` is None.
    """
    file = folder / EVALUATIONS
    found = read(file, left_out, _check) if file.exists() else []
    return [
        line | {"values": {name: _plain(value) for name, value in line["values"].items()}}
        for line in found
    ]


def _check(path: Path, number: int, line: Mapping[str, Any]) -> None:
    if not isinstance(line.get("metric"), str) or not isinstance(line.get("values"), dict):
        raise BadInput(f"{str(path)!r} line {number} is not what latentgen.evaluate writes.")


def _plain(value: Any) -> Any:
    """Return a value as `shown` takes it; convert any other to JSON."""
    each = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    )
    known = not isinstance(value, dict) or {"mean", "standard_error"} <= value.keys()
    fits = known and all(isinstance(x, int | float) or x == "nan" for x in each)
    return value if fits else json.dumps(value)


def last(folder: Path, metric: str) -> dict[str, Any]:
    """Return the newest result of this metric in a run's folder.

    Raises:
        BadInput: there is none.
    """
    found = [line for line in evaluated(folder) if line["metric"] == metric]
    if not found:
        raise BadInput(
            f"--workdirs: {str(folder)!r} has no result of {metric!r}; "
            f"python -m latentgen.evaluate --workdir {folder} --metrics={metric} makes one."
        )
    return found[-1]


def compared(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the values of each result, if their protocols are the same.

    Raises:
        BadInput: two differ in their protocol, split, data or weights; the message says how.
    """
    (first, reference), *others = results.items()
    for name, result in others:
        old, new = (
            {key: each.get(key) for key in COMPARED_KEYS} | {"weights": _weights(each)}
            for each in (reference, result)
        )
        if different := differences(old, new):
            reasons = "; ".join(different).replace(" in the workdir", f" in {first}")
            raise BadInput(
                f"{name} cannot be compared with {first}: {reasons.replace(' now', '')}."
            )
    return {name: result["values"] for name, result in results.items()}


def _weights(line: Mapping[str, Any]) -> str:
    """Return which weights were measured: 'those that are sampled', or their name.

    In results without the key `weights`, 'terms' are of the raw weights, all others of the sampled.
    """
    method = line.get("method")
    sampled = "ema" if isinstance(method, Mapping) and is_averaged(method) else "raw"
    weights = line.get("weights", "raw" if line.get("metric") == "terms" else sampled)
    return "those that are sampled" if weights == sampled else str(weights)
