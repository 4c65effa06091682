"""Show runs in Weights & Biases: `python -m latentgen.to_wandb --workdir DIR --project NAME`.

DIR is a run's folder or a sweep's; each run becomes one W&B run, with its config, its figures by
step, its pictures and its summary; the seeds of a setting are a group. Nothing leaves this machine
unless `--online` is given: the runs are written to DIR/wandb, and `wandb sync` sends them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from latentgen.cli import app
from latentgen.core.errors import BadInput
from latentgen.evaluation.measures.results import evaluated
from latentgen.storage import workdir
from latentgen.storage.log import METRICS, figures
from latentgen.sweeps import folder
from latentgen.training import setup

FLAGS = flags.FLAGS
PICTURES = ("samples", "reconstructions")


class Shown(NamedTuple):
    """A run to be shown: its folder, its name, and the setting whose seeds belong together."""

    place: Path
    name: str
    group: str | None


def main() -> None:
    """Show what the flags name."""
    if FLAGS.workdir is None or FLAGS.project is None:
        raise BadInput("--workdir and --project are needed: what to show, and where.")
    try:
        import wandb
    except ImportError:
        raise BadInput("this needs W&B: pip install 'latentgen[wandb]'.") from None
    runs = list(found(Path(FLAGS.workdir)))
    workdir.own(FLAGS.workdir, depth=1)
    for run in runs:
        show(wandb, run, Path(FLAGS.workdir), FLAGS.project, FLAGS.online)
    print(f"{len(runs)} runs in the project {FLAGS.project!r}")
    if not FLAGS.online:
        print(f"to send them: wandb sync {Path(FLAGS.workdir) / 'wandb'}/offline-run-*")


def found(place: Path) -> Iterator[Shown]:
    """The runs in a folder that have said something.

    Raises:
        BadInput: it holds neither a run nor a sweep.
    """
    if (place / folder.SWEEP).exists():
        sweep = folder.load(place)
        for member in sweep.members:
            if (sweep.place(member.run) / METRICS).exists():
                yield Shown(sweep.place(member.run), member.run, member.setting)
    elif (place / METRICS).exists():
        yield Shown(place, place.absolute().name, None)
    else:
        raise BadInput(f"workdir={str(place)!r} holds neither a run nor a sweep.")


def show(wandb: Any, run: Shown, kept: Path, project: str, online: bool) -> None:
    """One run of ours as one of W&B's.

    Args:
        kept: the folder in which W&B keeps what it writes.
    """
    started = wandb.init(
        project=project,
        name=run.name,
        group=run.group,
        dir=str(kept),
        config=setup.config(run.place),
        mode="online" if online else "offline",
        reinit="finish_previous",
        settings=wandb.Settings(silent=True, console="off"),
    )
    for step, values in by_step(wandb, run.place):
        started.log(values, step=step)
    started.summary.update(_summary(run.place))
    started.finish()


def by_step(wandb: Any, place: Path) -> list[tuple[int, dict[str, Any]]]:
    """(step, figures and pictures of that step), in order: W&B takes no step back."""
    steps: dict[int, dict[str, Any]] = {}
    for line in figures(place / METRICS):
        values = {f"{line['split']}/{k}": v for k, v in line.items() if k not in ("step", "split")}
        steps.setdefault(int(line["step"]), {}).update(values)
    for name in PICTURES:
        for file in sorted((place / name).glob("step_*.png")):
            step = int("".join(filter(str.isdecimal, file.stem)) or 0)
            steps.setdefault(step, {})[name] = wandb.Image(str(file))
    return sorted(steps.items())


def _summary(place: Path) -> dict[str, Any]:
    figures = {"done": setup.summary(place) is not None}
    for line in evaluated(place):
        figures |= {f"{line['metric']}/{name}": value for name, value in line["values"].items()}
    return figures


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "The folder of a run or of a sweep.")
    flags.DEFINE_string("project", None, "The W&B project.")
    flags.DEFINE_bool("online", False, "Send the runs at once, instead of keeping them here.")
    flags.adopt_module_key_flags(app)
    with app.command():
        main()
