"""What a command prints to may be full, closed or unread: its work is done and kept as ever."""

import os
import subprocess
import sys
from pathlib import Path

import doors
import pytest

from latentgen.measures.results import EVALUATIONS
from latentgen.training import log, status

DEAD = os.devnull.replace("null", "full")


def shell(command: str, cwd: Path = doors.ROOT, **env: str) -> subprocess.CompletedProcess:
    """What bash makes of it; $P is `python -m latentgen.`, less the door's name."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=cwd,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "P": f"{sys.executable} -m latentgen"} | env,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained with stderr closed."""
    place = tmp_path_factory.mktemp("streams") / "run"
    flags = " ".join([*doors.tiny("gan"), "--config.steps=50", f"--workdir={place}"])
    done = shell(f"$P.run {flags} 2>&-")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{place}: 50 steps in" in done.stdout
    return place


def test_a_run_without_stderr_is_trained(trained: Path) -> None:
    found = status.read(trained)
    assert found is not None
    assert found.status == status.DONE


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        (f">{DEAD}", 4, "error: stdout: No space left on device.\n"),
        (f">{DEAD} 2>&1", 4, ""),
        ("| true", 0, ""),
        (">&-", 0, ""),
        ("2>&1 | head -n 1", 0, ""),
    ],
)
def test_what_was_measured_is_kept_whoever_reads_of_it(
    trained: Path, end: str, code: int, said: str
) -> None:
    file = trained / EVALUATIONS
    before = len(log.read(file)) if file.exists() else 0
    done = shell(f"$P.evaluate --workdir={trained} --images=10 {end}")
    assert done.returncode == code, done.stderr
    assert done.stderr.endswith(said)
    assert "Traceback" not in done.stderr
    assert len(log.read(file)) == before + 1


def test_a_mistake_has_its_exit_code_though_it_cannot_be_told() -> None:
    assert shell(f"$P.sample --workdir=nowhere 2>{DEAD}").returncode == 2


def test_a_file_of_flags_that_is_not_there_is_told() -> None:
    done = shell("$P.run --config=experiments/vae.py --flagfile=nowhere.flags")
    assert done.returncode == 2
    assert done.stderr.startswith("error: Unable to open flagfile")
    assert done.stderr.count("\n") == 1


def test_a_current_folder_that_is_gone_is_told(trained: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = shell(
        f"rmdir {gone}; $P.evaluate --workdir={trained} --images=10",
        cwd=gone,
        PYTHONPATH=str(doors.ROOT),
    )
    assert done.returncode == 2
    assert done.stderr == "error: the current folder has been removed; change to another one.\n"


def test_letters_that_the_terminal_lacks_are_written_as_escapes(trained: Path) -> None:
    done = shell(f"$P.sample --workdir={trained} --mode=\u00fc", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert r"--mode='\xfc' is unknown" in done.stderr
