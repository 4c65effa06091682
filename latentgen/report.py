"""Shows a run or a sweep: `python -m latentgen.report DIR [--out FILE]`, one self-contained page.

The page makes no request, works without JavaScript and from a file. Of a sweep it ranks the
settings by `--metric`; the `--best` runs' checkpoints are opened for traversals, nearest training
images and, in the plane, the discriminator's field.
"""

from pathlib import Path

from absl import flags

from latentgen import door
from latentgen.errors import BadInput
from latentgen.reporting import folders, opened, scores
from latentgen.reporting.page import page
from latentgen.training import provenance, workdir

FLAGS = flags.FLAGS
PAGE = "report.html"


def main() -> None:
    """Writes the page that the flags say."""
    if FLAGS.workdir is None:
        raise BadInput("DIR is missing: name the folder of a run or of a sweep.")
    folder = folders.open_folder(Path(FLAGS.workdir))
    out = Path(FLAGS.out or folder.path / PAGE)
    workdir.check(out.parent, "folder of --out")
    metric = scores.choose_metric(folder.members, FLAGS.metric)
    lower = FLAGS.lower_is_better
    if lower is None:
        lower = metric is None or scores.lower_is_better(metric)
    members = folder.members
    if folder.is_sweep:
        best = scores.best(scores.ranked(members, metric, lower), metric, lower)
        members = best[: FLAGS.best]
    looked_at = [
        opened.open_run(member.folder, member.name, FLAGS.data_dir, FLAGS.manual_dir)
        for member in members[: FLAGS.best]
    ]
    command = provenance.command("latentgen.report")
    text = page(folder, looked_at, metric, lower, FLAGS.metric is not None, command)
    workdir.prepare(out.parent, "folder of --out")
    workdir.write_bytes(out, text.encode())
    print(f"{out}: {len(text.encode()) / 1e6:.2f} MB")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "The folder of a run or a sweep; the same as DIR.")
    flags.DEFINE_string("out", None, f"The file to write (default: {PAGE} in DIR).")
    flags.DEFINE_string(
        "metric", None, "What settings are ranked by: validation/loss, frechet/frechet_distance."
    )
    flags.DEFINE_boolean(
        "lower_is_better", None, "Whether less of the metric is better (default: by its name)."
    )
    flags.DEFINE_integer(
        "best", 3, "How many of the best runs have their checkpoints opened.", lower_bound=0
    )
    door.define_data_flags()
    flags.adopt_module_key_flags(door)
    door.run(main, word="workdir")
