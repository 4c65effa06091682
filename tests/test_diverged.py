"""A run that diverges or collapses says so: the step, the tensor, and what shows it again."""

import json
import runpy
import shutil
import signal
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import ROOT, run, tiny

from latentgen import replay
from latentgen.core.errors import BadInput, Diverged, Stopped
from latentgen.storage import evidence, log
from latentgen.storage.checkpoint import Checkpoints
from latentgen.system import distributed
from latentgen.training import hooks, loop, setup, trainer

HOSTILE = [  # nothing bounds this game's value, and each step is larger than the one before
    *tiny("gan"),
    "--config.method.loss=wasserstein",
    *(
        f"--config.{player}_optimizer.{change}"
        for player in ("generator", "discriminator")
        for change in ("name=sgd", "lr=0.5")
    ),
    *(f"--config.every.{what}=20" for what in ("log", "validate", "sample", "checkpoint")),
]


@pytest.fixture(scope="module")
def diverged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run that diverged, and the line that it ended with."""
    workdir = tmp_path_factory.mktemp("diverged") / "run"
    done = run("run", *HOSTILE, f"--workdir={workdir}")
    assert done.returncode == 5, done.stderr
    return workdir, the_error(done)


def the_error(done) -> str:
    """The one line that starts with 'error:', which is the last."""
    *others, line = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert not any(other.startswith("error:") for other in others)
    assert "Traceback" not in done.stderr
    return line


def files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {
        p: (p.stat().st_mtime_ns, p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()
    }


def record_of(workdir: Path) -> dict:
    return json.loads((workdir / "diverged.json").read_text())


def test_the_step_and_the_tensor_are_told_and_kept(diverged: tuple[Path, str]) -> None:
    workdir, line = diverged
    record = record_of(workdir)
    step, name = record["step"], record["tensor"]
    assert step > 1
    counts = record["tensors"][name]
    assert 0 < counts["not_finite"] <= counts["values"]
    whose = f", turn of {record['turn']}"
    assert f"diverged at step {step}{whose}: {name} is not finite" in line
    assert f"({counts['not_finite']} of {counts['values']} values)" in line
    assert str(workdir / "diverged") in line
    assert {"seed", "command", "versions", "device", "data", "config_sha256"} <= record.keys()
    assert not (workdir / "summary.json").exists()


def test_nothing_bad_was_written(diverged: tuple[Path, str]) -> None:
    """Neither a checkpoint, nor a picture, nor a line of the record; the state before is whole."""
    workdir, _ = diverged
    step = record_of(workdir)["step"]
    good = [at for at in range(0, 600, 20) if at < step]
    assert [int(p.stem[5:]) for p in sorted(workdir.glob("samples/*.png"))] == good
    rows = log.read(workdir / "metrics.jsonl")
    assert {row["step"] for row in rows} == set(good[1:])
    assert all(np.isfinite(v) for row in rows for k, v in row.items() if k != "split")
    reopened = setup.reopen(workdir, None, None)
    for among, newest in (("checkpoints", good[-1]), ("diverged", step - 1)):
        found, state = setup.restore(reopened, None, among)
        assert found == newest
        assert bool(loop.finite(state))


def test_it_is_seen_again_in_a_fresh_process(diverged: tuple[Path, str]) -> None:
    workdir, _ = diverged
    before, record = files(workdir), record_of(workdir)
    done = run("replay", f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    name, counts = record["tensor"], record["tensors"][record["tensor"]]
    lines = done.stdout.splitlines()
    assert lines[0] == f"step {record['step']}, from the state after {record['step'] - 1} updates"
    said = f"{name} ({counts['not_finite']} of {counts['values']} values)"
    assert lines[1] == f"first tensor that is not finite: {said}"
    assert "names" not in lines[2]
    table = {line.split()[0]: line.split()[-1] for line in lines if line.endswith("%")}
    bad = {name.removeprefix("metrics.") for name in record["tensors"]}
    assert {name for name, share in table.items() if share != "0.00%"} == bad
    assert {"generator_loss", "state.params.discriminator.Hidden_0.Dense_0.kernel"} <= table.keys()
    assert files(workdir) == before


def test_the_same_command_says_it_again_and_changes_nothing(diverged: tuple[Path, str]) -> None:
    workdir, line = diverged
    before = files(workdir)
    done = run("run", *HOSTILE, f"--workdir={workdir}")
    assert done.returncode == 5, done.stderr
    assert the_error(done) == line
    assert files(workdir) == before


@pytest.mark.long
def test_a_run_continued_from_a_checkpoint_diverges_alike(
    diverged: tuple[Path, str], tmp_path: Path
) -> None:
    workdir, _ = diverged
    again = tmp_path / "run"
    shutil.copytree(workdir, again)
    (again / "diverged.json").unlink()
    newest = max((again / "checkpoints").iterdir(), key=lambda p: int(p.name))
    shutil.rmtree(newest)
    done = run("run", *HOSTILE, f"--workdir={again}")
    assert done.returncode == 5, done.stderr
    assert "continuing after" in done.stderr
    drop = {"command"}
    old, new = ({k: v for k, v in record_of(w).items() if k not in drop} for w in (workdir, again))
    assert old == new
    states = []
    for folder in (workdir, again):
        _, state = setup.restore(setup.reopen(folder, None, None), None, "diverged")
        states.append(state)
    for a, b in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_last_good_checkpoint_can_be_looked_at(
    diverged: tuple[Path, str], tmp_path: Path
) -> None:
    workdir, _ = diverged
    step = (record_of(workdir)["step"] - 1) // 20 * 20
    done = run("sample", f"--workdir={workdir}", f"--out={tmp_path}/x.npz", "--num=4")
    assert done.returncode == 0, done.stderr
    assert f"after step {step}" in done.stdout
    assert np.isfinite(np.load(tmp_path / "x.npz")["x"]).all()


def test_there_is_nothing_to_replay_of_a_run_that_has_not_diverged(tmp_path: Path) -> None:
    done = run("replay", f"--workdir={tmp_path}")
    assert done.returncode == 2
    assert "has not diverged" in the_error(done)


@pytest.mark.parametrize("content", ["{", "[]", '{"step": 3}'])
def test_a_record_that_cannot_be_read_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "diverged.json").write_text(content)
    with pytest.raises(BadInput, match=r"diverged\.json"):
        evidence.diverged(tmp_path)


HEALTHY = {"generator.hidden": (16,)}
# Each layer shrinks what it is given: nothing of the code arrives at the end.
DEAF = {"generator.hidden": (16,) * 3, "generator.norm": "none", "generator.init": "normal02"}


def small(folder: Path, **changes: object) -> setup.Run:
    config = runpy.run_path(str(ROOT / "experiments/gan.py"))["get_config"]()
    config.update(steps=30, batch_size=8)
    config.every.update(log=10, validate=10, sample=10, checkpoint=10)
    config.update_from_flattened_dict(
        {
            "discriminator.hidden": (16,),
            "method.ema_decay": 0.0,
            "data.validation": 0,
            **changes,
        }
    )
    return setup.load(folder, json.loads(config.to_json_best_effort()), None, None)


def collapsed(folder: Path) -> int | None:
    return json.loads((folder / "summary.json").read_text())["collapsed"]


def test_samples_that_are_all_alike_are_told_once_and_in_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the run is stopped and continued."""

    @contextmanager
    def soon():
        polls = iter([None, None])
        yield lambda: next(polls, signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(distributed, "signals", soon)
        with pytest.raises(Stopped):
            trainer.train(small(tmp_path, **DEAF))
    assert not (tmp_path / "summary.json").exists()
    trainer.train(small(tmp_path, **DEAF))
    assert collapsed(tmp_path) == 10
    said = [line for line in capsys.readouterr().err.splitlines() if "collapsed" in line]
    assert len(said) == 1
    assert said[0].startswith("collapsed at step 10: all samples are alike")


def test_a_healthy_run_has_not_collapsed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "collapsed.json").write_text('{"step": 20}')  # by a run killed before a checkpoint
    trainer.train(small(tmp_path, **HEALTHY))
    assert "collapsed" not in capsys.readouterr().err
    assert collapsed(tmp_path) is None
    assert not (tmp_path / "collapsed.json").exists()


