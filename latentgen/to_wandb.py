"""Show runs in Weights & Biases: `python -m latentgen.to_wandb --workdir DIR --project NAME`.

DIR is the folder of a run or a sweep. Each run becomes a W&B run with its config, metrics, pictures
and summary; the seeds of a setting form a group. By default the runs are only written to DIR/wandb,
from where `wandb sync` sends them; `--online` sends them directly.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from latentgen.cli import app
from latentgen.core.errors import BadInput
from latentgen.evaluation.measures.results import evaluated
from latentgen.storage import workdir
from latentgen.storage.log import METRICS, figures, warn
from latentgen.sweeps import folder
from latentgen.training import setup

FLAGS = flags.FLAGS
PICTURES = ("samples", "reconstructions")


class Shown(NamedTuple):
    """A run to export: its folder, its name, and its setting as the group."""

    place: Path
    name: str
    group: str | None


def main() -> None:
    """Export the run or the sweep that the flags name."""
    if FLAGS.workdir is None or FLAGS.project is None:
        raise BadInput("--workdir and --project are needed: what to show, and where.")
    try:
        import wandb
    except ImportError:
        raise BadInput("this needs W&B: pip install 'latentgen[wandb]'.") from None
    runs = list(runs_in(Path(FLAGS.workdir)))
    workdir.own(FLAGS.workdir, depth=1)
    for run in runs:
        show(wandb, run, Path(FLAGS.workdir), FLAGS.project, FLAGS.online)
    print(f"{len(runs)} runs in the project {FLAGS.project!r}")
    if not FLAGS.online:
        print(f"to send them: wandb sync {Path(FLAGS.workdir) / 'wandb'}/offline-run-*")


def runs_in(path: Path) -> Iterator[Shown]:
    """Yield the runs in a folder that have metrics.

    Raises:
        BadInput: the folder holds neither a run nor a sweep.
    """
    if (path / folder.SWEEP).exists():
        sweep = folder.load(path)
        for member in sweep.members:
            if (sweep.run_folder(member.run) / METRICS).exists():
                yield Shown(sweep.run_folder(member.run), member.run, member.setting)
    elif (path / METRICS).exists():
        yield Shown(path, path.absolute().name, None)
    else:
        raise BadInput(f"workdir={str(path)!r} holds neither a run nor a sweep.")


def show(wandb: Any, run: Shown, wandb_folder: Path, project: str, online: bool) -> None:
    """Export a run to W&B.

    Args:
        wandb_folder: the folder to which W&B writes.
    """
    started = wandb.init(
        project=project,
        name=run.name,
        group=run.group,
        dir=str(wandb_folder),
        config=setup.config(run.place),
        mode="online" if online else "offline",
        reinit="finish_previous",
        settings=wandb.Settings(silent=True, console="off"),
    )
    for step, values in by_step(wandb, run.place):
        started.log(values, step=step)
    started.summary.update(_summary(run.place))
    started.finish()


def by_step(wandb: Any, path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return (step, metrics and pictures) in increasing order of steps, as W&B requires."""
    steps: dict[int, dict[str, Any]] = {}
    damaged: list[str] = []
    for line in figures(path / METRICS, damaged):
        values = {f"{line['split']}/{k}": v for k, v in line.items() if k not in ("step", "split")}
        steps.setdefault(int(line["step"]), {}).update(values)
    for name in PICTURES:
        for file in sorted((path / name).glob("step_*.png")):
            step = int("".join(filter(str.isdecimal, file.stem)) or 0)
            steps.setdefault(step, {})[name] = wandb.Image(str(file))
    warn(damaged)
    return sorted(steps.items())


def _summary(path: Path) -> dict[str, Any]:
    figures = {"done": setup.is_done(path)}
    damaged: list[str] = []
    for line in evaluated(path, damaged):
        figures |= {f"{line['metric']}/{name}": value for name, value in line["values"].items()}
    warn(damaged)
    return figures


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "The folder of a run or of a sweep.")
    flags.DEFINE_string("project", None, "The W&B project.")
    flags.DEFINE_bool("online", False, "Send the runs at once, instead of keeping them here.")
    flags.adopt_module_key_flags(app)
    with app.command():
        main()
