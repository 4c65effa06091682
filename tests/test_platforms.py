"""Linux, macOS and Windows: what runs where, told without a machine of each."""

import ast
import sys
from pathlib import Path

import pytest

import latentgen

PACKAGE = Path(latentgen.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
LINUX_FOLDERS = ("/proc/", "/sys/", "/dev/shm", "/run/", "proc/", "sys/")
LINUX_FILES = {  # where a missing one is no error
    "training/compilation.py": {"/proc/cpuinfo"},
    "training/machine.py": {"proc/self/cgroup", "proc/self/mountinfo"},
}
LINUX_CALLS = {
    *("pipe2", "waitid", "sched_getaffinity", "sched_setaffinity", "posix_fadvise", "splice"),
    *("posix_fallocate", "copy_file_range", "memfd_create", "eventfd", "pidfd_open", "epoll"),
    *("getxattr", "setxattr", "listxattr", "prctl", "O_TMPFILE", "O_PATH", "O_DIRECT"),
    *("process_cpu_count", "sigtimedwait", "sigwaitinfo", "prlimit", "CLOCK_BOOTTIME"),
}
"""Names of the standard library that macOS lacks, or Python 3.11; mypy knows the others."""

IN_A_JOB_OF_SLURM = {"launchers/job.py": {"waitid"}}


def words(path: Path) -> tuple[set[str], set[str]]:
    """Texts that look like a file of Linux's, and names of what only Linux has."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    texts = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    files = {text for text in texts if text.startswith(LINUX_FOLDERS) and " " not in text}
    return files, names & LINUX_CALLS


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_macos_has_what_is_used(path: Path) -> None:
    here = str(path.relative_to(PACKAGE))
    files, names = words(path)
    assert files <= LINUX_FILES.get(here, set())
    assert names <= IN_A_JOB_OF_SLURM.get(here, set())


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
    assert first == {"os", "sys"}
