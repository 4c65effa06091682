"""The contents of a run's or a sweep's folder, read without writing or locking.

Files that are missing or cannot be read are listed in `notes` and do not raise, so that one broken
run does not hide the others.
"""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from latentgen.core.errors import BadInput
from latentgen.evaluation.measures.results import EVALUATIONS
from latentgen.storage import evidence, workdir
from latentgen.storage.log import METRICS, read
from latentgen.storage.status import STATUS
from latentgen.sweeps.folder import MANIFEST, RUNS, SWEEP, is_name, standing
from latentgen.sweeps.results import RESULTS
from latentgen.training.setup import COLLAPSED, SUMMARY

KINDS = ("samples", "reconstructions")
"""Folders of pictures of fixed codes or fixed inputs, by step."""

_STEP = re.compile(r"step_(\d+)\.png")
_NO_METRIC = {"run", "setting", "seed", "status", "reason", "step", "seconds"}


class Member(NamedTuple):
    """A run, alone or of a sweep.

    changes: a sweep's member's changes of the base config, by key.
    status: running, done, diverged, failed, preempted, timed_out, pending, or unfinished if it is
        not known.
    lines: lines of metrics.jsonl.
    skipped: steps left out after a divergence.
    final: last value of each metric, by 'split/term' or 'metric/value'.
    pictures: for each of KINDS, files by step.
    notes: files that could not be read.
    """

    folder: Path
    name: str
    setting: str
    seed: int | None
    changes: dict[str, Any]
    config: dict[str, Any]
    status: str
    reason: str | None
    attempts: int | None
    collapsed: int | None
    skipped: list[Any]
    step: int
    seconds: float
    lines: list[dict[str, Any]]
    summary: dict[str, Any]
    evaluations: list[dict[str, Any]]
    final: dict[str, float]
    pictures: dict[str, dict[int, Path]]
    notes: list[str]


class Folder(NamedTuple):
    """The subject of a page: one run, or a sweep of many.

    origin: content of sweep.json; for a run, of its summary.json.
    summary: content of a sweep's summary.json.
    """

    path: Path
    is_sweep: bool
    config: dict[str, Any]
    varied: list[str]
    members: list[Member]
    origin: dict[str, Any]
    summary: dict[str, Any]
    notes: list[str]


def section(value: Any) -> dict[str, Any]:
    """Return `value` as a dict if it is a mapping, else {}; files may have any content."""
    return dict(value) if isinstance(value, Mapping) else {}


def number(value: Any) -> float | None:
    """Convert a value of JSON or CSV, or an estimate's mean, to a float; None: not a number."""
    if isinstance(value, Mapping):
        value = value.get("mean")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def open_folder(path: Path) -> Folder:
    """Read the run or the sweep in this folder.

    Raises:
        BadInput: the folder holds neither.
    """
    if (path / SWEEP).is_file() or (path / MANIFEST).is_file():
        return _sweep(path)
    if (path / workdir.CONFIG).is_file():
        member = run(path)
        config, notes = dict(member.config), list(member.notes)
        return Folder(
            path=path,
            is_sweep=False,
            config=config,
            varied=[],
            members=[member],
            origin=member.summary,
            summary={},
            notes=notes,
        )
    raise BadInput(
        f"workdir={str(path)!r} holds neither a run ({workdir.CONFIG}) nor a sweep ({SWEEP})."
    )


def run(path: Path, entry: Mapping[str, Any] | None = None) -> Member:
    """Read the run in this folder; `entry` is its line in a sweep's manifest."""
    entry, notes = entry or {}, list[str]()
    config = workdir.without_history(_json(path / workdir.CONFIG, notes))
    summary = _json(path / SUMMARY, notes)
    lines, evaluations = (_lines(path / name, notes) for name in (METRICS, EVALUATIONS))
    lines = [line for line in lines if _is_figure(line)]
    status_json = _json(path / STATUS, notes)
    diverged = _json(path / evidence.DIVERGED, notes)
    status, reason = _status(path, status_json, summary, diverged)
    name = str(entry.get("run", path.absolute().name))
    return Member(
        folder=path,
        name=name,
        setting=str(entry.get("setting", name)),
        seed=entry.get("seed", config.get("seed")),
        changes=section(entry.get("changes")),
        config=config,
        status=status,
        reason=reason,
        attempts=status_json.get("attempts"),
        collapsed=_json(path / COLLAPSED, notes).get("step"),
        skipped=[line.get("step") for line in _lines(path / evidence.SKIPPED, notes)],
        step=max((int(line["step"]) for line in lines), default=0),
        seconds=max((number(line.get("seconds")) or 0.0 for line in lines), default=0.0),
        lines=lines,
        summary=summary,
        evaluations=evaluations,
        final=final_metrics(lines, evaluations),
        pictures={kind: pictures(path / kind) for kind in KINDS},
        notes=notes,
    )


def _is_figure(line: Mapping[str, Any]) -> bool:
    """Return whether a line of metrics.jsonl names its step and split."""
    step = line.get("step")
    known = isinstance(step, int | float) and math.isfinite(step) and abs(step) < 2**53
    return known and isinstance(line.get("split"), str)


