"""A run killed at a system call, or whose disk fails at one, goes on bitwise as an undisturbed one.

The studies in short; they start themselves again with a library preloaded, which cc compiles.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT


def study(name: str, folder: Path, *flags: str) -> str:
    """Its last line, after it has ended well."""
    if sys.platform != "linux" or shutil.which("cc") is None:
        complain = pytest.fail if os.environ.get("LATENTGEN_CI") else pytest.skip
        complain("needs Linux and a C compiler, cc")
    command = [sys.executable, "-m", f"tests.studies.{name}", f"--folder={folder}", *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.long
def test_killed_at_system_calls_and_moments(tmp_path: Path) -> None:
    last = study("kill_sweep", tmp_path, "--most=16", "--kills=2")
    assert last == "all the same bitwise"


@pytest.mark.long
def test_a_disk_that_fails(tmp_path: Path) -> None:
    """With each error, once and from there on: at calls of the start, of saves and of the end."""
    last = study("failing_writes", tmp_path, "--most=24")
    assert last.startswith("24 faults: ")
    assert last.endswith("; 0 wrong")


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    """Here no file may have more than 200 kB; other writes of the save are still under way then."""
    flags = [
        *("--config=experiments/gan.py", f"--workdir={tmp_path}/run", "--config.steps=20"),
        *(f"--config.every.{what}=10" for what in ("log", "validate", "sample", "checkpoint")),
    ]
    python = shlex.join([sys.executable, "-m", "latentgen.run", *flags])
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 200; exec {python}"],
        **dict(cwd=ROOT, capture_output=True, text=True, timeout=200),
        env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"},
    )
    assert done.returncode == 4, done.stderr
    *others, line = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}/run/checkpoints/10")
    assert line.endswith(": File too large.")
    assert all(said.startswith(("data: ", "weights: ", "step ")) for said in others), done.stderr
