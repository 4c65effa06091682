"""Calls of Slurm's commands in a clean environment, with their errors as BadInput."""

import os
import subprocess

from latentgen.core.errors import BadInput


def environment() -> dict[str, str]:
    """Return the environment without variables that would add options to Slurm's commands."""
    prefixes = ("SBATCH_", "SLURM_", "SLURMD_", "SQUEUE_", "SRUN_", "SUBMITIT_", "SCANCEL_")
    return {k: v for k, v in os.environ.items() if k == "SLURM_CONF" or not k.startswith(prefixes)}


def call(*command: str) -> str:
    """Run a command of Slurm and return what it prints.

    Raises:
        BadInput: the command fails or times out; the message has the `reason` that it prints.
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
    """Return the last line of an output that has an error, else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line] or lines[-1:]
    return errors[-1] if errors else "it does not say why."
