"""Evaluation in training: it disturbs nothing, the best state is kept, and a run may end early."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from small import config, figures, one_program, opened, same, state, trained

import latentgen
from latentgen.core.errors import BadInput, Stopped
from latentgen.evaluation import in_training
from latentgen.storage.checkpoint import Checkpoints
from latentgen.sweeps import results
from latentgen.sweeps.engines import vmap
from latentgen.sweeps.plan import changed
from latentgen.training import choice, setup, trainer, transfer
from latentgen.training.best import SPLIT, Evaluation, best_of
from latentgen.training.run_writer import RunWriter

EVERY = {"every.evaluate": 10, "every.checkpoint": 20, "evaluate.samples": 100}
BY_NAME = Evaluation(lambda step, state: {}, ("fid", "distance"), -1)
VALUES = {10: 5.0, 20: 3.0, 30: 3.0, 40: 4.0, 50: 2.0, 60: 9.0}


def lines(values: Mapping[int, Any], name: str = "distance") -> list[dict[str, Any]]:
    others = [{"step": step, "split": "validation", name: -1.0} for step in values]
    return [{"step": step, "split": SPLIT, name: value} for step, value in values.items()] + others


@pytest.mark.parametrize(
    ("values", "sign", "found"),
    [
        (VALUES, -1, (50, 2.0, 1)),
        (VALUES, 1, (60, 9.0, 0)),
        ({10: 5.0, 20: 3.0, 30: 3.0, 40: 4.0}, -1, (20, 3.0, 2)),  # of equal ones, the first
        ({10: np.nan, 20: 3.0, 30: np.inf}, -1, (20, 3.0, 1)),
        ({10: np.nan}, -1, None),
        ({}, -1, None),
    ],
)
def test_the_best_is_the_first_of_the_best(values: dict, sign: int, found: Any) -> None:
    best = best_of(lines(values), BY_NAME._replace(sign=sign))
    assert (best and (best.step, best.value, best.later)) == found


def test_the_best_at_a_step_knows_nothing_of_later_ones() -> None:
    assert [b and b.step for b in (best_of(lines(VALUES), BY_NAME, s) for s in (9, 45, 50))] == [
        *(None, 20, 50)
    ]


def run_of(folder: Path, **changes: Any) -> setup.Run:
    return setup.load(folder, changed(config(**EVERY, **changes), {}), None, None)


def scripted(run: setup.Run, values: Mapping[int, float] = VALUES) -> setup.Run:
    """The run by whose measure each step has the value of a table."""

    def measure(step: int, state: Any) -> dict[str, float]:
        if isinstance(values[step], str):
            raise BadInput(str(values[step]))
        return {"distance": values[step]}

    return run._replace(evaluation=BY_NAME._replace(measure=measure))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[setup.Run]:
    """A run of six evaluations, compiled once for all tests here."""
    with one_program():
        changes = {"steps": 60, "stop.patience": 2}
        yield run_of(tmp_path_factory.mktemp("base") / "run", **changes)


def patient(run: setup.Run, patience: int, folder: Path) -> setup.Run:
    """The run with another patience, in another folder."""
    plain = {**run.config, "stop": {"patience": patience}} if patience else dict(run.config)
    if not patience:
        del plain["stop"]
    evaluate = run.experiment.evaluate._replace(patience=patience)
    experiment = run.experiment._replace(evaluate=evaluate)
    return run._replace(folder=folder, config=plain, experiment=experiment)


@pytest.fixture(scope="module")
def early(base: setup.Run) -> setup.Run:
    """A run that ends at step 40, as steps 30 and 40 are no better than step 20."""
    run = scripted(base)
    trainer.train(run)
    return run


def test_a_run_without_improvement_ends(early: setup.Run) -> None:
    steps = [(line["step"], line["split"]) for line in figures(early.folder)]
    assert steps[-3:] == [(40, "train"), (40, SPLIT), (40, "validation")]
    summary = json.loads((early.folder / "summary.json").read_text())
    assert summary["best"] == {"step": 20, "name": "distance", "value": 3.0}
    assert summary["stopped_early"] == 40
    assert setup.finished(early.folder, early.config)
    assert max(step for step in saved(early.folder, "checkpoints")) == 40
    status = json.loads((early.folder / "status.json").read_text())
    assert status["status"] == "done"
    assert "distance=3 of step 20" in status["reason"]


def saved(folder: Path, kind: str = "best") -> list[int]:
    return sorted(int(p.name) for p in (folder / kind).iterdir())


def test_training_is_not_disturbed(base: setup.Run, tmp_path: Path) -> None:
    """The final and the best state are those of a run without evaluation."""
    evaluated = scripted(patient(base, 0, tmp_path / "evaluated"))
    trainer.train(evaluated)
    plain = evaluated.experiment.evaluate._replace(every=0)
    experiment = base.experiment._replace(
        evaluate=plain, every=base.experiment.every._replace(checkpoint=10)
    )
    unevaluated = evaluated._replace(folder=tmp_path / "plain", experiment=experiment)
    trainer.train(unevaluated)
    for x, y in zip(state(evaluated.folder), state(unevaluated.folder), strict=True):
        assert x.tobytes() == y.tobytes()
    model = latentgen.load(evaluated.folder, checkpoint="best")
    assert model.step == 50 == saved(evaluated.folder)[-1]
    _, other = setup.restore(unevaluated, 50)
    for x, y in zip(jax.tree.leaves(model.state), jax.tree.leaves(other), strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def stopped_after(chunks: int) -> Callable[[], int | None]:
    polls = iter([None] * chunks)
    return lambda: next(polls, 15)


@pytest.mark.parametrize("chunks", [1, 3])
def test_a_resumed_run_ends_alike(early: setup.Run, tmp_path: Path, chunks: int) -> None:
    run = early._replace(folder=tmp_path / "run")
    with pytest.raises(Stopped):
        trainer.train(run, stopped=stopped_after(chunks))
    trainer.train(run)
    same(early.folder, run.folder)
    assert saved(run.folder)[-1] == saved(early.folder)[-1] == 20
    names = [json.loads((f / "summary.json").read_text()) for f in (run.folder, early.folder)]
    assert names[0]["best"] == names[1]["best"]
    assert names[0]["stopped_early"] == 40


def test_killed_before_its_summary_it_ends_alike(early: setup.Run, tmp_path: Path) -> None:
    shutil.copytree(early.folder, tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    trainer.train(early._replace(folder=tmp_path / "run"))
    same(early.folder, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["stopped_early"] == 40


def test_one_that_ended_early_goes_on_with_more_patience(
    base: setup.Run, early: setup.Run, tmp_path: Path
) -> None:
    """Its end is that of a run that had the patience from its start."""
    shutil.copytree(early.folder, tmp_path / "run")
    impatient = scripted(patient(base, 0, tmp_path / "run"))
    allowed = transfer.may_change(True, ["stop.patience"], impatient.config)
    assert not setup.finished(impatient.folder, impatient.config, allowed)
    trainer.train(impatient._replace(may_change=allowed))
    whole = impatient._replace(folder=tmp_path / "whole")
    trainer.train(whole)
    same(whole.folder, impatient.folder)
    assert saved(impatient.folder)[-1] == 50


class Killed(BaseException):
    """Simulates a kill of the process: nothing after it is done."""


@pytest.mark.parametrize("at", [(50, "save best"), (50, "best is saved"), (60, "a checkpoint")])
def test_killed_at_any_point_the_best_fits_the_log(
    base: setup.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: tuple[int, str]
) -> None:
    """The run continues from step 40, where step 20 was the best, despite later saves."""
    run = scripted(patient(base, 0, tmp_path / "run"))
    save, (when, where) = Checkpoints.save, at

    def killed(self: Checkpoints, step: int, state: Any, meta: Any) -> None:
        is_best = self._path.name == "best"
        if step == when and is_best == (where != "a checkpoint"):
            if where == "best is saved":
                save(self, step, state, meta)
            raise Killed
        save(self, step, state, meta)

    with monkeypatch.context() as context:
        context.setattr(Checkpoints, "save", killed)
        with pytest.raises(Killed):
            trainer.train(run)
    newest = saved(run.folder)[-1]
    logged = best_of(figures(run.folder), BY_NAME)
    assert logged is not None
    assert newest >= logged.step
    assert logged.step in saved(run.folder)
    assert 20 in saved(run.folder)  # the best of the newest checkpoint
    with RunWriter(run) as writer:
        first, _ = writer.resume()
        writer.open(first, print)
        assert (first, saved(run.folder)[-1]) == (40, 20)
    trainer.train(run)
    assert saved(run.folder)[-1] == 50


def test_a_measure_that_fails_is_told_once_and_ends_nothing(
    base: setup.Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    values = {**VALUES, 20: "too few", 30: "too few"}
    run = scripted(patient(base, 0, tmp_path / "run"), values)
    trainer.train(run)
    told = [line for line in capsys.readouterr().err.splitlines() if "too few" in line]
    assert told == ["warning: no evaluation at step 20: too few"]
    found = [line["step"] for line in figures(run.folder) if line["split"] == SPLIT]
    assert found == [10, 40, 50, 60]


def test_the_values_are_those_of_the_command(tmp_path: Path) -> None:
    """Compare the Frechet distance of the averaged weights, with the same examples."""
    run = in_training.attached(run_of(tmp_path / "run", **{"steps": 20}))
    trainer.train(run)
    trained = [line for line in figures(run.folder) if line["split"] == SPLIT]
    assert [line["step"] for line in trained] == [10, 20]
    found = latentgen.load(run.folder).evaluate("frechet", "validation", samples=100, images=100)
    assert trained[-1]["frechet_distance"] == found["frechet"]["frechet_distance"]
    assert len(saved(run.folder)) >= 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"evaluate.metric": "nothing"}, "config.evaluate.metric='nothing' is unknown"),
        ({"evaluate.metric": "is"}, "config.evaluate.metric='is': this method has no"),
        ({"evaluate.features": "inception"}, "--inception_weights is missing"),
        (
            {"evaluate.metric": "parzen", "stop.patience": 2},
            "stop.patience=2 does not fit config.evaluate.metric='parzen'",
        ),
        ({"every.evaluate": 15}, "every.evaluate=15 must be a multiple of config.every.log"),
        (
            {"every.evaluate": 0, "stop.patience": 1},
            "stop.patience=1 counts evaluations, of which there are none",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        in_training.attached(
            setup.load(tmp_path, changed(config(**EVERY | changes), {}), None, None)
        )


def test_a_run_without_evaluations_has_no_best(base: setup.Run, tmp_path: Path) -> None:
    run = base._replace(folder=tmp_path)
    with pytest.raises(BadInput, match="has no best checkpoint"):
        choice.restore_kind(run, None, "best")
    with pytest.raises(BadInput, match="step=3 and checkpoint='best' name two"):
        choice.restore_kind(run, 3, "best")
    with pytest.raises(BadInput, match="checkpoint='worst' is unknown"):
        choice.restore_kind(run, None, "worst")


@pytest.mark.long
def test_members_of_a_population_end_each_on_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ends at step 30; the second goes on, as undisturbed, and is continued."""
    base = config(**EVERY, **{"stop.patience": 2})
    rows = [{"config.seed": 0}, {"config.seed": 1}]
    falling = {step: 1.0 / step for step in VALUES}
    rising = {step: float(step) for step in VALUES}

    def attached(run: setup.Run, memory: Any) -> setup.Run:
        return scripted(run, rising if run.experiment.seed == 0 else falling)

    monkeypatch.setattr(vmap.in_training, "attached", attached)
    whole, pieces = (opened(tmp_path / name, rows, base) for name in ("whole", "pieces"))
    trained(whole)
    with pytest.raises(Stopped):
        trained(pieces, stopped=stopped_after(4))
    trained(pieces)
    found = results.gathered(whole)
    assert [row["step"] for row in found] == [30, 40]
    assert [row["best/step"] for row in found] == [10, 40]
    assert found[0]["best/distance"] == 10.0
    for member in whole.members:
        same(whole.run_folder(member.run), pieces.run_folder(member.run))
