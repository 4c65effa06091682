"""Slurm's commands: called with an environment of their own, and with what they say of mistakes."""

import os
import subprocess

from latentgen.core.errors import BadInput


def environment() -> dict[str, str]:
    """Without what a job that we are in, or a profile, would add to commands of Slurm."""
    ours = ("SBATCH_", "SLURM_", "SLURMD_", "SQUEUE_", "SRUN_", "SUBMITIT_", "SCANCEL_")
    return {k: v for k, v in os.environ.items() if k == "SLURM_CONF" or not k.startswith(ours)}


def call(*command: str) -> str:
    """Run a command of Slurm and return what it prints.

    Raises:
        BadInput: it fails, with the `reason` that it prints, or does not answer.
    """
    try:
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadInput(f"Slurm does not answer: {error}.") from None
    if done.returncode:
        raise BadInput(f"{command[0]} refuses: {reason(done.stderr)}")
    return done.stdout


def reason(text: str) -> str:
    """Return the last line with an error in it, or else the last line, of a command's output."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line] or lines[-1:]
    return errors[-1] if errors else "it does not say why."
