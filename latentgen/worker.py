"""Train one member of a sweep: `python -m latentgen.worker --workdir DIR --run NAME`.

The engines `local` and `slurm` start this command with the sweep's copy of the source. Its exit
codes are those of `latentgen.run`; the reason for its end is in the member's status.json.
"""

from pathlib import Path

from absl import flags

from latentgen.cli import app
from latentgen.core.errors import BadInput, Diverged, Stopped
from latentgen.evaluation import in_training
from latentgen.storage import status, workdir
from latentgen.sweeps import folder
from latentgen.training import setup, trainer

FLAGS = flags.FLAGS


def main() -> None:
    """Train the member that the flags name, or continue it."""
    if FLAGS.workdir is None or FLAGS.run is None:
        raise BadInput("--workdir and --run are needed: a sweep's folder and the name of a run.")
    sweep = folder.load(Path(FLAGS.workdir))
    found = [member for member in sweep.members if member.run == FLAGS.run]
    if not found:
        raise BadInput(f"--run={FLAGS.run!r} is no run of the sweep in {FLAGS.workdir!r}.")
    run_folder = sweep.run_folder(FLAGS.run)
    try:
        if not setup.finished(run_folder, found[0].config):
            run = setup.load(run_folder, found[0].config, FLAGS.data_dir, FLAGS.manual_dir)
            trainer.train(in_training.attached(run))
    except (Stopped, Diverged):
        raise
    except Exception as error:
        _write_failure(run_folder, error)
        raise


def _write_failure(run_folder: Path, error: Exception) -> None:
    """Write the status of a run that failed before training, which writes its own."""
    if folder.in_use(run_folder):
        return  # by another process
    current = status.read(run_folder)
    if current is None or current.status != status.FAILED:
        workdir.prepare(run_folder)
        reason = str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
        status.StatusWriter(run_folder).end(status.FAILED, " ".join(reason.split())[:500])


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "The folder of a sweep.")
    flags.DEFINE_string("run", None, "The name of one of its runs.")
    app.define_data_flags()
    flags.adopt_module_key_flags(app)
    with app.command():
        main()
