"""Looks at a run: `python -m latentgen.sample --workdir DIR --out x.png --num 64 --mode prior`.

Modes: codes from the prior; from the aggregate posterior, the mixture of normals, one per
training example; input beside output; a path between two codes; one code coordinate at a time.
`--out x.npz` writes arrays: x in pixels, and the codes.
"""

import io
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import flags

from latentgen import door, views
from latentgen.core.keys import run_key, stream
from latentgen.core.types import PyTree
from latentgen.data import pipeline
from latentgen.data.sources import Examples
from latentgen.errors import BadInput, choose
from latentgen.training import hooks, workdir
from latentgen.training.pictures import save_png
from latentgen.views import View

FLAGS = flags.FLAGS
COLUMNS = 10  # of an interpolation or a traversal
Mode = Callable[[Run, PyTree, jax.Array, int], View]


def _random(run: Run, split: Examples, key: jax.Array, num: int) -> jax.Array:
    """`num` examples of a split, drawn without replacement as long as there are enough."""
    order = jax.random.permutation(stream(key, "examples"), len(split.label))
    preprocess = run.experiment.data.preprocess
    chosen = np.resize(np.asarray(order), num)
    return pipeline.chosen(split, chosen, preprocess, stream(key, "preprocess"))


def _prior(run: Run, state: PyTree, key: jax.Array, num: int) -> View:
    return views.prior(run.method, state, key, num)


def _aggregate(run: Run, state: PyTree, key: jax.Array, num: int) -> View:
    views.probe(run.method, "encode")  # before examples are drawn for nothing
    x = _random(run, run.dataset.splits["train"], key, num)
    return views.aggregate(run.method, state, key, x)


def _reconstruct(run: Run, state: PyTree, key: jax.Array, num: int) -> View:
    views.probe(run.method, "encode")
    split = choose("--split", FLAGS.split, run.dataset.splits)
    return views.reconstruct(run.method, state, _random(run, split, key, num // 2))


def _interpolate(run: Run, state: PyTree, key: jax.Array, num: int) -> View:
    return views.interpolate(run.method, state, key, num // COLUMNS, COLUMNS)


def _traverse(run: Run, state: PyTree, key: jax.Array, num: int) -> View:
    return views.traverse(run.method, state, key, num // COLUMNS, COLUMNS)


# For each mode, what makes the view and the smallest --num.
MODES: dict[str, tuple[Mode, int]] = {
    "prior": (_prior, 1),
    "aggregate": (_aggregate, 1),
    "reconstruct": (_reconstruct, 2),
    "interpolate": (_interpolate, COLUMNS),
    "traverse": (_traverse, COLUMNS),
}


def main() -> None:
    """Writes what the flags say."""
    mode, least = choose("--mode", FLAGS.mode, MODES)
    if FLAGS.num < least:
        raise BadInput(f"--num={FLAGS.num} must be at least {least} for --mode={FLAGS.mode}.")
    if FLAGS.out is None or Path(FLAGS.out).suffix not in (".png", ".npz"):
        raise BadInput(f"--out={FLAGS.out!r} must be a file that ends in .png or .npz.")
    out = Path(FLAGS.out)
    workdir.check(out.parent, "folder of --out")
    run, step, state = door.trained()
    view = mode(run, state, stream(run_key(FLAGS.seed), "sample"), FLAGS.num)
    preprocess = run.experiment.data.preprocess
    workdir.prepare(out.parent, "folder of --out")
    if out.suffix == ".png":
        real = run.dataset.splits["train"]
        save_png(out, hooks.draw(view.x, preprocess, real, view.columns))
    else:
        buffer = io.BytesIO()
        np.savez(buffer, x=np.asarray(preprocess.pixels(view.x)), codes=np.asarray(view.codes))
        workdir.write_bytes(out, buffer.getvalue())
    print(f"{out}: {len(view.x)} examples, --mode={FLAGS.mode}, after step {step}")


if __name__ == "__main__":
    door.define_trained_flags()
    flags.DEFINE_string("out", None, "The file to write: .png for a picture, .npz for arrays.")
    flags.DEFINE_integer("num", 64, "How many examples.")
    flags.DEFINE_string("mode", "prior", f"What to look at: {', '.join(MODES)}.")
    flags.DEFINE_string("split", "test", "Where --mode=reconstruct takes its inputs.")
    flags.adopt_module_key_flags(door)
    door.run(main)
