"""Repeats the step at which a run diverged: `python -m latentgen.replay --workdir DIR`.

DIR/diverged holds the state before it. Prints the first tensor that is not finite, and of each
metric and parameter, before and after the step: min, max and mean |x| of the finite values, and
the share of those that are not finite.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from latentgen import door, runner
from latentgen.core.types import PyTree
from latentgen.errors import BadInput
from latentgen.runner import Run
from latentgen.training import divergence
from latentgen.training.checkpoint import by_path

FLAGS = flags.FLAGS


def main() -> None:
    """Repeats what the workdir's diverged.json tells of."""
    if FLAGS.workdir is None:
        raise BadInput("--workdir is missing: name the folder of a run.")
    folder = Path(FLAGS.workdir)
    record = runner.diverged(folder)
    if record is None:
        raise BadInput(f"workdir={str(folder)!r} has not diverged: no {runner.DIVERGED} in it.")
    run = runner.reopen(folder, FLAGS.data_dir, FLAGS.manual_dir)
    first, state = runner.restore(run, record["first"], runner.DIVERGED_STATE)
    found, tables = repeat(run, state, first, record["last"])
    print(f"step {record['last']}, from the state after {first} updates")
    if found:
        name, (count, values) = next(iter(found.items()))
        print(f"first tensor that is not finite: {name} ({count} of {values} values)")
    else:
        name = None
        print("everything is finite")
    if name != record["tensor"]:
        print(f"{folder / runner.DIVERGED} names {record['tensor']}: another device or version?")
    for title, tensors in tables.items():
        show(title, tensors)


def repeat(
    run: Run, state: PyTree, first: int, last: int
) -> tuple[dict[str, divergence.Bad], dict[str, Mapping[str, Any]]]:
    """What is not finite, the first of it first, and the tensors to show, by title."""
    before = _parameters(state)
    if first == last:  # the state is finite; what it generates is not
        samples = {"samples": runner.sampler(run)(state)}
        return divergence.count(samples), {"samples": samples, "state": before}
    feed = runner.feed_of(run)
    done = divergence.again(run.method, feed, run.key)(state, first, last)
    found = divergence.bad(run.method, feed, state, first, run.key, done)
    return found, {
        "metrics": done.metrics,
        "state before": before,
        "state after": _parameters(done.after),
    }


def _parameters(state: PyTree) -> dict[str, Any]:
    """The parameters, and whatever else of the state is not finite."""
    leaves = by_path(state)
    wrong = divergence.count(leaves)
    return {name: x for name, x in leaves.items() if "params" in name.split(".") or name in wrong}


def show(title: str, tensors: Mapping[str, Any]) -> None:
    """Prints a table, a line for each tensor."""
    width = max(map(len, [title, *tensors]))
    print(f"\n{title:{width}} {'min':>11} {'max':>11} {'mean |x|':>11} {'not finite':>11}")
    for name, x in tensors.items():
        low, high, mean, share = divergence.statistics(x)
        print(f"{name:{width}} {low:11.4g} {high:11.4g} {mean:11.4g} {share:11.2%}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "The folder of a run that diverged.")
    door.define_data_flags()
    flags.adopt_module_key_flags(door)
    door.run(main)
