"""Processes on this machine: killed, broken, edited under their hands."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import commands
import pytest
from small import same

from latentgen.storage import status
from latentgen.sweeps import folder
from latentgen.sweeps.folder import standing

TWO = ["--seeds=0:2", "--engine=local", "--jobs=1"]


def sweep(place: Path, *flags: str) -> subprocess.CompletedProcess:
    return commands.run("sweep", *commands.tiny("gan"), f"--workdir={place}", *flags)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("undisturbed") / "sweep"
    done = sweep(place, *TWO)
    assert done.returncode == 0, done.stderr
    assert "2 runs: 2 done" in done.stdout
    return place


def wait_for(what, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def saved(place: Path) -> set[str]:
    """The runs that have a checkpoint, whichever: an old one is soon gone."""
    found = place.glob("runs/*/checkpoints/*")
    return {path.parents[1].name for path in found if path.name.isdecimal()}


def workers(place: Path) -> list[int]:
    """The processes that train members of this sweep."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except (OSError, UnicodeDecodeError):
            continue
        if "latentgen.worker" in words and f"--workdir={place}" in words:
            found.append(int(entry.name))
    return found


@pytest.mark.long
@pytest.mark.parametrize("both", [True, False], ids=["launcher and worker", "launcher alone"])
def test_killed_and_started_again_members_are_bitwise_undisturbed(
    undisturbed: Path, tmp_path: Path, both: bool
) -> None:
    place = tmp_path / "sweep"
    flags = [*commands.tiny("gan"), f"--workdir={place}", *TWO]
    with commands.start("sweep", *flags) as launcher:
        wait_for(lambda: saved(place))
        launcher.kill()
        if both:
            for pid in workers(place):
                os.kill(pid, signal.SIGKILL)
    first, second = (member.run for member in folder.load(place).members)
    assert not (place / "runs" / second).exists()
    done = sweep(place, *TWO)
    assert done.returncode == 0, done.stderr
    for run in (first, second):
        same(undisturbed / "runs" / run, place / "runs" / run)
    # One that was still training when its launcher died was waited for, not started twice.
    assert status.read(place / "runs" / first).attempts == (2 if both else 1)
    finished = {p: p.stat().st_mtime_ns for p in place.glob("runs/*/**/*")}
    again = sweep(place, *TWO)
    assert "2 runs, 0 to train" in again.stderr
    assert {p: p.stat().st_mtime_ns for p in place.glob("runs/*/**/*")} == finished


@pytest.mark.long
def test_a_killed_population_goes_on_bitwise(tmp_path: Path) -> None:
    whole, place = tmp_path / "whole", tmp_path / "sweep"
    flags = ["--seeds=0:2", "--engine=vmap"]
    assert sweep(whole, *flags).returncode == 0
    again = [*commands.tiny("gan"), f"--workdir={place}", *flags]
    with commands.start("sweep", *again) as launcher:
        wait_for(lambda: any(place.glob("runs/*/checkpoints/100")))
        launcher.kill()
    done = sweep(place, *flags)
    assert done.returncode == 0, done.stderr
    for member in folder.load(place).members:
        same(whole / "runs" / member.run, place / "runs" / member.run)
        assert status.read(place / "runs" / member.run).attempts == 2


@pytest.mark.long
def test_a_signal_to_the_launcher_saves_every_run(tmp_path: Path) -> None:
    place = tmp_path / "sweep"
    flags = [*commands.tiny("gan"), "--config.steps=1000000", f"--workdir={place}", "--seeds=0:2"]
    with commands.start("sweep", *flags, "--engine=local", "--jobs=2") as launcher:
        wait_for(lambda: len(saved(place)) == 2)
        launcher.send_signal(signal.SIGTERM)
        _, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 143, err
    assert "the same command continues" in err
    assert workers(place) == []
    for member in folder.load(place).members:
        assert standing(place / "runs" / member.run).status == status.PREEMPTED


@pytest.mark.long
def test_one_fails_and_one_diverges_and_the_others_finish(
    undisturbed: Path, tmp_path: Path
) -> None:
    place = tmp_path / "sweep"
    grid = "--grid=config.generator_optimizer.lr=0.003,1e30"
    planned = sweep(place, grid, "--seeds=0:2", "--dry_run")
    assert planned.returncode == 0
    assert not place.exists()
    members = planned.stdout.split()
    fails = next(run for run in members if run.startswith("lr=0.003,s=0"))
    (place / "runs" / fails).mkdir(parents=True)
    (place / "runs" / fails / "samples").write_text("in the way")
    done = sweep(place, grid, "--seeds=0:2", "--engine=local", "--jobs=2")
    assert done.returncode == 6, done.stderr
    assert "4 runs: 2 diverged, 1 done, 1 failed" in done.stdout
    table = list(csv.DictReader((place / "results.csv").read_text().splitlines()))
    for row in table:
        found = standing(place / "runs" / row["run"])
        assert (row["status"], row["reason"] or None) == found
    (failed,) = (row for row in table if row["status"] == "failed")
    assert (failed["run"], "samples" in failed["reason"]) == (fails, True)
    assert sum("is not finite" in row["reason"] for row in table) == 2
    for setting in json.loads((place / "summary.json").read_text())["settings"]:
        assert setting["n"] == 2
        if setting["done"]:
            spread = setting["metrics"]["train/cost"]
            assert (spread["n"], spread["sd"], spread["low"]) == (1, None, None)
    # What failed is tried again where that is asked for, and nothing else.
    (place / "runs" / fails / "samples").unlink()
    done = sweep(place, grid, "--seeds=0:2", "--engine=local", "--retry=failed")
    assert "4 runs, 1 to train" in done.stderr
    assert "2 diverged, 2 done" in done.stdout
    told = commands.run("sweep", f"--workdir={place}", "--status")
    assert (told.returncode, told.stdout) == (0, done.stdout)


@pytest.mark.long
def test_source_and_config_edited_later_touch_no_member(tmp_path: Path) -> None:
    source, place = tmp_path / "source", tmp_path / "sweep"
    kept = shutil.ignore_patterns("__pycache__")
    shutil.copytree(commands.ROOT / "latentgen", source / "latentgen", ignore=kept)
    shutil.copytree(commands.ROOT / "experiments", source / "experiments", ignore=kept)
    config = source / "experiments" / "gan.py"
    flags = [f"--config={config}", *commands.tiny("gan")[1:], f"--workdir={place}", *TWO]
    with subprocess.Popen(
        [sys.executable, "-m", "latentgen.sweep", *flags],
        cwd=source,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stderr=subprocess.PIPE,
        text=True,
    ) as launcher:
        wait_for(lambda: any(place.glob("runs/*/checkpoints/50")))
        for file in (*(source / "latentgen").glob("*.py"), config):
            file.write_text("raise SystemExit('edited')")
        _, err = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, err
    for member in folder.load(place).members:
        log = (place / "runs" / member.run / folder.LOG).read_text()
        assert standing(place / "runs" / member.run).status == status.DONE, log
