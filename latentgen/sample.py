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

`--truncation 0.7` trades variety for typical samples. With styles (StyleGAN2), w <- m + 0.7 (w - m)
around the mean style m; else, under the prior N(0, I), no coordinate of a code is beyond 0.7.
`--mix 0-3` draws a table, in which each image has levels 0 to 3 of its column's style and the
others of its row's. `--mode interpolate --video x.gif` draws a closed path through --num codes.
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
from latentgen.evaluation import animations, sample_files, styles, views
from latentgen.storage import workdir
from latentgen.training import classes, hooks
from latentgen.training.pictures import pairs, save_png
from latentgen.training.setup import Run

FLAGS = flags.FLAGS
COLUMNS = 10  # of paths, traversals and tables of styles
NUM, NUM_OF_VIDEO = 64, 8  # by default
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


def _mixed(run: Run, state: PyTree, key: Key[Array, ""], num: int) -> View:
    rows, levels = max(1, num // COLUMNS), styles.parse_levels("--mix", FLAGS.mix)
    label = _in_turn(run, rows + COLUMNS, 1)
    w = styles.mixed(run.method, state, key, rows, COLUMNS, levels, label)
    return View(w, columns=COLUMNS + 1)


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
# Modes whose codes are those of single samples.
TRUNCATED = ("prior", "interpolate")


def main() -> None:
    """Write the picture, the arrays, the files or the video that the flags describe."""
    mode, least = choose("--mode", FLAGS.mode, MODES)
    if FLAGS.mix is not None:
        mode, least = _mixed, COLUMNS
    app.check_trained()
    check_flags()
    if FLAGS.video is not None:
        write_video(Path(FLAGS.video))
        return
    num = NUM if FLAGS.num is None else FLAGS.num
    kind, out = kind_of_out()
    most = {".png": MOST_IN_A_PICTURE, ".npz": 2**31 - 1}.get(kind, sample_files.MOST)
    if not least <= num <= most:
        raise BadInput(
            f"--num={num} must be in {least} .. {most} for --mode={FLAGS.mode} and a "
            f"{'folder' if kind == FOLDER else f'file {kind}'}."
        )
    if kind in (FOLDER, ".zip") and (FLAGS.mode != "prior" or FLAGS.mix is not None):
        flag = f"--mode={FLAGS.mode!r}" if FLAGS.mix is None else f"--mix={FLAGS.mix!r}"
        raise BadInput(
            f"{flag} does not fit --out={FLAGS.out!r}: a folder or a .zip is for --mode=prior."
        )
    workdir.check(out if kind == FOLDER else out.parent, "folder of --out")
    run, step, state = app.restore_weights()
    if kind in (FOLDER, ".zip"):
        write_files(kind, out, run, step, state, num)
        return
    if (size := 4 * num * math.prod(run.dataset.shape)) > MOST_BYTES:
        raise BadInput(f"--num={num} examples would take {size / 2**30:.0f} GiB; at most 8.")
    if FLAGS.mode == "reconstruct" and kind == ".png" and len(run.dataset.shape) != 3:
        raise BadInput("--mode=reconstruct draws images only; points go into an --out of .npz.")
    run = truncated(run, state)
    view = mode(run, state, named_key(run_key(FLAGS.seed), "sample"), num)
    method = run.method if FLAGS.mix is None else styles.decoding_styles(run.method)
    x = views.decoded(method, state, view.codes, view.label)
    workdir.prepare(out.parent, "folder of --out")
    write(out, run, view, x)
    print(f"{out}: {len(x)} examples, --mode={FLAGS.mode}, after step {step}")


def check_flags() -> None:
    """Raise BadInput where flags do not fit the mode."""
    if FLAGS.classes is not None and FLAGS.mode not in OF_ANY_CLASS:
        raise BadInput(
            f"--classes does not fit --mode={FLAGS.mode!r}, whose images are of the classes of "
            f"real ones. Valid: {', '.join(OF_ANY_CLASS)}."
        )
    if FLAGS.truncation is not None:
        styles.check_truncation("--truncation", FLAGS.truncation)
        if FLAGS.mode not in TRUNCATED:
            raise BadInput(
                f"--truncation does not fit --mode={FLAGS.mode!r}, whose codes are not drawn one "
                f"by one. Valid: {', '.join(TRUNCATED)}."
            )
    if FLAGS.mix is not None:
        styles.parse_levels("--mix", FLAGS.mix)
        if FLAGS.mode != "prior":
            raise BadInput(f"--mix does not fit --mode={FLAGS.mode!r}. Valid: prior.")
    if FLAGS.video is not None and (FLAGS.mode != "interpolate" or FLAGS.out):
        raise BadInput("--video is for --mode=interpolate, and in place of --out.")


def truncated(run: Run, state: PyTree) -> Run:
    """Return the run, with truncated codes or styles if --truncation says so."""
    if FLAGS.truncation is None:
        return run
    return run._replace(method=styles.truncated(run.method, state, FLAGS.truncation))


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


def write_files(kind: str, out: Path, run: Run, step: int, state: PyTree, num: int) -> None:
    """Write a PNG for each sample into a folder or a zip."""
    classes_drawn = _chosen_classes(run)
    source = sample_files.from_prior(run, step, state, FLAGS.seed, classes_drawn, FLAGS.truncation)
    workdir.prepare(out.parent, "folder of --out")
    write = sample_files.write_folder if kind == FOLDER else sample_files.write_zip
    written = write(out, source, num)
    kept = f", {num - written} of them already there" if written < num else ""
    print(f"{out}: {num} examples, --mode={FLAGS.mode}, after step {step}{kept}")


def write_video(out: Path) -> None:
    """Write a closed path through codes as a moving picture, with an image for each class."""
    kind = animations.check(FLAGS.video, FLAGS.fps)
    stops = NUM_OF_VIDEO if FLAGS.num is None else FLAGS.num
    if stops < 2 or FLAGS.frames < 1 or stops * FLAGS.frames > MOST_IN_A_PICTURE:
        raise BadInput(
            f"--num={stops} codes with --frames={FLAGS.frames} each must be at least 2 codes and "
            f"at most {MOST_IN_A_PICTURE} frames in all."
        )
    workdir.check(out.parent, "folder of --video")
    run, step, state = app.restore_weights()
    shape, chosen = run.dataset.shape, _chosen_classes(run)
    if len(shape) != 3:
        raise BadInput("--video is for images only; points go into an --out of .npz.")
    images = stops * FLAGS.frames * max(1, len(chosen))
    if (size := 4 * images * math.prod(shape)) > MOST_BYTES:
        raise BadInput(f"--video of {images} images would take {size / 2**30:.0f} GiB; at most 8.")
    key = named_key(run_key(FLAGS.seed), "sample")
    pictures = animations.pictures(truncated(run, state), state, key, stops, FLAGS.frames, chosen)
    workdir.prepare(out.parent, "folder of --video")
    workdir.write_bytes(out, animations.encoded(pictures, FLAGS.fps, kind))
    print(f"{out}: {len(pictures)} frames through {stops} codes, after step {step}")


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
    app.define_weights_flag()
    flags.DEFINE_string(
        "out",
        None,
        "What to write: x.png for a picture, x.npz for arrays; a folder, or x.zip, for a PNG of "
        "each sample.",
    )
    flags.DEFINE_integer(
        "num",
        None,
        f"How many (default: {NUM}); whole rows of {COLUMNS} for interpolate, traverse and --mix; "
        f"with --video of codes (default: {NUM_OF_VIDEO}).",
    )
    flags.DEFINE_string("mode", "prior", f"What to look at: {', '.join(MODES)}.")
    flags.DEFINE_list(
        "classes",
        None,
        "Of a conditional method: classes to draw, in turn, by number or name, such as 3,5 or "
        "cat,dog (default: all).",
    )
    flags.DEFINE_float(
        "truncation",
        None,
        "With styles, in (0, 1]: how far they are from their mean, 1: as drawn. Else, under the "
        "prior N(0, I): the largest coordinate of a code, others are drawn anew.",
    )
    flags.DEFINE_string(
        "mix", None, "FIRST-LAST: draw a table; these levels' styles are the column's."
    )
    flags.DEFINE_string("video", None, "x.gif or x.webp: where --mode=interpolate moves.")
    flags.DEFINE_integer("frames", 24, "Of --video, from one code to the next.")
    flags.DEFINE_integer("fps", 24, "Frames of --video in a second.")
    flags.DEFINE_string("split", "test", "Where --mode=reconstruct takes its inputs.")
    flags.adopt_module_key_flags(app)
    with app.command():
        main()