def final_metrics(
    lines: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]]
) -> dict[str, float]:
    """Return the last value of each metric: 'validation/loss', 'frechet/frechet_distance'."""
    found: dict[str, float] = {}
    for line in lines:
        for term, value in line.items():
            if term not in ("step", "seconds", "split") and (x := number(value)) is not None:
                found[f"{line['split']}/{term}"] = x
    for line in evaluations:
        for term, value in section(line.get("values")).items():
            if (x := number(value)) is not None:
                found[f"{line.get('metric')}/{term}"] = x
    return found


def _status(
    path: Path,
    status_json: Mapping[str, Any],
    summary: Mapping[str, Any],
    diverged: Mapping[str, Any],
) -> tuple[str, str | None]:
    """Return (status, reason) from status.json, or else from the other files."""
    found = "diverged" if diverged else "done" if summary else "unfinished"
    if not path.is_dir():
        found = "pending"
    status, reason = str(status_json.get("status", found)), status_json.get("reason")
    if status == "diverged" and not reason and diverged:
        counts = section(section(diverged.get("tensors")).get(str(diverged.get("tensor"))))
        some = f" ({counts.get('not_finite')} of {counts.get('values')} values)" if counts else ""
        reason = f"{diverged.get('tensor')} is not finite{some} at step {diverged.get('step')}"
    if status == "running" and (now := standing(path)).status == "preempted":
        status, reason = now
    if status == "running" and not reason and status_json.get("beat"):
        reason = f"last sign of life {status_json['beat']} from {status_json.get('host')}"
    return status, None if reason is None else str(reason)


def _sweep(path: Path) -> Folder:
    notes: list[str] = []
    origin = _json(path / SWEEP, notes)
    lines = _lines(path / MANIFEST, notes)
    entries = [line for line in lines if is_name(line.get("run"))]
    if len(entries) < len(lines):
        notes.append(f"{MANIFEST} names {len(lines) - len(entries)} runs that are no folder's.")
    if not entries:
        notes.append(f"{MANIFEST} names no runs.")
    rows = _results(path / RESULTS, notes)
    members = [
        _completed(run(path / RUNS / str(entry["run"]), entry), rows.get(str(entry["run"]), {}))
        for entry in entries
    ]
    for member in members:
        notes += [f"{member.name}: {note}" for note in member.notes]
    varied = sorted({key for member in members for key in member.changes})
    config, summary = section(origin.get("config")), _json(path / SUMMARY, notes)
    return Folder(
        path=path,
        is_sweep=True,
        config=config,
        varied=varied,
        members=members,
        origin=origin,
        summary=summary,
        notes=notes,
    )


def _completed(member: Member, row: Mapping[str, str]) -> Member:
    """Complete a member with values of results.csv that its folder lacks."""
    known = set(member.changes) | {key.removeprefix("config.") for key in member.changes}
    extra = {
        name: value
        for name, cell in row.items()
        if name not in _NO_METRIC | known and (value := number(cell)) is not None
    }
    member = member._replace(final={**{k: v for k, v in extra.items() if "/" in k}, **member.final})
    if member.status != "pending" or not row.get("status"):
        return member
    return member._replace(
        status=row["status"],
        reason=row.get("reason") or None,
        step=int(number(row.get("step", "")) or 0),
        seconds=number(row.get("seconds", "")) or 0.0,
    )


def _results(path: Path, notes: list[str]) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    try:
        with workdir.opened(path, "r", newline="", errors="replace") as file:
            rows = list(csv.DictReader(file))
    except (csv.Error, OSError) as error:
        notes.append(f"{path.name} cannot be read: {error}.")
        return {}
    return {row["run"]: row for row in rows if row.get("run")}


def _json(path: Path, notes: list[str]) -> dict[str, Any]:
    """Read a JSON object; return {} and add a note if it cannot be read."""
    try:
        found = workdir.parsed(workdir.read_text(path, "replace"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, OSError):
        found = None
    if not isinstance(found, dict):
        notes.append(f"{path.name} cannot be read.")
        return {}
    return found


def _lines(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Read a file of JSON lines; return [] and add a note if it cannot be read."""
    try:
        return read(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (BadInput, ValueError, OSError) as error:
        notes.append(f"{path.name} cannot be read: {error}")
        return []


def pictures(path: Path) -> dict[int, Path]:
    """Return the pictures in a folder such as `samples`, by increasing step."""
    if not path.is_dir() or path.is_symlink():
        return {}
    found = {int(m[1]): p for p in path.iterdir() if (m := _STEP.fullmatch(p.name))}
    return dict(sorted(found.items()))


def curve(member: Member, split: str, term: str) -> list[tuple[float, float]]:
    """Return (step, value) of a term, finite values only."""
    points = [
        (float(line["step"]), value)
        for line in member.lines
        if line["split"] == split and (value := number(line.get(term))) is not None
    ]
    return [(step, value) for step, value in points if math.isfinite(value)]
