"""Results that were written, and whether they may stand side by side."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentgen.core.errors import BadInput
from latentgen.storage.log import read
from latentgen.storage.workdir import differences

EVALUATIONS = "evaluations.jsonl"
ALIKE = ("metric", "split", "protocol", "data")  # what two results must agree in
ERROR = "_standard_error"  # behind the name of a figure that is a number
BESIDE = {"real": "real", "removed": "one mode removed", "noise": "noise"}
"""Before the name of a figure: of what else it is, in words."""


def shown(value: Any) -> str:
    """A figure in words: a mean with its standard error, a number, or a list of them."""
    if isinstance(value, dict):
        mean, error = (_number(value[key]) for key in ("mean", "standard_error"))
        return f"{mean:12.4f}" + (f" +- {error:.4f}" if math.isfinite(error) else "")
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return " ".join(f"{each:.3g}" for each in value)
    return f"{value:12d}" if isinstance(value, int) else f"{value:12.4f}"


def _number(value: Any) -> float:
    """As `workdir.json_safe` writes it; nan for what is none."""
    return float(value) if isinstance(value, int | float | str) else math.nan


def lines(values: Mapping[str, Any]) -> list[str]:
    """Figures as they are printed, each with its standard error and what it is held to, if any."""
    found = []
    for key, value in values.items():
        prefix, _, rest = key.partition("_")
        if key.endswith(ERROR) or (prefix in BESIDE and rest in values):
            continue
        error = values.get(key + ERROR)
        figure = value if error is None else {"mean": value, "standard_error": error}
        others = [f"{BESIDE[name]} {shown(values[f'{name}_{key}']).strip()}"
                  for name in BESIDE if f"{name}_{key}" in values]  # fmt: skip
        found.append(f"{key:28} {shown(figure)}" + (f"   ({', '.join(others)})" if others else ""))
    return found


def evaluated(folder: Path) -> list[dict[str, Any]]:
    """The results in the folder, oldest first; none where nothing was evaluated.

    Raises:
        BadInput: a line is none.
    """
    file = folder / EVALUATIONS
    found = read(file) if file.exists() else []
    for number, line in enumerate(found, 1):
        values = line.get("values")
        if not isinstance(line.get("metric"), str) or not isinstance(values, dict):
            raise BadInput(f"{str(file)!r} line {number} is not what latentgen.evaluate writes.")
        line["values"] = {name: _plain(value) for name, value in values.items()}
    return found


def _plain(value: Any) -> Any:
    """A figure as `shown` takes it; what is none as its JSON."""
    each = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
    )
    known = not isinstance(value, dict) or {"mean", "standard_error"} <= value.keys()
    fits = known and all(isinstance(x, int | float) or x == "nan" for x in each)
    return value if fits else json.dumps(value)


def last(folder: Path, metric: str) -> dict[str, Any]:
    """The newest result of this metric in the folder.

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
    """The values of each result, if they were come by in the same way.

    Raises:
        BadInput: two differ in their protocol, split or data; names in what.
    """
    (first, reference), *others = results.items()
    for name, result in others:
        old, new = (
            {key: each.get(key) for key in ALIKE} | {"weights": _weights(each)}
            for each in (reference, result)
        )
        if unlike := differences(old, new):
            words = "; ".join(unlike).replace(" in the workdir", f" in {first}")
            raise BadInput(f"{name} cannot be compared with {first}: {words.replace(' now', '')}.")
    return {name: result["values"] for name, result in results.items()}


def _weights(line: Mapping[str, Any]) -> str:
    """'those that are sampled', or which others.

    Before `weights` was written, 'terms' were of the last step's and all else of the sampled ones.
    """
    method = line.get("method")
    sampled = "ema" if isinstance(method, Mapping) and method.get("ema_decay") else "raw"
    said = line.get("weights", "raw" if line.get("metric") == "terms" else sampled)
    return "those that are sampled" if said == sampled else str(said)
