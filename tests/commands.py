"""The commands as a user runs them: in a process of their own."""

import subprocess
import sys
from pathlib import Path

import forks

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
RATES = {
    "vae": ["optimizer.lr=0.001"],
    "gan": ["generator_optimizer.lr=0.003", "discriminator_optimizer.lr=0.003"],
}


def tiny(name: str) -> list[str]:
    """Flags of a run of a few seconds."""
    first, second = NETS[name]
    # A discriminator that normalizes its only layer over the batch could not tell light from dark.
    norms = {first: "batch", second: "batch" if name == "vae" else "none"}
    nets = [
        f"--config.{net}.{change}"
        for net in norms
        for change in ("hidden=16,", f"norm={norms[net]}")
    ]
    rates = [f"--config.{rate}" for rate in RATES[name]]
    return [f"--config={ROOT}/experiments/{name}.py", *TINY, *rates, *nets]


COLD = {"JAX_ENABLE_COMPILATION_CACHE": "false"}  # compile anew, whatever other tests compiled


def start(command: str, *flags: str, cwd: Path = ROOT, **env: str) -> subprocess.Popen:
    """Start `python -m latentgen.COMMAND`; compiled programs are kept with those of all tests."""
    return subprocess.Popen(
        [sys.executable, "-m", f"latentgen.{command}", *flags],
        **dict(cwd=cwd, env=forks.environment() | env, text=True),
        **dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE),
    )


def run(command: str, *flags: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess:
    """The same to the end, in a fork where that can be: an interpreter takes a second to start."""
    if forks.can(every := forks.environment() | env):
        ended = forks.server().run(forks.Job(command, flags, str(cwd)), every, 240)
        return subprocess.CompletedProcess(flags, ended.code, ended.out, ended.err)
    with start(command, *flags, cwd=cwd, **env) as process:
        out, err = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
