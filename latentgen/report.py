"""Show a run or a sweep: `python -m latentgen.report DIR [--out FILE]`, one self-contained page.

The page makes no requests, and works without JavaScript and from a file. For a sweep, it ranks the
settings by `--metric`. For the `--best` runs, it shows traversals, nearest training images and, for
points in the plane, the discriminator's field.

If DIR is experiments/baselines, the page is the ledger: a chart for each claim, and samples of the
runs in `--runs`.
"""

from pathlib import Path

from absl import flags

from latentgen.cli import app
from latentgen.core.errors import BadInput
from latentgen.reporting import folders, ledger, opened, scores
from latentgen.reporting.page import page
from latentgen.storage import provenance, workdir

FLAGS = flags.FLAGS
PAGE, LEDGER = "report.html", "ledger.html"
RUNS = Path("runs", "baselines")


def main() -> None:
    """Write the page of a run, a sweep or the ledger."""
    if FLAGS.workdir is None:
        raise BadInput("DIR is missing: name the folder of a run or of a sweep.")
    folder_path = Path(FLAGS.workdir)
    if ledger.is_ledger(folder_path):
        write_ledger(folder_path)
        return
    if FLAGS.runs is not None:
        raise BadInput(f"--runs is for a folder of baselines, which {str(folder_path)!r} is not.")
    folder = folders.open_folder(folder_path)
    out = target(folder.path / PAGE)
    metric = scores.choose_metric(folder.members, FLAGS.metric)
    lower = FLAGS.lower_is_better
    if lower is None:
        lower = metric is None or scores.lower_is_better(metric)
    members = folder.members
    if folder.is_sweep:
        best = scores.best(scores.ranked(members, metric, lower), metric, lower)
        members = best[: FLAGS.best]
    opened_runs = [
        opened.open_run(member.folder, member.name, FLAGS.data_dir, FLAGS.manual_dir)
        for member in members[: FLAGS.best]
    ]
    command = provenance.command("latentgen.report")
    text = page(folder, opened_runs, metric, lower, FLAGS.metric is not None, command)
    write(out, text)


def write_ledger(folder_path: Path) -> None:
    """Write the page of a folder of baselines."""
    runs = Path(FLAGS.runs or RUNS)
    if FLAGS.runs is not None and not runs.is_dir():
        raise BadInput(f"--runs={FLAGS.runs!r} is no folder.")
    out = target(Path(LEDGER))
    write(out, ledger.page(ledger.read(folder_path), runs, provenance.command("latentgen.report")))


def target(default: Path) -> Path:
    """Return the path of the page to write.

    Raises:
        BadInput: the path is a folder, or its parent cannot be one.
    """
    out = Path(FLAGS.out or default)
    if not out.name or out.is_dir():
        raise BadInput(f"--out={FLAGS.out!r} is a folder; name a file in it.")
    workdir.check(out.parent, "folder of --out")
    return out


def write(out: Path, text: str) -> None:
    """Write a page, and print its path and size."""
    content = text.encode(errors="backslashreplace")
    workdir.prepare(out.parent, "folder of --out")
    workdir.write_bytes(out, content)
    print(f"{out}: {len(content) / 1e6:.2f} MB")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "The folder of a run or a sweep; the same as DIR.")
    flags.DEFINE_string(
        "out", None, f"The file to write (default: {PAGE} in DIR, of baselines {LEDGER} here)."
    )
    flags.DEFINE_string(
        "metric", None, "What settings are ranked by: validation/loss, frechet/frechet_distance."
    )
    flags.DEFINE_boolean(
        "lower_is_better", None, "Whether less of the metric is better (default: by its name)."
    )
    flags.DEFINE_integer(
        "best", 3, "How many of the best runs have their checkpoints opened.", lower_bound=0
    )
    flags.DEFINE_string(
        "runs", None, f"Of baselines: where their runs are, for pictures (default: {RUNS})."
    )
    app.define_data_flags()
    flags.adopt_module_key_flags(app)
    with app.command(positional="workdir"):
        main()
