"""Runs that were killed are no success of their sweep, and whoever looks next is told."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments import vae
from latentgen import sweep
from latentgen.configs.section import plain
from latentgen.reporting import folders
from latentgen.storage import status
from latentgen.sweeps import folder
from latentgen.sweeps.engines import local
from latentgen.sweeps.options import Options
from latentgen.sweeps.plan import members
from latentgen.training import setup
from latentgen.training.run_writer import RunWriter


def dies(place: Path, how: str) -> list[str]:
    """A command that has begun a run and ends like this."""
    code = (
        "import os, sys; from pathlib import Path; from latentgen.storage import status, workdir\n"
        f"with workdir.lock({str(place)!r}):\n"
        f"    heart = status.StatusWriter(Path({str(place)!r}))\n"
        f"    print('began', flush=True); {how}\n"
    )
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(
    ("how", "code", "found"),
    [
        ("os.kill(os.getpid(), 9)", -9, ("preempted", "killed by SIGKILL: began")),
        ("os.kill(os.getpid(), 15)", -15, ("preempted", "killed by SIGTERM: began")),
        ("os._exit(143)", 143, ("preempted", "exit code 143: began")),
        ("os.kill(os.getpid(), 11)", -11, ("failed", "killed by SIGSEGV: began")),
        ("os._exit(1)", 1, ("failed", "exit code 1: began")),
        ("heart.end('preempted', 'disk full'); os._exit(4)", 4, ("preempted", "disk full")),
    ],
)
def test_how_a_process_ended_stands_in_its_folder(how, code, found, tmp_path: Path) -> None:
    log = tmp_path / folder.LOG
    with open(log, "w") as to:
        assert subprocess.run(dies(tmp_path, how), stdout=to).returncode == code
    if found[1].startswith(("killed", "exit")):
        assert folder.standing(tmp_path) == ("preempted", status.LOST)
    status.blame(tmp_path, code, log)
    assert folder.standing(tmp_path) == found
    assert status.read(tmp_path).attempts == 1


def test_a_sweep_whose_runs_were_all_killed_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = vae.get_config()
    found = members(config, [{"config.seed": seed} for seed in (0, 1)])
    opened = folder.open_(tmp_path, plain(config.to_dict()), found, "")
    kill = "os.kill(os.getpid(), 9)"
    monkeypatch.setattr(
        local, "command", lambda sweep, run, options: dies(sweep.run_folder(run), kill)
    )
    monkeypatch.setattr(local, "devices", lambda: local.Devices("cpu", 1))
    monkeypatch.setattr(local, "POLL", 0.01)
    local.Queue(opened, found, Options(), Path(sweep.__file__).parents[1]).go(lambda: None)
    assert capsys.readouterr().err.count("preempted (killed by SIGKILL: began)") == 2
    counts = sweep.write_and_print(opened)
    assert counts == {"preempted": 2}
    assert sweep.unended(counts, waits=True) == 2
    assert sweep.unended(counts, waits=False) == 0  # the queue may still start them
    assert folder.unfinished(opened, ()) == found  # the same command continues


def test_the_next_attempt_tells_of_one_that_was_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(dies(tmp_path, "os._exit(1)"), check=False, stdout=subprocess.DEVNULL)
    assert folders.run(tmp_path)[6:8] == ("preempted", status.LOST)  # a report's words
    run = setup.load(tmp_path, plain(vae.get_config().to_dict()), None, None)
    for said in (1, 0):
        with RunWriter(run):
            pass
        assert (
            capsys.readouterr().err.count(f"attempt 1 did not end by itself: {status.LOST}") == said
        )
