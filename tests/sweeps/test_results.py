"""A sweep's tables, from folders whose figures are known."""

import csv
import json
from pathlib import Path

import commands
import pytest
from small import LR, opened, trained

from latentgen.storage import status, workdir
from latentgen.sweeps import folder, results


def write(place: Path, ended: str, loss: float, evaluated: dict | None = None) -> None:
    """Write the files of a run that ended with this status and loss."""
    place.mkdir(parents=True)
    status.StatusWriter(place).end(ended, None if ended == "done" else "said why")
    lines = [(10, "train", 9.0), (20, "train", loss), (20, "validation", loss + 1)]
    for step, split, value in lines:
        row = {"step": step, "seconds": step / 10, "split": split, "loss": value}
        workdir.append_json(place / "metrics.jsonl", row)
    if ended == "done":
        workdir.write_json(place / "config.json", {"steps": 20})
        workdir.write_json(place / "summary.json", {"steps": 20, "final": {}})
    for value in (99.0, evaluated):  # the newest counts
        if evaluated is not None:
            line = {"metric": "terms", "values": value if value is evaluated else {"elbo": value}}
            workdir.append_json(place / "evaluations.jsonl", line)


@pytest.fixture
def sweep(tmp_path: Path) -> folder.Sweep:
    rows = [{LR: lr, "config.seed": seed} for lr in (1e-3, 2e-3) for seed in range(3)]
    found = opened(tmp_path / "sweep", rows)
    elbo = {"elbo": {"mean": 7.0, "standard_error": 0.1, "n": 5}, "kept": "by hand"}
    ends = [
        *[("done", 1.0, elbo), ("done", 2.0, None), ("done", 6.0, None)],
        *[("done", 4.0, None), ("diverged", 5.0, None), ("failed", 5.0, None)],
    ]
    for member, end in zip(found.members, ends, strict=True):
        write(found.run_folder(member.run), *end)
    return found


def test_means_are_over_those_that_are_done_and_the_others_are_counted(sweep) -> None:
    rows = results.write(sweep)
    summary = json.loads((sweep.folder / "summary.json").read_text())
    first, second = summary["settings"]
    assert [first[word] for word in ("n", "done", "diverged", "failed")] == [3, 3, 0, 0]
    assert [second[word] for word in ("n", "done", "diverged", "failed")] == [3, 1, 1, 1]
    loss = first["metrics"]["train/loss"]
    assert (loss["n"], loss["mean"], loss["median"]) == (3, 3.0, 2.0)
    assert loss["sd"] == pytest.approx(7**0.5)  # of 1, 2, 6
    assert loss["high"] - 3.0 == pytest.approx(4.30265 * 7**0.5 / 3**0.5, rel=1e-5)
    assert first["metrics"]["validation/loss"]["mean"] == 4.0
    assert first["metrics"]["terms/elbo"] == {
        **{"n": 1, "mean": 7.0, "median": 7.0},
        **dict.fromkeys(("sd", "low", "high")),
    }
    assert second["metrics"]["train/loss"]["mean"] == 4.0
    table = list(csv.DictReader((sweep.folder / "results.csv").read_text().splitlines()))
    assert [row["status"] for row in table] == [row["status"] for row in rows]
    assert table[0]["terms/elbo"] == "7.0"
    assert table[4]["reason"] == "said why"
    assert [float(row["generator_optimizer.lr"]) for row in table] == [1e-3] * 3 + [2e-3] * 3
    flat = list(csv.DictReader((sweep.folder / "summary.csv").read_text().splitlines()))
    assert float(flat[0]["train/loss:mean"]) == 3.0
    assert flat[1]["train/loss:sd"] == ""


def test_a_value_that_is_not_finite_is_in_no_mean(sweep) -> None:
    place = sweep.run_folder(sweep.members[0].run)
    row = {"step": 30, "seconds": 1.0, "split": "train", "loss": float("nan")}
    workdir.append_json(place / "metrics.jsonl", row)
    results.write(sweep)
    first = json.loads((sweep.folder / "summary.json").read_text())["settings"][0]
    assert first["metrics"]["train/loss"]["n"] == 2
    assert first["metrics"]["train/loss"]["mean"] == 4.0


def test_all_runs_of_a_sweep_are_measured_by_one_command(tmp_path: Path) -> None:
    sweep = opened(tmp_path / "sweep", [{"config.seed": seed} for seed in range(2)])
    trained(sweep)
    done = commands.run("evaluate", f"--workdir={sweep.folder}", "--metrics=terms")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 runs measured" in done.stdout
    table = list(csv.DictReader((sweep.folder / "results.csv").read_text().splitlines()))
    for row in table:
        text = (sweep.run_folder(row["run"]) / "evaluations.jsonl").read_text()
        assert float(row["terms/cost"]) == json.loads(text)["values"]["cost"]["mean"]
