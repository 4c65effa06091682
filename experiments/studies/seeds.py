"""Training of the rows of a study, each with several seeds, and tables of what was measured.

A run has a folder of its own, in which the same command continues. Its figures are appended to a
JSON file as soon as they are measured, so that a study can be cut off and go on anywhere.
"""

import argparse
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scipy import stats

from latentgen.evaluation.measures.results import last
from latentgen.storage.workdir import read_json, write_json


class Row(NamedTuple):
    """A recipe of `experiments/` and what the study changes in it, key -> value."""

    recipe: str
    changes: Mapping[str, Any] = {}

    def flags(self, seed: int) -> list[str]:
        """Return the arguments of `latentgen.run`."""
        changes = {**self.changes, "seed": seed}
        overrides = [f"--config.{key}={_text(value)}" for key, value in changes.items()]
        return [f"--config=experiments/{self.recipe}", *overrides]


def _text(value: Any) -> str:
    if isinstance(value, tuple) and all(isinstance(each, int) for each in value):
        return ",".join(map(str, value)) + ("," if len(value) == 1 else "")
    return str(value)


class Study(NamedTuple):
    """Rows to train, and what is measured of each.

    metrics: names for `latentgen.evaluate`
    columns: (metric, value) -> heading of the table
    references: prefixes of values that stand below the rows (real data, noise, ...), or one value's
        name, such as 'floor'
    measured: further flags of `latentgen.evaluate`
    """

    rows: Mapping[str, Row]
    metrics: tuple[str, ...]
    columns: Mapping[tuple[str, str], str]
    references: tuple[str, ...] = ("real", "noise")
    measured: tuple[str, ...] = ()


Figures = dict[str, dict[str, Any]]
"""metric -> value by name."""


def run(row: Row, seed: int, study: Study, folder: Path, flags: Sequence[str]) -> dict[str, Any]:
    """Train a row with a seed, or continue it, and measure it.

    Args:
        flags: of the data, for all commands: --data_dir, --manual_dir.
    """
    _command("run", *row.flags(seed), f"--workdir={folder}", *flags)
    summary = read_json(folder / "summary.json")  # seconds: those of earlier calls too
    names = ",".join(study.metrics)
    _command("evaluate", f"--workdir={folder}", f"--metrics={names}", *study.measured, *flags)
    values: Figures = {metric: last(folder, metric)["values"] for metric in study.metrics}
    trained = {"seconds": round(summary["seconds"]), "device": summary["device"]["kind"]}
    return {"flags": row.flags(seed), **trained, "values": values}


def _command(module: str, *flags: str) -> None:
    subprocess.run([sys.executable, "-m", f"latentgen.{module}", *flags], check=True)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean, and half of its 95% interval by Student's t; nan for one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, math.nan
    quantile = float(stats.t.ppf(0.975, len(values) - 1))
    return mean, quantile * statistics.stdev(values) / math.sqrt(len(values))


def table(study: Study, results: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the means over seeds as a table of Markdown, with the references of the first row.

    Args:
        results: row -> seed -> what `run` returned.
    """
    lines = ["| | " + " | ".join(study.columns.values()) + " | seeds | minutes |"]
    lines.append("|---" * (len(study.columns) + 3) + "|")
    for row, by_seed in results.items():
        runs = list(by_seed.values())
        cells = [
            _cell([float(each["values"][m][name]) for each in runs]) for m, name in study.columns
        ]
        lines.append(f"| {row} | " + " | ".join(cells) + f" | {len(runs)} | {_minutes(runs)} |")
    first = next(iter(next(iter(results.values())).values()))["values"] if results else {}
    for prefix in study.references if first else ():
        found = [
            first[m].get(f"{prefix}_{name}", first[m].get(prefix)) for m, name in study.columns
        ]
        cells = ["" if value is None else f"{float(value):.4g}" for value in found]
        lines.append(f"| *{prefix}* | " + " | ".join(cells) + " | | |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    mean, half = interval(values)
    return f"{mean:.4g}" + ("" if math.isnan(half) else f" ± {half:.2g}")


def _minutes(runs: Sequence[Mapping[str, Any]]) -> str:
    """Write the mean time on each kind of device."""
    by_device: dict[str, list[float]] = {}
    for each in runs:
        by_device.setdefault(each["device"], []).append(each["seconds"] / 60)
    return ", ".join(f"{statistics.fmean(m):.0f} ({device})" for device, m in by_device.items())


def main(study: Study, name: str, doc: str | None, argv: Sequence[str] | None = None) -> None:
    """Train what is not yet measured, seed by seed, and print the table after each run.

    Args:
        name: of the folder in `runs/` and of the file in `experiments/studies/results/`.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("runs", name))
    results_file = Path(__file__).parent / "results" / f"{name}.json"
    parser.add_argument("--results", type=Path, default=results_file)
    parser.add_argument("--rows", nargs="*", default=list(study.rows), choices=list(study.rows))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    options, flags = parser.parse_known_args(argv)
    results = read_json(options.results) if options.results.exists() else {}
    for seed in options.seeds:
        for row in options.rows:
            known = results.get(row, {}).get(str(seed))
            if known is not None and known["flags"] == study.rows[row].flags(seed):
                continue
            found = run(study.rows[row], seed, study, options.folder / f"{row}-{seed}", flags)
            results.setdefault(row, {})[str(seed)] = found
            options.results.parent.mkdir(parents=True, exist_ok=True)
            write_json(options.results, results)
            print(table(study, results), flush=True)
    print(table(study, {row: results[row] for row in study.rows if row in results}))
