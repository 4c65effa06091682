"""Compares runs: `python -m latentgen.compare --metric frechet --workdirs runs/a,runs/b`.

Prints what `latentgen.evaluate` last found of each run by this metric, and refuses to put values
side by side that were come by differently: other features, other numbers of examples, another
split or data set.
"""

from pathlib import Path
from typing import Any

from absl import flags

from latentgen import door
from latentgen.errors import BadInput
from latentgen.evaluate import EVALUATIONS, shown
from latentgen.training.log import read
from latentgen.training.workdir import differences

FLAGS = flags.FLAGS
ALIKE = ("metric", "split", "protocol", "data")  # what two results must agree in


def main() -> None:
    """Compares what the flags say."""
    if not FLAGS.workdirs or FLAGS.metric is None:
        raise BadInput("--workdirs and --metric are needed: two folders or more, and a metric.")
    folders = [Path(folder) for folder in FLAGS.workdirs]
    table = compared({str(folder): last(folder, FLAGS.metric) for folder in folders})
    width = max(len(name) for name in table)
    values = list(table.values())
    print(f"{'':{width}} " + " ".join(f"{key:>24}" for key in values[0]))
    for name, row in table.items():
        print(f"{name:{width}} " + " ".join(f"{shown(value):>24}" for value in row.values()))


def last(folder: Path, metric: str) -> dict[str, Any]:
    """The newest result of this metric in the folder.

    Raises:
        BadInput: there is none.
    """
    file = folder / EVALUATIONS
    found = [line for line in read(file) if line["metric"] == metric] if file.exists() else []
    if not found:
        raise BadInput(
            f"--workdirs: {str(folder)!r} has no result of {metric!r}; "
            f"python -m latentgen.evaluate --workdir {folder} --metrics={metric} makes one."
        )
    return found[-1]


def compared(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The values of each result, if they were come by in the same way.

    Raises:
        BadInput: two differ in their protocol, split or data; names in what.
    """
    (first, reference), *others = results.items()
    for name, result in others:
        old, new = ({key: each[key] for key in ALIKE} for each in (reference, result))
        if unlike := differences(old, new):
            words = "; ".join(unlike).replace(" in the workdir", f" in {first}")
            raise BadInput(f"{name} cannot be compared with {first}: {words.replace(' now', '')}.")
    return {name: result["values"] for name, result in results.items()}


if __name__ == "__main__":
    flags.DEFINE_list("workdirs", None, "Folders of runs that have been evaluated.")
    flags.DEFINE_string("metric", None, "A metric of latentgen.evaluate.")
    flags.adopt_module_key_flags(door)
    door.run(main)
