"""The versions and platforms of the README: every file says the same, and no other is left out.

What macOS and Windows do is told here without a machine of either.
"""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

import latentgen

PACKAGE = Path(latentgen.__file__).parent
ROOT = PACKAGE.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
README = (ROOT / "README.md").read_text()
SUPPORTED = re.findall(r"Python (3\.\d+) to 3\.(\d+) and jax (\S+) to (\d+\.\d+)", README)[0]
PYTHONS = [f"3.{minor}" for minor in range(int(SUPPORTED[0][2:]), int(SUPPORTED[1]) + 1)]
LINUX_FILES = {  # where a missing one is no error
    "system/compilation.py": {"/proc/cpuinfo"},
    "system/machine.py": {"proc/self/cgroup", "proc/self/mountinfo"},
}
LINUX_CALLS = {
    "sweeps/engines/job.py": {"waitid"},  # inside a job of Slurm
    "data/pictures/prepare.py": {"sched_getaffinity"},  # where it is, else all CPUs
}
FILE = re.compile(r"[\"'](/?(?:proc|sys|run|dev/shm)/[^\"' ]*)[\"']")
CALL = re.compile(
    r"\.(pipe2|waitid|sched_[gs]etaffinity|process_cpu_count|posix_f\w+|splice|copy_file_range"
    r"|memfd_create|eventfd|pidfd_open|epoll|[gs]etxattr|listxattr|O_TMPFILE|O_PATH|O_DIRECT"
    r"|sigtimedwait|sigwaitinfo|prlimit|CLOCK_BOOTTIME)\b"
)
"""Names of the standard library that macOS lacks, or Python 3.11; mypy, see Makefile, knows all."""


def test_macos_has_what_is_used() -> None:
    for path in PACKAGE.rglob("*.py"):
        here, text = str(path.relative_to(PACKAGE)), path.read_text()
        assert set(FILE.findall(text)) == LINUX_FILES.get(here, set()), here
        assert set(CALL.findall(text)) == LINUX_CALLS.get(here, set()), here


def package() -> None:
    """latentgen/__init__.py as on a first import."""
    file = PACKAGE / "__init__.py"
    exec(compile(file.read_text(), file, "exec"), {"__file__": str(file)})


def test_windows_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(sys, "argv", ["-m", "--config=experiments/vae.py"])
    with pytest.raises(SystemExit, match="2"):
        package()
    assert capsys.readouterr().err == (
        "error: latentgen runs on Linux and macOS; on Windows, use it inside WSL2.\n"
    )


def test_a_library_for_windows_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(sys, "argv", ["own.py"])
    with pytest.raises(ImportError, match="Linux and macOS"):
        package()


def test_the_package_needs_no_module_before_it_can_refuse() -> None:
    """Windows has neither fcntl nor resource: what is imported first must be everywhere."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    first = {
        alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names
    }
    assert first == {"importlib", "os", "sys"}


def listed(name: str) -> dict[str, str]:
    """The versions in experiments/`name`.txt, by the name of the package in lower case."""
    lines = (ROOT / f"experiments/{name}.txt").read_text().splitlines()[1:]
    return {
        each.lower().replace("_", "-"): version for each, version in (x.split("==") for x in lines)
    }


def test_every_file_names_the_supported_pythons() -> None:
    first = PYTHONS[0]
    project, tool = PROJECT["project"], PROJECT["tool"]
    prefix = "Programming Language :: Python :: "
    classified = [each.removeprefix(prefix) for each in project["classifiers"] if prefix in each]
    matrix = re.search(r"python: (\[.*\])", (ROOT / ".github/workflows/ci.yml").read_text())
    assert classified == ["3", *PYTHONS]
    assert project["requires-python"] == f">={first}"
    assert tool["ruff"]["target-version"] == f"py{first.replace('.', '')}"
    assert matrix is not None
    assert ast.literal_eval(matrix[1]) == PYTHONS
    assert f"sys.version_info < ({first.replace('.', ', ')})" in (ROOT / "Makefile").read_text()


def test_the_oldest_and_the_newest_jax_are_the_supported_ones() -> None:
    for name, minor in (("oldest", SUPPORTED[2]), ("newest", SUPPORTED[3])):
        assert listed(name)["jax"].split(".")[:2] == minor.split(".")


@pytest.mark.parametrize("name", ["oldest", "pinned", "newest"])
def test_the_readme_shows_the_versions_that_are_listed(name: str) -> None:
    row = re.search(rf"^\| .*make test {name.upper()}=1` \|(.*)$", README, re.MULTILINE)
    assert row is not None
    python, *shown = [cell.strip() for cell in row[1].split("|")][:4]
    assert python in PYTHONS
    assert shown == [listed(name)[each] for each in ("jax", "flax", "orbax-checkpoint")]


@pytest.mark.parametrize("name", ["pinned", "newest"])
def test_a_list_of_exact_versions_has_all_that_is_asked_for(name: str) -> None:
    project = PROJECT["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split("[>=]", each)[0].lower().replace("_", "-") for each in asked}
    assert names <= listed(name).keys()
