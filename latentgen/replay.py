"""Repeat the step at which a run diverged: `python -m latentgen.replay --workdir DIR`.

DIR/diverged holds the state before that step. --step chooses one of several steps that the run has
left out; the default is the last. Print the turn and the first tensor that is not finite. For each
metric and parameter, before and after the step, print min, max and mean |x| of the finite values,
and the share of values that are not finite.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from absl import flags

from latentgen.cli import app
from latentgen.core.errors import BadInput
from latentgen.core.types import PyTree
from latentgen.storage import evidence
from latentgen.storage.checkpoint import by_path
from latentgen.training import divergence, setup
from latentgen.training.setup import Run

FLAGS = flags.FLAGS


def main() -> None:
    """Repeat a divergence recorded in the workdir's diverged.json or skipped.jsonl."""
    if FLAGS.workdir is None:
        raise BadInput("--workdir is missing: name the folder of a run.")
    folder = Path(FLAGS.workdir)
    record = chosen(folder, FLAGS.step)
    run = setup.reopen(folder, FLAGS.data_dir, FLAGS.manual_dir)
    first, state = setup.restore(run, record["first"], evidence.STATE)
    blame, tables = repeat(run, state, first, record["last"])
    print(f"step {record['last']}, from the state after {first} updates")
    if blame.bad:
        name, (count, values) = next(iter(blame.bad.items()))
        print(f"first tensor that is not finite: {name} ({count} of {values} values)")
        if blame.turn is not None:
            print(f"computed in the turn of {blame.turn}")
    else:
        name = None
        print("everything is finite")
    if name != record["tensor"]:
        print(f"the run's own record names {record['tensor']}: another device or version?")
    for title, tensors in tables.items():
        show(title, tensors)


def chosen(folder: Path, step: int | None) -> dict[str, Any]:
    """Return the record of the run's divergence at `step`, or of its last one.

    Raises:
        BadInput: the run did not diverge, or not at `step`.
    """
    last = evidence.diverged(folder)
    records = [*evidence.skips(folder), *([] if last is None else [last])]
    if not records:
        raise BadInput(
            f"workdir={str(folder)!r} has not diverged: neither {evidence.DIVERGED} nor "
            f"{evidence.SKIPPED} is in it."
        )
    for record in reversed(records):
        if step is None or record["first"] < step <= record["last"]:
            return record
    valid = ", ".join(str(record["last"]) for record in records)
    raise BadInput(f"--step={step} is not one at which the run diverged. Valid: {valid}.")


def repeat(
    run: Run, state: PyTree, first: int, last: int
) -> tuple[divergence.Blame, dict[str, Mapping[str, Any]]]:
    """Repeat a divergence; return what is not finite, and the tensors to show, by title."""
    before = _parameters(state)
    if first == last:  # the state is finite, its samples are not
        samples = {"samples": setup.sampler(run)(state)}
        return divergence.Blame(divergence.count(samples), None), {
            "samples": samples,
            "state": before,
        }
    feed = setup.feed_of(run)
    skipped = [r for r in evidence.skipped(evidence.skips(run.folder)) if r != range(first, last)]
    done = divergence.again(run.method, feed, run.key, skipped)(state, first, last)
    blame = divergence.blamed(run.method, feed, state, first, run.key, done)
    return blame, {
        "metrics": done.metrics,
        "state before": before,
        "state after": _parameters(done.after),
    }


def _parameters(state: PyTree) -> dict[str, Any]:
    """Return the parameters, and other leaves of the state that are not finite."""
    leaves = by_path(state)
    wrong = divergence.count(leaves)
    return {name: x for name, x in leaves.items() if "params" in name.split(".") or name in wrong}


def show(title: str, tensors: Mapping[str, Any]) -> None:
    """Print a table, a line for each tensor."""
    width = max(map(len, [title, *tensors]))
    print(f"\n{title:{width}} {'min':>11} {'max':>11} {'mean |x|':>11} {'not finite':>11}")
    for name, x in tensors.items():
        low, high, mean, share = divergence.statistics(x)
        print(f"{name:{width}} {low:11.4g} {high:11.4g} {mean:11.4g} {share:11.2%}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "The folder of a run that diverged.")
    flags.DEFINE_integer(
        "step", None, "Which of the steps at which it did (default: the last).", lower_bound=0
    )
    app.define_data_flags()
    flags.adopt_module_key_flags(app)
    with app.command():
        main()
