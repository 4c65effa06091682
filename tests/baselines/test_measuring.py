"""Only the recipe's own evaluations of runs that ended well count as measured."""

import json
import shlex
from pathlib import Path
from typing import Any

import commands
import pytest

from latentgen.baselines import measuring, running, store
from latentgen.evaluation.measures.results import EVALUATIONS
from latentgen.storage import workdir
from latentgen.sweeps import folder, plan
from latentgen.sweeps.folder import Sweep
from latentgen.training import setup

RECIPE = store.baseline("pacgan_ring", commands.ROOT / store.FOLDER).recipe
RUNS = running.members(RECIPE, "smoke", 2)
MEASURES = {"modes": {"samples": 2_500}}
WHERE = measuring.Where(data_dir="/data")


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Four runs of two arms that ended well, each measured once: 4, 5, 6 and 7 modes."""
    base = plan.changed(RECIPE.config("smoke"), {})
    made = folder.open_(tmp_path, base, list(RUNS.values()), "the command")
    for modes, member in enumerate(RUNS.values(), 4):
        place = made.run_folder(member.run)
        place.mkdir(parents=True)
        (place / "config.json").write_text(json.dumps(member.config))
        ended = {"final": {}, "steps": member.config["steps"]}
        (place / setup.SUMMARY).write_text(json.dumps(ended))
        evaluated(place, modes)
    return made


def evaluated(place: Path, captured: Any, flags: str = "--samples=2500", **protocol: Any) -> None:
    """Add the lines of an evaluation."""
    words = [f"--workdir={place}", "--metrics=modes", *flags.split(), "--data_dir=/data"]
    command = shlex.join(["python", "-m", "latentgen.evaluate", *words])
    line = {
        "metric": "modes",
        "command": command,
        "split": "test",
        "values": {"captured": captured, "floor": {"mean": 1.0, "n": 3}, "named": "all"},
        "protocol": {"synthetic": 2_500} | protocol,
        "data": {"name": "ring"},
    }
    workdir.append_json(place / EVALUATIONS, line)


def place_of(sweep: Sweep, arm: str, seed: int) -> Path:
    return sweep.run_folder(RUNS[arm, seed].run)


def collected(sweep: Sweep) -> measuring.Found:
    return measuring.collected(sweep, RUNS, MEASURES, WHERE)


def test_each_arm_and_seed_has_its_value(sweep: Sweep) -> None:
    found = collected(sweep)
    assert found.measured["gan:modes/captured"] == {"0": 4.0, "1": 5.0}
    assert found.measured["pacgan2:modes/captured"] == {"0": 6.0, "1": 7.0}
    assert found.measured["gan:modes/floor"] == {"0": 1.0, "1": 1.0}
    assert not any("named" in of for of in found.measured)
    assert found.protocol == {
        "modes.split": "test",
        "modes.synthetic": 2_500,
        "data.name": "ring",
        "trained.runs_in_one_program": 1,
    }
    assert (found.not_done, found.waiting) == ([], 0)
    assert found.began is not None
    assert found.began["command"] == "the command"


def test_evaluations_by_hand_change_nothing(sweep: Sweep) -> None:
    before = collected(sweep)
    place = place_of(sweep, "gan", 0)
    evaluated(place, 8, flags="--samples=100", synthetic=100)
    evaluated(place, 8, flags="--samples=2500 --seed=1")
    assert collected(sweep) == before


def test_of_the_same_evaluation_twice_the_later_counts(sweep: Sweep) -> None:
    evaluated(place_of(sweep, "gan", 0), 8)
    assert collected(sweep).measured["gan:modes/captured"] == {"0": 8.0, "1": 5.0}


def test_what_runs_do_not_share_is_no_protocol(sweep: Sweep) -> None:
    evaluated(place_of(sweep, "pacgan2", 1), 7, split_of="half")
    evaluated(place_of(sweep, "gan", 1), 5, synthetic=100)
    protocol = collected(sweep).protocol
    assert protocol["modes.synthetic"] == measuring.DIFFERENT
    assert protocol["modes.split_of"] == measuring.DIFFERENT
    assert protocol["modes.split"] == "test"


def test_how_many_runs_were_one_program_is_kept(sweep: Sweep) -> None:
    for arm, seed in RUNS:
        file = place_of(sweep, arm, seed) / setup.SUMMARY
        file.write_text(file.read_text().replace("{}", '{}, "population": 4'))
    assert collected(sweep).protocol["trained.runs_in_one_program"] == 4
    file.write_text(file.read_text().replace('"population": 4', '"seed": 0'))
    assert collected(sweep).protocol["trained.runs_in_one_program"] == measuring.DIFFERENT


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_no_value(sweep: Sweep, bad: float) -> None:
    evaluated(place_of(sweep, "gan", 0), bad)
    assert collected(sweep).measured["gan:modes/captured"] == {"0": None, "1": 5.0}


def test_a_run_that_did_not_end_well_is_told(sweep: Sweep) -> None:
    (place_of(sweep, "gan", 1) / setup.SUMMARY).unlink()
    found = collected(sweep)
    assert found.measured["gan:modes/captured"] == {"0": 4.0}
    assert (len(found.not_done), found.waiting) == (1, 1)
    assert found.not_done[0].startswith("gan, seed 1: pending")
