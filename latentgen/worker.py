"""Train one member of a sweep: `python -m latentgen.worker --workdir DIR --run NAME`.

What the engines `local` and `slurm` start, with the source that the sweep keeps. It ends as
`latentgen.run` does; whatever ended it stands in the member's status.json.
"""

from pathlib import Path

from absl import flags

from latentgen.cli import app
from latentgen.core.errors import BadInput, Diverged, Stopped
from latentgen.storage import status, workdir
from latentgen.sweeps import folder
from latentgen.training import setup, trainer

FLAGS = flags.FLAGS


def main() -> None:
    """Train the member that the flags name, from where it stands."""
    if FLAGS.workdir is None or FLAGS.run is None:
        raise BadInput("--workdir and --run are needed: a sweep's folder and the name of a run.")
    sweep = folder.load(Path(FLAGS.workdir))
    found = [member for member in sweep.members if member.run == FLAGS.run]
    if not found:
        raise BadInput(f"--run={FLAGS.run!r} is no run of the sweep in {FLAGS.workdir!r}.")
    place = sweep.place(FLAGS.run)
    try:
        if not setup.finished(place, found[0].config):
            trainer.train(setup.load(place, found[0].config, FLAGS.data_dir, FLAGS.manual_dir))
    except (Stopped, Diverged):
        raise
    except Exception as error:
        _tell(place, error)
        raise


def _tell(place: Path, error: Exception) -> None:
    """Say why a run failed that had not begun; one that had has said so itself."""
    if folder.in_use(place):
        return  # another process's
    now = status.read(place)
    if now is None or now.status != status.FAILED:
        workdir.prepare(place)
        reason = str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
        status.StatusWriter(place).end(status.FAILED, " ".join(reason.split())[:500])


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "The folder of a sweep.")
    flags.DEFINE_string("run", None, "The name of one of its runs.")
    app.define_data_flags()
    flags.adopt_module_key_flags(app)
    with app.command():
        main()
