"""Results of a sweep: a row for each run, a row for each setting."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from latentgen.evaluation.measures.results import evaluated
from latentgen.metrics.intervals import spread
from latentgen.storage import status, workdir
from latentgen.storage.log import METRICS, figures, warn
from latentgen.sweeps.folder import Sweep, standing
from latentgen.sweeps.plan import Member
from latentgen.training import setup

RESULTS, SETTINGS, SUMMARY = "results.csv", "summary.csv", "summary.json"
COUNTED = (status.DONE, status.DIVERGED, status.FAILED)
OF_A_METRIC = ("n", "mean", "sd", "low", "high", "median")

Row = dict[str, Any]


def row(sweep: Sweep, member: Member) -> Row:
    """Return a member's row: its status, its last metrics and its evaluations.

    Damaged lines of its files are left out, with a warning.
    """
    run_folder = sweep.run_folder(member.run)
    current = standing(run_folder)
    damaged: list[str] = []
    lines = figures(run_folder / METRICS, damaged) if (run_folder / METRICS).exists() else []
    measured = _evaluated(run_folder, damaged)
    warn(damaged)
    last = {line["split"]: line for line in lines}
    found: Row = {
        **{"run": member.run, "setting": member.setting, "seed": member.seed},
        **member.changes,
        **{"status": current.status, "reason": current.reason},
        "step": max((line["step"] for line in lines), default=0),
        "seconds": max((line["seconds"] for line in lines), default=0.0),
    }
    for split, line in last.items():
        drop = ("step", "seconds", "split")
        found |= {f"{split}/{name}": value for name, value in line.items() if name not in drop}
    return found | _best(run_folder) | measured


def _best(run_folder: Path) -> Row:
    """Return step and value of the best evaluation in training, if there was any."""
    best = (setup.summary(run_folder) or {}).get("best")
    if not isinstance(best, Mapping) or not {"step", "name", "value"} <= best.keys():
        return {}
    return {"best/step": best["step"], f"best/{best['name']}": best["value"]}


def _evaluated(run_folder: Path, damaged: list[str]) -> Row:
    """Return the newest values of each measure, by measure/name."""
    found: Row = {}
    for line in evaluated(run_folder, damaged):
        for name, value in line["values"].items():
            value = value["mean"] if isinstance(value, Mapping) and "mean" in value else value
            if isinstance(value, int | float):
                found[f"{line['metric']}/{name}"] = value
    return found


def settings(rows: Sequence[Row]) -> list[Row]:
    """Summarize each setting: counts of its runs by status, and each metric's mean and interval.

    Means are over runs that are done. Runs that diverged or failed are only counted.
    """
    found = []
    for setting in dict.fromkeys(r["setting"] for r in rows):
        members_rows = [r for r in rows if r["setting"] == setting]
        done = [r for r in members_rows if r["status"] == status.DONE]
        names = dict.fromkeys(name for r in done for name in r if "/" in name)
        values = {n: [float(r[n]) for r in done if _finite(r.get(n))] for n in names}
        found.append(
            {
                "setting": setting,
                "changes": _changes(members_rows[0]),
                "n": len(members_rows),
                **{name: sum(r["status"] == name for r in members_rows) for name in COUNTED},
                "metrics": {name: spread(v)._asdict() for name, v in values.items() if v},
            }
        )
    return found


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _changes(row: Row) -> Row:
    fixed = ("run", "setting", "seed", "status", "reason", "step", "seconds")
    return {key: value for key, value in row.items() if key not in fixed and "/" not in key}


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Format rows as CSV, with a column for each key of any row."""
    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for each in rows:
        writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in each.items()})
    return text.getvalue()


def flat(setting: Row) -> Row:
    """Flatten a setting's summary to one row: metrics as NAME:mean, NAME:sd, ..."""
    found = {"setting": setting["setting"], **setting["changes"]}
    found |= {key: setting[key] for key in ("n", *COUNTED)}
    for name, values in setting["metrics"].items():
        found |= {f"{name}:{key}": values[key] for key in OF_A_METRIC}
    return found


def gathered(sweep: Sweep) -> list[Row]:
    """Return a row for each member."""
    return [row(sweep, member) for member in sweep.members]


def write(sweep: Sweep, rows: list[Row] | None = None) -> list[Row]:
    """Write results.csv, summary.csv and summary.json; return a row for each member.

    Args:
        rows: the rows of the members; None: gather them.
    """
    rows = gathered(sweep) if rows is None else rows
    summaries = settings(rows)
    for name, lines in ((RESULTS, rows), (SETTINGS, map(flat, summaries))):
        workdir.write_bytes(sweep.folder / name, table(lines).encode(errors="backslashreplace"))
    counts = {name: sum(r["status"] == name for r in rows) for name in COUNTED}
    workdir.write_json(
        sweep.folder / SUMMARY, {"runs": len(rows), **counts, "settings": summaries, **sweep.record}
    )
    return rows
