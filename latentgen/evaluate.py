"""Measures a run: `python -m latentgen.evaluate --workdir DIR --split test`.

The objective's terms over a whole split, with standard errors over its examples, printed and
written to DIR/evaluation_SPLIT.json with all that the figures depend on.
"""

from absl import flags

from latentgen import door, runner
from latentgen.core.keys import run_key
from latentgen.errors import choose
from latentgen.training import hooks, provenance, workdir

FLAGS = flags.FLAGS


def main() -> None:
    """Evaluates what the flags say."""
    run, step, state = door.trained()
    workdir.check(run.folder)  # before the work, not after it
    split = choose("--split", FLAGS.split, run.dataset.splits)
    preprocess = run.experiment.data.preprocess
    terms = hooks.split_terms(run.method, preprocess, split, run_key(FLAGS.seed))(step, state)

    print(f"{FLAGS.split}: {len(split.label):,} examples, after step {step}")
    for name, found in terms.items():
        print(f"  {name:20} {found.mean:12.4f} +- {found.standard_error:.4f}")
    result = {
        "terms": {name: found._asdict() for name, found in terms.items()},
        "split": FLAGS.split,
        "step": step,
        "seed": FLAGS.seed,
        **provenance.stamp(run.config, runner.identity(run), "latentgen.evaluate"),
    }
    out = run.folder / f"evaluation_{FLAGS.split}.json"
    workdir.write_json(out, result)
    print(f"written to {out}")


if __name__ == "__main__":
    door.define_trained_flags()
    flags.DEFINE_string("split", "test", "train, validation or test.")
    flags.adopt_module_key_flags(door)
    door.run(main)
