"""From the command to the gradient there are few frames in few files."""

import subprocess
import sys
from pathlib import Path

import commands

SCRIPT = """
import runpy, sys, traceback
import jax
grad = jax.grad

def first(*args, **named):
    jax.grad = grad
    ours = [f for f in traceback.extract_stack() if {package!r} in f.filename]
    for frame in ours:
        print(f"{{frame.filename.removeprefix({package!r})}}:{{frame.name}}")
    return grad(*args, **named)

jax.grad = first
sys.argv = {argv!r}
runpy.run_module("latentgen.run", run_name="__main__", alter_sys=True)
"""


def test_at_most_eight_frames_in_five_files(tmp_path: Path) -> None:
    argv = ["run", f"{commands.ROOT}/experiments/gan.py", f"--workdir={tmp_path / 'run'}"]
    argv += ["--config.steps=1", *(f"--config.every.{h}=1" for h in ("log", "validate", "sample"))]
    code = SCRIPT.format(
        package=f"{commands.ROOT}/latentgen/", argv=[*argv, "--config.every.checkpoint=1"]
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=commands.ROOT, check=True
    )
    frames = [line for line in done.stdout.splitlines() if ".py:" in line]
    print("\n".join(frames))
    assert frames[0] == "run.py:<module>"
    assert frames[-1] == "core/game.py:update_players"
    assert len(frames) <= 8, frames
    assert len({frame.partition(":")[0] for frame in frames}) <= 5, frames
