"""`--help` prints a command's flags and succeeds."""

import re
from pathlib import Path

import doors
import pytest

COMMANDS = sorted(
    file.stem
    for file in Path(doors.ROOT, "latentgen").glob("*.py")
    if "__main__" in file.read_text()
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    done = doors.run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^  --(\[no\])?\w+: ", done.stdout, re.MULTILINE)


def test_help_beside_other_flags_and_in_full() -> None:
    done = doors.run("run", f"--config={doors.ROOT}/experiments/vae.py", "--helpfull")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--workdir" in done.stdout


def test_a_config_without_its_flag() -> None:
    done = doors.run("run", "experiments/vae.py:warmup", "--workdir=x")
    assert done.returncode == 2
    assert "--config is missing: write --config=experiments/vae.py:warmup." in done.stderr
