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


WRITTEN = re.compile(r"python -m latentgen\.(\w+)((?:[^\n`]|\\\n)*)")
DOCUMENTS = [p for p in doors.ROOT.rglob("*.md") if not {".venv", "runs"} & set(p.parts)]


@pytest.mark.parametrize("command", COMMANDS)
def test_documents_name_flags_that_there_are(command: str) -> None:
    known = set(re.findall(r"^  --(?:\[no\])?(\w+)", doors.run(command, "--help").stdout, re.M))
    known |= {"config", "help", "helpfull"}
    for document in DOCUMENTS:
        for name, flags in WRITTEN.findall(document.read_text()):
            named = re.findall(r"(?<!\S)--(?:no(?=[a-z_]+\b))?(\w+)", flags.partition("#")[0])
            unknown = {flag for flag in named if flag not in known and f"no{flag}" not in known}
            assert name != command or not unknown, (document, flags)


def test_help_beside_other_flags_and_in_full() -> None:
    done = doors.run("run", f"--config={doors.ROOT}/experiments/vae.py", "--helpfull")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--workdir" in done.stdout


def test_a_config_without_its_flag() -> None:
    done = doors.run("run", "experiments/vae.py:warmup", "--workdir=x")
    assert done.returncode == 2
    assert "--config is missing: write --config=experiments/vae.py:warmup." in done.stderr
