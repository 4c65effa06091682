"""What is told to W&B: one run of theirs for each of ours, offline unless asked."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from small import config, opened, trained

from latentgen import to_wandb
from latentgen.errors import BadInput
from latentgen.training.log import read


class Recorder:
    """Has the names of wandb that are used, and notes what it is told."""

    def __init__(self) -> None:
        self.runs: list[SimpleNamespace] = []
        self.Settings = dict

    def Image(self, path: str) -> str:
        return path

    def init(self, **said: object) -> SimpleNamespace:
        lines: list[tuple[int, dict]] = []
        run = SimpleNamespace(
            said=said,
            lines=lines,
            summary={},
            log=lambda values, step: lines.append((step, values)),
            finish=lambda: None,
        )
        self.runs.append(run)
        return run


def test_each_member_is_one_run_with_its_own_figures(tmp_path: Path) -> None:
    sweep = opened(tmp_path / "sweep", [{"config.seed": seed} for seed in range(2)], config())
    trained(sweep)
    recorder = Recorder()
    for run in to_wandb.found(sweep.folder):
        to_wandb.show(recorder, run, sweep.folder, "games", online=False)
    assert [run.said["name"] for run in recorder.runs] == [m.run for m in sweep.members]
    assert {run.said["group"] for run in recorder.runs} == {sweep.members[0].setting}
    assert {run.said["mode"] for run in recorder.runs} == {"offline"}
    for run, member in zip(recorder.runs, sweep.members, strict=True):
        assert run.said["config"] == member.config
        assert [step for step, _ in run.lines] == [0, 10, 20, 30, 40]  # rising
        for line in read(sweep.place(member.run) / "metrics.jsonl"):
            values = dict(run.lines)[line["step"]]
            assert values[f"{line['split']}/cost"] == line["cost"]
        assert run.lines[-1][1]["samples"].endswith("step_00000040.png")
        assert run.summary == {"done": True}


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither a run nor a sweep"):
        list(to_wandb.found(tmp_path))
