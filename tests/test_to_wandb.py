"""Export to W&B: one run of theirs for each of ours, offline by default."""

from pathlib import Path
from types import SimpleNamespace

import made_up
import pytest
from small import config, opened, trained

from latentgen import to_wandb
from latentgen.core.errors import BadInput
from latentgen.storage.log import read
from latentgen.sweeps import folder
from latentgen.sweeps.folder import Sweep


class Recorder:
    """A stand-in for wandb that records its calls."""

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


def shown(sweep: Sweep, last: int) -> Recorder:
    """Export a sweep to a recorder; check that each of its runs has its own figures."""
    recorder = Recorder()
    for run in to_wandb.runs_in(sweep.folder):
        to_wandb.show(recorder, run, sweep.folder, "games", online=False)
    assert [run.said["name"] for run in recorder.runs] == [m.run for m in sweep.members]
    assert {run.said["group"] for run in recorder.runs} == {sweep.members[0].setting}
    assert {run.said["mode"] for run in recorder.runs} == {"offline"}
    for run, member in zip(recorder.runs, sweep.members, strict=True):
        assert run.said["config"] == member.config
        steps = [step for step, _ in run.lines]
        assert steps == sorted(set(steps))
        for line in read(sweep.run_folder(member.run) / "metrics.jsonl"):
            values, split = dict(run.lines)[line["step"]], line["split"]
            for name in line.keys() - {"step", "split", "seconds"}:
                assert values[f"{split}/{name}"] == line[name]
        assert run.lines[-1][1]["samples"].endswith(f"step_{last:08d}.png")
        assert run.summary == {"done": True}
    return recorder


def test_each_member_is_one_run_with_its_own_figures(tmp_path: Path) -> None:
    members = made_up.learning_rates({0.001: [1.0, 2.0]})
    for member in members:
        config = made_up.CONFIG | {"seed": member["seed"]}
        member["config"] = config | {"generator_optimizer": {"lr": 0.001}}
    made_up.sweep(tmp_path / "sweep", members)
    recorder = shown(folder.load(tmp_path / "sweep"), 1000)
    for run in recorder.runs:
        assert [step for step, _ in run.lines] == list(range(0, 1001, 50))
    losses = [dict(run.lines)[1000]["validation/loss"] for run in recorder.runs]
    assert losses == [1.0, 2.0]


@pytest.mark.long
def test_a_sweep_that_was_trained_is_shown_whole(tmp_path: Path) -> None:
    sweep = opened(tmp_path / "sweep", [{"config.seed": seed} for seed in range(2)], config())
    trained(sweep)
    for run in shown(sweep, 40).runs:
        assert [step for step, _ in run.lines] == [0, 10, 20, 30, 40]


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="neither a run nor a sweep"):
        list(to_wandb.runs_in(tmp_path))