def test_samples_of_a_finite_state_that_are_not_finite_are_a_divergence(tmp_path: Path) -> None:
    sound = small(tmp_path, **HEALTHY)
    draw = sound.eval_fns.sample

    def sample(state, key):
        overflow = jnp.where(state.opt[1][0].count >= 20, jnp.inf, 1.0)
        return draw(state, key).at[0, 0, 0, 0].multiply(overflow)

    unsound = sound._replace(eval_fns=sound.eval_fns._replace(sample=sample))
    with pytest.raises(Diverged, match=r"at step 20: samples is not finite \(1 of 4096"):
        trainer.train(unsound)
    record = record_of(tmp_path)
    assert (record["first"], record["last"], record["tensor"]) == (20, 20, "samples")
    with Checkpoints(tmp_path / "checkpoints", read_only=True) as saved:
        assert saved.steps() == [10]
    step, state = setup.restore(unsound, None, "diverged")
    assert step == 20
    found, tables = replay.repeat(unsound, state, 20, 20)
    assert found == ({"samples": (1, 4096)}, None)
    assert np.isinf(tables["samples"]["samples"][0, 0, 0, 0])
    assert sorted(p.name for p in (tmp_path / "samples").iterdir()) == [
        f"step_{step:08d}.png" for step in (0, 10)
    ]


@pytest.mark.parametrize(
    ("synthetic", "step", "told"),
    [
        (np.full((4, 2), 0.3), 1, True),
        (np.full((4, 2), 0.3), 0, False),  # before it has learned anything
        (np.array([[0.0, 1], [0, 1 + 1e-3]]), 1, True),  # spread 0.5e-3 of 1
        (np.array([[0.0, 1], [0, 1 + 4e-3]]), 1, False),  # 2e-3: one value is enough
        (np.array([[1e30, 0], [0, 1e30]]), 1, False),
    ],
)
def test_alike(synthetic: np.ndarray, step: int, told: bool, tmp_path: Path) -> None:
    lines: list[str] = []
    look = hooks.watch_for_collapse(
        hooks.largest_std(np.array([[1.0, 5], [-1, 5]])), tmp_path / "mark", lines.append
    )
    look(step, synthetic)
    assert len(lines) == told
    assert (tmp_path / "mark").exists() == told
    look(step + 1, np.random.default_rng(0).normal(size=(4, 2)))
    look(step + 2, synthetic * 1.0)
    assert len(lines) == 1 or not told


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_no_picture_of_what_is_not_finite(value: float, tmp_path: Path) -> None:
    look = hooks.watch_for_collapse(1.0, tmp_path / "mark", lambda line: None)
    with pytest.raises(Diverged) as caught:
        look(0, np.array([[0.0], [value]], np.float32))
    assert (caught.value.first, caught.value.last) == (0, 0)
