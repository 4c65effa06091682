"""Draw samples: `python -m latentgen.sample --workdir DIR --out x.png --num 64 --mode prior`.

Modes:
  prior        decode codes from the prior
  aggregate    decode codes from the aggregate posterior, a mixture over training examples
  reconstruct  show inputs and their reconstructions
  interpolate  decode paths between two codes
  traverse     change one coordinate of a code at a time

`--out x.npz` writes arrays: `x`, float32 pixels in [0, 1] or coordinates of points; `codes`; for
`reconstruct` the `inputs`; for conditional methods the `label`.
"""

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from jaxtyping import Array, Float, Int, Key, Shaped

from latentgen.cli import app
from latentgen.core.errors import BadInput, choose
from latentgen.core.keys import named_key, run_key
from latentgen.core.types import Batch, PyTree
from latentgen.data import pipeline
from latentgen.evaluation import views
from latentgen.storage import workdir
from latentgen.training import hooks
from latentgen.training.pictures import pairs, save_png
from latentgen.training.setup import Run

FLAGS = flags.FLAGS
COLUMNS = 10  # of paths and traversals
MOST_IN_A_PICTURE, MOST_BYTES = 10_000, 2**33


class View(NamedTuple):
    """Codes to decode, with labels for a conditional method.

    inputs: inputs to show next to the decoded codes
    columns: number of images in a row of the picture
    """

    codes: Float[Array, "n d"]
    label: Int[Array, " n"] | None = None
    inputs: Shaped[Array, "n *shape"] | None = None
    columns: int | None = None


Mode = Callable[[Run, PyTree, Key[Array, ""], int], View]


def _random_batch(run: Run, split: str, key: Key[Array, ""], num: int) -> Batch:
    """Draw examples of a split in random order; repeat them if it has fewer than `num`."""
    views.probe(run.method, "encode")  # examples are only used with an encoder
    examples = choose("--split", split, run.dataset.splits)
    order = jax.random.permutation(named_key(key, "examples"), len(examples.label))
    chosen, noise = np.resize(np.asarray(order), num), named_key(key, "preprocess")
    return pipeline.chosen(examples, chosen, run.experiment.data.preprocess, noise)


def _prior(run: Run, state: PyTree, key: Key[Array, ""], num: int) -> View:
    return View(views.prior(run.method, state, key, num), _in_turn(run, num, 1))


def _aggregate(run: Run, state: PyTree, key: Key[Array, ""], num: int) -> View:
    batch = _random_batch(run, "train", key, num)
    return View(views.aggregate(run.method, state, key, batch), batch.label)


def _reconstruct(run: Run, state: PyTree, key: Key[Array, ""], num: int) -> View:
    batch = _random_batch(run, FLAGS.split, key, num)
    z = views.centres(run.method, state, batch)
    return View(z, batch.label, batch.x, hooks.PAIRED)


def _interpolate(run: Run, state: PyTree, key: Key[Array, ""], num: int) -> View:
    z = views.paths(run.method, state, key, num // COLUMNS, COLUMNS)
    return View(z, _in_turn(run, len(z), COLUMNS), columns=COLUMNS)


def _traverse(run: Run, state: PyTree, key: Key[Array, ""], num: int) -> View:
    rows = min(num // COLUMNS, run.experiment.plan.layers[0])  # coordinates of the code
    z = views.traversals(run.method, state, key, rows, COLUMNS)
    return View(z, _in_turn(run, len(z), COLUMNS), columns=COLUMNS)


def _in_turn(run: Run, num: int, repeats: int) -> Int[Array, " n"] | None:
    """Return the classes in turn, `repeats` times each, for a conditional method; else None."""
    classes = run.experiment.plan.classes
    return jnp.arange(num) // repeats % classes if classes else None


# Mode -> (function that makes the view, minimum --num).
MODES: dict[str, tuple[Mode, int]] = {
    "prior": (_prior, 1),
    "aggregate": (_aggregate, 1),
    "reconstruct": (_reconstruct, 1),
    "interpolate": (_interpolate, COLUMNS),
    "traverse": (_traverse, COLUMNS),
}


def main() -> None:
    """Write the picture or the arrays that the flags describe."""
    mode, least = choose("--mode", FLAGS.mode, MODES)
    app.check_trained()
    if FLAGS.out is None:
        raise BadInput("--out is missing: name a file that ends in .png or .npz.")
    out = Path(FLAGS.out)
    if out.suffix not in (".png", ".npz"):
        raise BadInput(f"--out={FLAGS.out!r} must be a file that ends in .png or .npz.")
    most = MOST_IN_A_PICTURE if out.suffix == ".png" else 2**31 - 1
    if not least <= FLAGS.num <= most:
        raise BadInput(
            f"--num={FLAGS.num} must be in {least} .. {most} for --mode={FLAGS.mode} and a file "
            f"{out.suffix}."
        )
    workdir.check(out.parent, "folder of --out")
    run, step, state = app.restore_trained(data=False)
    if (size := 4 * FLAGS.num * math.prod(run.dataset.shape)) > MOST_BYTES:
        raise BadInput(f"--num={FLAGS.num} examples would take {size / 2**30:.0f} GiB; at most 8.")
    if FLAGS.mode == "reconstruct" and out.suffix == ".png" and len(run.dataset.shape) != 3:
        raise BadInput("--mode=reconstruct draws images only; points go into an --out of .npz.")
    view = mode(run, state, named_key(run_key(FLAGS.seed), "sample"), FLAGS.num)
    x = views.decoded(run.method, state, view.codes, view.label)
    workdir.prepare(out.parent, "folder of --out")
    write(out, run, view, x)
    print(f"{out}: {len(x)} examples, --mode={FLAGS.mode}, after step {step}")


def write(out: Path, run: Run, view: View, x: Shaped[np.ndarray, "n *shape"]) -> None:
    """Write the decoded codes as a picture or as arrays."""
    preprocess = run.experiment.data.preprocess
    if out.suffix == ".png":
        shown = x if view.inputs is None else pairs(view.inputs, x)
        real = run.dataset.splits["train"] if shown.ndim != 4 else None  # points lie above them
        save_png(out, hooks.draw(shown, preprocess, real, view.columns))
        return
    arrays: dict[str, Any] = {"x": preprocess.pixels(jnp.asarray(x)), "codes": view.codes}
    if view.label is not None:
        arrays["label"] = view.label
    if view.inputs is not None:
        arrays["inputs"] = preprocess.pixels(view.inputs)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    workdir.write_bytes(out, buffer.getvalue())


if __name__ == "__main__":
    app.define_trained_flags()
    flags.DEFINE_string("out", None, "The file to write: .png for a picture, .npz for arrays.")
    flags.DEFINE_integer(
        "num", 64, f"How many; whole rows of {COLUMNS} for interpolate and traverse."
    )
    flags.DEFINE_string("mode", "prior", f"What to look at: {', '.join(MODES)}.")
    flags.DEFINE_string("split", "test", "Where --mode=reconstruct takes its inputs.")
    flags.adopt_module_key_flags(app)
    with app.command():
        main()
