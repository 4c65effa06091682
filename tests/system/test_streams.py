"""A command does its work even if its output is full, closed or unread."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import commands
import forks
import pytest

from latentgen.evaluation.measures.results import EVALUATIONS
from latentgen.storage import log, status

DEAD = os.devnull.replace("null", "full")


COMMAND = 'latentgen() { "$PYTHON" -m "latentgen.$1" "${@:2}"; }'


def shell(command: str, cwd: Path = commands.ROOT, **env: str) -> subprocess.CompletedProcess:
    """Run a command by bash; `latentgen COMMAND` is `python -m latentgen.COMMAND`."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {COMMAND}; {command}"],
        cwd=cwd,
        env=forks.environment() | {"PYTHON": sys.executable} | env,
        capture_output=True,
        text=True,
        timeout=300,
    )


def flags(place: Path) -> list[str]:
    return [*commands.tiny("gan"), "--config.steps=50", f"--workdir={place}"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run."""
    place = tmp_path_factory.mktemp("streams") / "run"
    assert commands.run("run", *flags(place)).returncode == 0
    return place


@pytest.mark.long
def test_a_run_without_stderr_is_trained(tmp_path: Path) -> None:
    done = shell(f"latentgen run {shlex.join(flags(tmp_path / 'run'))} 2>&-")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{tmp_path / 'run'}: 50 steps in" in done.stdout
    found = status.read(tmp_path / "run")
    assert found is not None
    assert found.status == status.DONE


GUARDED = """
import os
import sys
from latentgen.system import streams
streams.guard()
print("nobody reads this", file=sys.stderr)
assert open(os.devnull).fileno() > 2  # nothing is opened as stdin, stdout or stderr
print("told")
"""


@pytest.mark.parametrize(
    ("closed", "out"), [("2>&-", "told\n"), (">&- 2>&-", ""), ("<&-", "told\n")]
)
def test_closed_streams_exist_and_take_what_is_printed(closed: str, out: str) -> None:
    done = shell(f'"$PYTHON" -c {shlex.quote(GUARDED)} {closed}')
    assert (done.returncode, done.stdout) == (0, out)


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        (f">{DEAD}", 4, "error: stdout: No space left on device.\n"),
        pytest.param(f">{DEAD} 2>&1", 4, "", marks=pytest.mark.long),
        pytest.param("| true", 0, "", marks=pytest.mark.long),
        pytest.param(">&-", 0, "", marks=pytest.mark.long),
        pytest.param("2>&1 | head -n 1", 0, "", marks=pytest.mark.long),
    ],
)
def test_what_was_measured_is_kept_whoever_reads_of_it(
    trained: Path, end: str, code: int, said: str
) -> None:
    file = trained / EVALUATIONS
    before = len(log.read(file)) if file.exists() else 0
    done = shell(f"latentgen evaluate --workdir={shlex.quote(str(trained))} --images=10 {end}")
    assert done.returncode == code, done.stderr
    assert done.stderr.endswith(said)
    assert "Traceback" not in done.stderr
    assert len(log.read(file)) == before + 1


def test_a_mistake_has_its_exit_code_though_it_cannot_be_told() -> None:
    assert shell(f"latentgen sample --workdir=nowhere 2>{DEAD}").returncode == 2


def test_a_file_of_flags_that_is_not_there_is_told() -> None:
    done = commands.run("run", "--config=experiments/vae.py", "--flagfile=nowhere.flags")
    assert done.returncode == 2
    assert done.stderr.startswith("error: Unable to open flagfile")
    assert done.stderr.count("\n") == 1


@pytest.mark.long
def test_a_current_folder_that_is_gone_is_told(trained: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    away, at = shlex.join(["rmdir", str(gone)]), shlex.quote(f"--workdir={trained}")
    done = shell(
        f"{away}; latentgen evaluate {at} --images=10",
        cwd=gone,
        PYTHONPATH=str(commands.ROOT),
    )
    assert done.returncode == 2
    assert done.stderr == "error: the current folder has been removed; change to another one.\n"


@pytest.mark.long
def test_letters_that_the_terminal_lacks_are_written_as_escapes(trained: Path) -> None:
    done = shell(
        f"latentgen sample --workdir={shlex.quote(str(trained))} --mode=\u00fc",
        PYTHONIOENCODING="ascii",
    )
    assert done.returncode == 2
    assert r"--mode='\xfc' is unknown" in done.stderr
