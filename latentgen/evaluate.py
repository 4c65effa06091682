"""Measures a run: `python -m latentgen.evaluate --workdir DIR --split test`.

The objective's terms over a whole split, with standard errors over its examples, printed and
written to DIR/evaluation_SPLIT.json with all that the figures depend on.
"""

from pathlib import Path

from absl import flags

from latentgen import door
from latentgen.core.keys import run_key
from latentgen.data import sources
from latentgen.errors import choose
from latentgen.training import hooks, provenance, workdir

FLAGS = flags.FLAGS


def main() -> None:
    """Evaluates what the flags say."""
    trained = door.open_trained()
    preprocess = trained.experiment.data.preprocess
    split = choose("--split", FLAGS.split, trained.dataset.splits)
    measure = hooks.split_terms(trained.method, preprocess, split, run_key(FLAGS.seed))
    terms = measure(trained.step, trained.state)

    print(f"{FLAGS.split}: {len(split.label):,} examples, after step {trained.step}")
    for name, found in terms.items():
        print(f"  {name:20} {found.mean:12.4f} +- {found.standard_error:.4f}")
    out = Path(FLAGS.workdir, f"evaluation_{FLAGS.split}.json")
    result = {
        "terms": {name: found._asdict() for name, found in terms.items()},
        "split": FLAGS.split,
        "step": trained.step,
        "seed": FLAGS.seed,
        "data": sources.identity(trained.dataset, preprocess.name),
        "config_sha256": provenance.config_hash(trained.config),
        "versions": provenance.versions(),
        "device": provenance.device(),
        "command": provenance.command("latentgen.evaluate"),
    }
    workdir.write_json(out, result)
    print(f"written to {out}")


if __name__ == "__main__":
    door.define_trained_flags()
    flags.DEFINE_string("split", "test", "train, validation or test.")
    flags.adopt_module_key_flags(door)
    door.run(main)
