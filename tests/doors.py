"""The commands as a user runs them: in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TINY = [  # an MLP with batch norm and an average of the weights, on the digits
    "--config.steps=600",
    "--config.batch_size=32",
    "--config.every.log=10",
    "--config.every.validate=200",
    "--config.every.sample=200",
    "--config.every.checkpoint=50",
    "--config.method.ema_decay=0.9",
]
NETS = {"vae": ("encoder", "decoder"), "gan": ("generator", "discriminator")}


def tiny(name: str) -> list[str]:
    """Flags of a run of a few seconds."""
    nets = [
        f"--config.{net}.{change}" for net in NETS[name] for change in ("hidden=16,", "norm=batch")
    ]
    return [f"--config={ROOT}/experiments/{name}.py", *TINY, *nets]


def start(door: str, *flags: str, cache: Path | None = None, **env: str) -> subprocess.Popen:
    """Starts `python -m latentgen.DOOR`; compiled programs are kept in `cache`."""
    if cache is not None:
        env |= {
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
    return subprocess.Popen(
        [sys.executable, "-m", f"latentgen.{door}", *flags],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(door: str, *flags: str, cache: Path | None = None) -> subprocess.CompletedProcess:
    """The same, to the end."""
    with start(door, *flags, cache=cache) as process:
        out, err = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
