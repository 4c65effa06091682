"""`--help` prints a command's flags and succeeds."""

import re
import sys
from pathlib import Path

import commands
import pytest

from latentgen import __main__
from latentgen.cli import help
from latentgen.configs import recipes

COMMANDS = sorted(
    file.stem
    for file in Path(commands.ROOT, "latentgen").glob("*.py")
    if "__main__" in file.read_text() and file.stem != "__main__"
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    done = commands.run(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^  --(\[no\])?\w+: ", done.stdout, re.MULTILINE)


WRITTEN = re.compile(r"python -m latentgen\.(\w+)((?:[^\n`]|\\\n)*)")
DOCUMENTS = [p for p in commands.ROOT.rglob("*.md") if not {".venv", "runs"} & set(p.parts)]


@pytest.mark.parametrize("command", COMMANDS)
def test_documents_name_flags_that_there_are(command: str) -> None:
    known = set(re.findall(r"^  --(?:\[no\])?(\w+)", commands.run(command, "--help").stdout, re.M))
    known |= {"config", "help", "helpfull"}
    for document in DOCUMENTS:
        for name, flags in WRITTEN.findall(document.read_text()):
            named = re.findall(r"(?<!\S)--(?:no(?=[a-z_]+\b))?(\w+)", flags.partition("#")[0])
            unknown = {flag for flag in named if flag not in known and f"no{flag}" not in known}
            assert name != command or not unknown, (document, flags)


def test_help_beside_other_flags_and_in_full() -> None:
    done = commands.run("run", f"--config={commands.ROOT}/experiments/vae.py", "--helpfull")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--workdir" in done.stdout


def test_a_config_without_its_flag() -> None:
    done = commands.run("run", "nowhere/vae.py:warmup", "--workdir=x")
    assert done.returncode == 2
    assert "--config='nowhere/vae.py:warmup': there is no file 'nowhere/vae.py'." in done.stderr


def test_help_lists_the_keys_of_a_config_with_values_and_meaning() -> None:
    done = commands.run("run", "latentgen:gan:hinge", "-h")
    assert done.returncode == 2
    assert "variant='hinge' is unknown" in done.stderr
    done = commands.run("run", "latentgen:gan:dcgan", "-h")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(
        r"^  --config\.method\.code_dim=100 +coordinates of a code$", done.stdout, re.M
    )
    assert re.search(r"^data:$", done.stdout, re.M)


def test_every_key_of_the_recipes_has_its_meaning_beside_it() -> None:
    plain = {"name", "plugins", "seed", "batch_size", "log", "validate", "sample", "checkpoint"}
    for name in recipes.NAMES:
        lines = help._keys(f"{recipes.PREFIX}{name}")[1:-1]
        bare = {line.partition("=")[0].rpartition(".")[2] for line in lines if "  " not in line[2:]}
        assert bare <= plain, name


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["--completion", "bash"]])
def test_the_console_script(words: list[str], monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["latentgen", *words])
    __main__.main()
    printed = capsys.readouterr().out
    assert {"--version": "latentgen 0.", "--help": "  sweep ", "bash": "complete -o"}[
        words[-1]
    ] in printed


def test_words_are_completed() -> None:
    assert __main__.completions(["sam"]) == ["sample"]
    assert "run" in __main__.completions([])
    assert __main__.completions(["run", "runs/"]) == []


def test_the_current_folder_is_on_the_path_and_last(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["/elsewhere"])
    monkeypatch.setattr(sys, "argv", ["latentgen"])
    monkeypatch.setattr(__main__.runpy, "run_module", lambda *_, **named: None)
    __main__.run("sample", ["--num=3"])
    assert sys.path == ["/elsewhere", str(tmp_path)]
    assert sys.argv == ["sample", "--num=3"]


def test_an_unknown_command_is_refused(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["latentgen", "trane"])
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert end.value.code == 2
    assert "error: 'trane' is no command. Valid: compare, " in capsys.readouterr().err


def test_a_config_is_executed_once(tmp_path: Path) -> None:
    file = tmp_path / "said.py"
    text = (commands.ROOT / "experiments" / "vae.py").read_text()
    file.write_text(f"print('executed')\n{text}")
    done = commands.run("run", str(file), "--config.steps=0", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert done.stdout.count("executed") == 1
