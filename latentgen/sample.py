"""Draw samples: `python -m latentgen.sample --workdir DIR --out x.png --num 64 --mode prior`.

Modes:
  prior        decode codes from the prior
  aggregate    decode codes from the aggregate posterior, a mixture over training examples
  reconstruct  show inputs and their reconstructions
  interpolate  decode paths between two codes
  traverse     change one coordinate of a code at a time; of an InfoGAN, one of its codes

`--out x.png` writes one picture. `--out x.npz` writes arrays: `x`, float32 pixels in [0, 1] or
coordinates of points; `codes`; for `reconstruct` the `inputs`; for conditional methods the `label`.
`--out DIR` and `--out x.zip` write a PNG for each sample of the prior, see
`evaluation/sample_files.py`; stopped, the same command continues.
"""

import io
import math
import os
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
from latentgen.evaluation import sample_files, views
from latentgen.storage import workdir
from latentgen.training import classes, hooks
from latentgen.training.pictures import pairs, save_png
from latentgen.training.setup import Run

FLAGS = flags.FLAGS
COLUMNS = 10  # of paths and traversals
FOLDER = "folder"
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
    chosen = _chosen_classes(run)
    return jnp.asarray(chosen)[jnp.arange(num) // repeats % len(chosen)] if chosen else None


def _chosen_classes(run: Run) -> tuple[int, ...]:
    """Return the classes of --classes, or all of a conditional method; () for an unconditional one.

    Raises:
        BadInput: the flag names no class, or the method is unconditional.
    """
    number = run.experiment.plan.classes
    if FLAGS.classes is None:
        return tuple(range(number))
    if not number:
        raise BadInput(
            f"--classes={','.join(FLAGS.classes)}: this method is unconditional "
            "(config.method.classes=0)."
        )
    return classes.parse("--classes", FLAGS.classes, number, classes.names_of(run))


# Mode -> (function that makes the view, minimum --num).
MODES: dict[str, tuple[Mode, int]] = {
    "prior": (_prior, 1),
    "aggregate": (_aggregate, 1),
    "reconstruct": (_reconstruct, 1),
    "interpolate": (_interpolate, COLUMNS),
    "traverse": (_traverse, COLUMNS),
}


# Modes whose codes are drawn from the prior, so that the user may choose their classes.
OF_ANY_CLASS = ("prior", "interpolate", "traverse")


def main() -> None:
    """Write the picture, the arrays or the files that the flags describe."""
    mode, least = choose("--mode", FLAGS.mode, MODES)
    app.check_trained()
    kind, out = kind_of_out()
    most = {".png": MOST_IN_A_PICTURE, ".npz": 2**31 - 1}.get(kind, sample_files.MOST)
    if not least <= FLAGS.num <= most:
        raise BadInput(
            f"--num={FLAGS.num} must be in {least} .. {most} for --mode={FLAGS.mode} and a "
            f"{'folder' if kind == FOLDER else f'file {kind}'}."
        )
    if FLAGS.classes is not None and FLAGS.mode not in OF_ANY_CLASS:
        raise BadInput(
            f"--classes does not fit --mode={FLAGS.mode!r}, whose images are of the classes of "
            f"real ones. Valid: {', '.join(OF_ANY_CLASS)}."
        )
    if kind in (FOLDER, ".zip") and FLAGS.mode != "prior":
        raise BadInput(
            f"--mode={FLAGS.mode!r} does not fit --out={FLAGS.out!r}: a folder or a .zip is for "
            "--mode=prior."
        )
    workdir.check(out if kind == FOLDER else out.parent, "folder of --out")
    run, step, state = app.restore_trained(data=False)
    if kind in (FOLDER, ".zip"):
        write_files(kind, out, run, step, state)
        return
    if (size := 4 * FLAGS.num * math.prod(run.dataset.shape)) > MOST_BYTES:
        raise BadInput(f"--num={FLAGS.num} examples would take {size / 2**30:.0f} GiB; at most 8.")
    if FLAGS.mode == "reconstruct" and kind == ".png" and len(run.dataset.shape) != 3:
        raise BadInput("--mode=reconstruct draws images only; points go into an --out of .npz.")
    view = mode(run, state, named_key(run_key(FLAGS.seed), "sample"), FLAGS.num)
    x = views.decoded(run.method, state, view.codes, view.label)
    workdir.prepare(out.parent, "folder of --out")
    write(out, run, view, x)
    print(f"{out}: {len(x)} examples, --mode={FLAGS.mode}, after step {step}")


def kind_of_out() -> tuple[str, Path]:
    """Return the kind of --out, .png, .npz, .zip or a folder, and its path.

    Raises:
        BadInput: the flag is missing, or names a file of another kind.
    """
    valid = "a folder, or a file that ends in .png, .npz or .zip"
    if not FLAGS.out:
        raise BadInput(f"--out is missing: name {valid}.")
    out = Path(FLAGS.out)
    if out.is_dir() or FLAGS.out.endswith(os.sep) or not out.suffix:
        return FOLDER, out
    if out.suffix not in (".png", ".npz", ".zip"):
        raise BadInput(f"--out={FLAGS.out!r} must be {valid}.")
    return out.suffix, out


def write_files(kind: str, out: Path, run: Run, step: int, state: PyTree) -> None:
    """Write a PNG for each sample into a folder or a zip."""
    source = sample_files.from_prior(run, step, state, FLAGS.seed, _chosen_classes(run))
    workdir.prepare(out.parent, "folder of --out")
    write = sample_files.write_folder if kind == FOLDER else sample_files.write_zip
    written = write(out, source, FLAGS.num)
    kept = f", {FLAGS.num - written} of them already there" if written < FLAGS.num else ""
    print(f"{out}: {FLAGS.num} examples, --mode={FLAGS.mode}, after step {step}{kept}")


def write(out: Path, run: Run, view: View, x: Shaped[np.ndarray, "n *shape"]) -> None:
    """Write the decoded codes as a picture or as arrays."""
    preprocess = run.experiment.data.preprocess
    if out.suffix == ".png":
        shown = x if view.inputs is None else pairs(view.inputs, x)
        real = run.dataset.splits["train"] if shown.ndim != 4 else None  # points lie above them
        repeats = len(shown) // len(x)
        written = classes.captions(run, view.label, repeats) if shown.ndim == 4 else ()
        save_png(out, hooks.draw(shown, preprocess, real, view.columns, written))
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
    flags.DEFINE_string(
        "out",
        None,
        "What to write: x.png for a picture, x.npz for arrays; a folder, or x.zip, for a PNG of "
        "each sample.",
    )
    flags.DEFINE_integer(
        "num", 64, f"How many; whole rows of {COLUMNS} for interpolate and traverse."
    )
    flags.DEFINE_string("mode", "prior", f"What to look at: {', '.join(MODES)}.")
    flags.DEFINE_list(
        "classes",
        None,
        "Of a conditional method: classes to draw, in turn, by number or name, such as 3,5 or "
        "cat,dog (default: all).",
    )
    flags.DEFINE_string("split", "test", "Where --mode=reconstruct takes its inputs.")
    flags.adopt_module_key_flags(app)
    with app.command():
        main()
