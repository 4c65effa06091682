"""One run of two processes that Slurm starts: they find each other by themselves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cluster
import commands
import pytest

from latentgen.storage.log import read

SHORT = [*commands.tiny("gan"), "--config.steps=100", "--config.every.checkpoint=100"]
SHORT += ["--config.every.validate=100", "--config.every.sample=100"]
TOLERANCE = 1e-3  # relative or absolute: the sums of two halves of a batch


def test_srun_starts_a_run_of_two_processes(in_cluster: cluster.Cluster, tmp_path: Path) -> None:
    together, alone = tmp_path / "together", tmp_path / "alone"
    done = subprocess.run(
        [
            *("srun", "--ntasks=2", "--cpus-per-task=1", sys.executable, "-m", "latentgen.run"),
            *(*SHORT, f"--workdir={together}"),
        ],
        cwd=commands.ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("100 steps in") == 1  # one of them speaks
    assert json.loads((together / "summary.json").read_text())["device"]["count"] == 2
    assert commands.run("run", *SHORT, f"--workdir={alone}").returncode == 0
    rows, others = read(together / "metrics.jsonl"), read(alone / "metrics.jsonl")
    assert [(row["step"], row["split"]) for row in rows] == [
        (row["step"], row["split"]) for row in others
    ]
    for row, other in zip(rows, others, strict=True):
        for name in row.keys() - {"seconds", "split"}:
            assert row[name] == pytest.approx(other[name], rel=TOLERANCE, abs=TOLERANCE), name
