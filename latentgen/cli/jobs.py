"""Flags of commands that may submit runs to Slurm."""

from typing import Any

from absl import flags

from latentgen.sweeps.engines import slurm

FLAGS = flags.FLAGS


def job() -> slurm.Options:
    """Return the Slurm options that the flags give for each run."""
    names = [name for name in slurm.Options._fields if name != "extra"]
    extra = {}
    for text in FLAGS.sbatch:
        key, _, value = text.lstrip("-").partition("=")
        extra[key] = value or True
    values: dict[str, Any] = {n: FLAGS[n].value if n in FLAGS else None for n in names}
    return slurm.Options(**values, extra=extra)


def define_job_flags() -> None:
    """Define flags for the Slurm options of a job."""
    text = {"partition": "Partition.", "account": "Account.", "qos": "Quality of service."}
    text["mem"] = "Memory, in sbatch's words: 16G."
    for name, help_string in text.items():
        flags.DEFINE_string(name, None, f"slurm: {help_string}")
    flags.DEFINE_integer("time", 60, "slurm: minutes, then a run is requeued.", lower_bound=1)
    flags.DEFINE_integer("lead", 120, "slurm: seconds before that at which it is told to save.")
    flags.DEFINE_integer("gpus", 0, "slurm: GPUs of a run.", lower_bound=0)
    flags.DEFINE_integer("cpus", 1, "slurm: cores of a run.")
    flags.DEFINE_integer("requeues", 1_000, "slurm: how often a run may be requeued.")
    flags.DEFINE_multi_string("sbatch", [], "slurm: any other option of sbatch: constraint=a100.")
