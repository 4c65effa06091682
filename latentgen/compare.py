"""Compare runs: `python -m latentgen.compare --metric frechet --workdirs runs/a,runs/b`.

Print the newest result of `latentgen.evaluate` for this metric of each run. Results that are not
comparable are refused: other features, other numbers of examples, another split or data set.
"""

from pathlib import Path

from absl import flags

from latentgen.cli import app
from latentgen.core.errors import BadInput
from latentgen.evaluation.measures import named
from latentgen.evaluation.measures.results import compared, last, shown

FLAGS = flags.FLAGS


def main() -> None:
    """Compare the runs that the flags name."""
    if not FLAGS.workdirs or FLAGS.metric is None:
        raise BadInput("--workdirs and --metric are needed: two folders or more, and a metric.")
    named("--metric", FLAGS.metric)
    folders = [Path(folder) for folder in FLAGS.workdirs]
    table = compared({str(folder): last(folder, FLAGS.metric) for folder in folders})
    width = max(len(name) for name in table)
    values = list(table.values())
    print(f"{'':{width}} " + " ".join(f"{key:>24}" for key in values[0]))
    for name, row in table.items():
        print(f"{name:{width}} " + " ".join(f"{shown(value):>24}" for value in row.values()))


if __name__ == "__main__":
    flags.DEFINE_list("workdirs", None, "Folders of runs that have been evaluated.")
    flags.DEFINE_string("metric", None, "A metric of latentgen.evaluate.")
    flags.adopt_module_key_flags(app)
    with app.command():
        main()
