"""Scores over seeds, and settings in order of them."""

import json
from pathlib import Path

import made_up
import pytest

from latentgen.core.errors import BadInput
from latentgen.metrics.intervals import Spread
from latentgen.reporting import folders, scores


def members(folder: Path, losses: dict, **changes) -> list[folders.Member]:
    made = made_up.learning_rates(losses)
    for member in made:
        member.update(changes.get(member["run"], {}))
    return folders.open_folder(made_up.sweep(folder / "sweep", made)).members


def test_settings_come_best_first(tmp_path: Path) -> None:
    found = members(tmp_path, {0.1: [3.0, 4.0], 0.2: [1.0, 2.0], 0.3: [2.0, 2.0]})
    order = lambda lower: [s.name for s in scores.ranked(found, "validation/loss", lower)]  # noqa: E731
    assert order(True) == ["lr=0.2", "lr=0.3", "lr=0.1"]
    assert order(False) == ["lr=0.1", "lr=0.3", "lr=0.2"]


def test_a_run_that_did_not_end_well_has_no_score(tmp_path: Path) -> None:
    made = made_up.learning_rates({0.1: [3.0, 4.0], 0.2: [0.0]})
    made[1]["status"] = {"status": "failed", "reason": "disk full"}
    made[2]["status"] = {"status": "diverged", "reason": None}
    found = folders.open_folder(made_up.sweep(tmp_path / "sweep", made)).members
    best, last = scores.ranked(found, "validation/loss", True)
    assert (best.name, best.score) == ("lr=0.1", Spread(1, 3.0, None, None, None, 3.0))
    assert (last.score, last.count("diverged"), best.count("failed")) == (None, 1, 1)


def test_the_best_runs_are_one_of_each_setting_first(tmp_path: Path) -> None:
    found = members(tmp_path, {0.1: [3.0, 4.0], 0.2: [1.5, 1.0]})
    settings = scores.ranked(found, "validation/loss", True)
    names = [member.name for member in scores.best(settings, "validation/loss", True)]
    assert names == ["lr=0.2,s=1", "lr=0.1,s=0", "lr=0.2,s=0", "lr=0.1,s=1"]


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        *(("validation/loss", True), ("validation/negative_elbo", True)),
        *(("frechet/frechet_distance", True), ("prdc/recall", False), ("is/log_likelihood", False)),
        *(("score/inception_score", False), ("bdmc/lower_bound", False), ("bdmc/gap", True)),
    ],
)
def test_which_way_is_better_by_name(metric: str, lower: bool) -> None:
    assert scores.lower_is_better(metric) is lower


def test_the_default_prefers_pictures_to_losses(tmp_path: Path) -> None:
    (member,) = members(tmp_path, {0.1: [3.0]})
    game = member._replace(final={"validation/cost": 1.0, "validation/zeta": 2.0, "train/a": 0.0})
    judged = member._replace(final={**game.final, "frechet/frechet_distance": 3.0})
    assert scores.choose_metric([game], None) == "validation/zeta"
    assert scores.choose_metric([judged, judged], None) == "frechet/frechet_distance"
    assert scores.choose_metric([game, judged], None) == "validation/zeta"
    assert scores.choose_metric([game, judged], "frechet/frechet_distance") is not None
    failed = game._replace(status="failed")
    assert scores.choose_metric([failed, judged], None) == "frechet/frechet_distance"
    assert scores.choose_metric([member._replace(final={})], None) is None
    assert scores.choose_metric([game], "validation/cost") == "validation/cost"
    with pytest.raises(BadInput, match="did you mean 'validation/cost'"):
        scores.choose_metric([game], "validation/costs")


def test_a_summary_that_is_older_than_the_runs_is_noticed(tmp_path: Path) -> None:
    found = members(tmp_path, {0.1: [3.0, 4.0], 0.2: [1.0, 2.0]})
    settings = scores.ranked(found, "validation/loss", True)
    says = [
        {"setting": "lr=0.1", "metrics": {"validation/loss": {"n": 2, "mean": 3.5}}},
        {"setting": "lr=0.2", "metrics": {"validation/loss": {"n": 1, "mean": 1.5}}},
    ]
    assert scores.stale(settings, "validation/loss", {"settings": says}) == ["lr=0.2"]


def test_what_a_folder_lacks_is_taken_from_the_results(tmp_path: Path) -> None:
    made = made_up.learning_rates({0.1: [3.0, 4.0]})
    made[1]["made"] = False
    folder = made_up.sweep(tmp_path / "sweep", made)
    (folder / "results.csv").write_text(
        "run,setting,seed,generator_optimizer.lr,status,reason,step,seconds,validation/loss,is/gap\n"
        '"lr=0.1,s=0",lr=0.1,0,0.1,failed,,7,1,99,5\n'
        '"lr=0.1,s=1",lr=0.1,1,0.1,done,,1000,10,4.0,\n'
    )
    here, gone = folders.open_folder(folder).members
    assert (here.status, here.final["validation/loss"], here.final["is/gap"]) == ("done", 3.0, 5.0)
    assert (gone.status, gone.step, gone.final) == ("done", 1000, {"validation/loss": 4.0})


def test_a_run_says_why_it_diverged(tmp_path: Path) -> None:
    folder = made_up.run(tmp_path / "run", done=False)
    assert folders.run(folder).status == "unfinished"
    record = {
        "step": 7,
        "tensor": "grads.w",
        "tensors": {"grads.w": {"not_finite": 2, "values": 9}},
    }
    (folder / "diverged.json").write_text(json.dumps(record))
    found = folders.run(folder)
    assert (found.status, found.reason) == (
        "diverged",
        "grads.w is not finite (2 of 9 values) at step 7",
    )


def test_a_run_that_trains_says_when_it_was_last_seen(tmp_path: Path) -> None:
    word = {"status": "running", "reason": None, "attempts": 2, "host": "node7", "beat": "12:30"}
    found = folders.run(made_up.run(tmp_path / "run", status=word, done=False))
    assert (found.status, found.attempts) == ("running", 2)
    assert found.reason == "last sign of life 12:30 from node7"
