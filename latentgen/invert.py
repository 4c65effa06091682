"""Find the codes of images: `python -m latentgen.invert --workdir DIR --out FOLDER --num 8`.

Codes, or the styles of a generator that has them, are optimized by Adam from several starts, and
the best end is kept; see `evaluation/inversion.py`. The images are --num of the run's --split, or
those of --images: a picture, or a folder, .zip or .tar of them. FOLDER gets

  codes.npz     codes; x, decoded from them; given, the images: pixels in [0, 1], or points; label
  errors.json   the error of each image, and of the encoder's reconstruction where there is one
  picture.png   image, inversion, and the encoder's reconstruction side by side
"""

import io
import math
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
from latentgen.data.pictures import few
from latentgen.evaluation import inversion, styles, views
from latentgen.evaluation.inversion import DISTANCES, SPACES, Inverted, Options
from latentgen.storage import workdir
from latentgen.training import classes
from latentgen.training.hooks import GAP
from latentgen.training.pictures import Image, grid, png, scatter
from latentgen.training.setup import Run

FLAGS = flags.FLAGS
CODES, ERRORS, PICTURE = "codes.npz", "errors.json", "picture.png"
MOST = 10_000  # images
IN_A_ROW = 9  # of a picture
Pixels = Shaped[np.ndarray, "n *shape"]


class Given(NamedTuple):
    """Images to invert, preprocessed, with the name of each in the results."""

    x: Shaped[Array, "n *shape"]
    label: Int[Array, " n"] | None
    names: list[str]


def main() -> None:
    """Invert the images that the flags name."""
    app.check_trained()
    options = Options(*(getattr(FLAGS, name) for name in Options._fields))
    inversion.check(options)
    if not 1 <= FLAGS.num <= MOST:
        raise BadInput(f"--num={FLAGS.num} must be in 1 .. {MOST}.")
    out = checked_out()
    run, step, state = app.restore_weights()
    key = named_key(run_key(FLAGS.seed), "invert")
    given = held_out(run, key) if FLAGS.images is None else files(run, key)
    preprocess, label = run.experiment.data.preprocess, given.label
    found = inversion.invert(run.method, state, given.x, label, preprocess, key, options)
    columns = {"given": given.x, "inverted": found.x}
    if "encode" in run.method.probes:
        columns["encoder"] = encoded(run, state, given)
    pixels = {name: np.asarray(preprocess.pixels(jnp.asarray(x))) for name, x in columns.items()}
    errors = errors_of(pixels, given.names, found, options)
    space = options.space or ("w" if styles.has_styles(run.method) else "z")
    how = options._asdict() | {"space": space, "step": step, "seed": FLAGS.seed}
    write(out, pixels, given, found, errors | {"options": how})
    means = ", ".join(f"{name} {value:.4g}" for name, value in errors["mean"].items())
    print(f"{out}: {len(given.names)} images, mean {means}, after step {step}")


def checked_out() -> Path:
    """Return the folder of --out.

    Raises:
        BadInput: it is not named, holds files, or cannot be written.
    """
    if not FLAGS.out:
        raise BadInput("--out is missing: name a new folder.")
    out = workdir.check(FLAGS.out, "--out")
    if out.is_dir() and any(out.iterdir()):
        raise BadInput(f"--out={FLAGS.out!r} holds files; name another --out.")
    return out


def held_out(run: Run, key: Key[Array, ""]) -> Given:
    """Draw --num examples of --split, without repeats.

    Raises:
        BadInput: the split is unknown or has fewer, or --classes is given.
    """
    if FLAGS.classes is not None:
        raise BadInput("--classes is for --images; examples of the run's data have their own.")
    examples = choose("--split", FLAGS.split, run.dataset.splits)
    if FLAGS.num > (number := len(examples.label)):
        raise BadInput(f"--num={FLAGS.num} is more than the {number} of --split={FLAGS.split!r}.")
    order = np.asarray(jax.random.permutation(named_key(key, "examples"), number))[: FLAGS.num]
    noise = named_key(key, "preprocess")
    batch = pipeline.chosen(examples, order, run.experiment.data.preprocess, noise)
    label = batch.label if run.experiment.plan.classes else None
    return Given(batch.x, label, [f"{FLAGS.split} {i}" for i in order])


def files(run: Run, key: Key[Array, ""]) -> Given:
    """Read at most --num pictures of --images; --classes are theirs in turn.

    Raises:
        BadInput: there are none, the data are points, or classes are missing or unknown.
    """
    if len(run.dataset.shape) != 3:
        raise BadInput(f"--images={FLAGS.images!r}: this run's data are points. Valid: --split.")
    number = run.experiment.plan.classes
    if number and FLAGS.classes is None:
        raise BadInput("--classes is missing: name those of --images, in turn.")
    if FLAGS.classes is not None and not number:
        raise BadInput(f"--classes={','.join(FLAGS.classes)}: this method is unconditional.")
    raw, names = few.read(Path(FLAGS.images), run.dataset.shape, FLAGS.num)
    x = run.experiment.data.preprocess.forward(jnp.asarray(raw), named_key(key, "preprocess"))
    if not number:
        return Given(x, None, names)
    chosen = classes.parse("--classes", FLAGS.classes, number, classes.names_of(run))
    return Given(x, jnp.asarray(np.resize(chosen, len(names)), jnp.int32), names)


def encoded(run: Run, state: PyTree, given: Given) -> Shaped[np.ndarray, "n *shape"]:
    """Decode the centre of q(z|x), which an inversion can be compared with."""
    label = jnp.zeros(len(given.names), jnp.int32) if given.label is None else given.label
    z = views.centres(run.method, state, Batch(given.x, label))
    return views.decoded(run.method, state, z, given.label)


def errors_of(
    pixels: dict[str, Pixels], names: list[str], found: Inverted, options: Options
) -> dict[str, Any]:
    """Return the root mean squared errors over the values of each image, and their means."""
    errors = {
        f"rmse_{name}": root_mean_square(x - pixels["given"])
        for name, x in pixels.items()
        if name != "given"
    }
    if options.distance != "squared":
        errors[options.distance] = np.asarray(found.distances)
    rows = zip(*errors.values(), strict=True)
    images = [
        {"name": name, **dict(zip(errors, map(float, row), strict=True))}
        for name, row in zip(names, rows, strict=True)
    ]
    return {"mean": {name: float(each.mean()) for name, each in errors.items()}, "images": images}


def root_mean_square(x: Pixels) -> Float[np.ndarray, " n"]:
    """Return the root of the mean square of each example's values."""
    return np.sqrt((x.reshape(len(x), -1).astype(np.float64) ** 2).mean(axis=1))


def write(
    out: Path, pixels: dict[str, Pixels], given: Given, found: Inverted, errors: dict[str, Any]
) -> None:
    """Write the three files; that of the errors last."""
    arrays: dict[str, Any] = {
        "codes": found.codes,
        "x": pixels["inverted"],
        "given": pixels["given"],
    }
    arrays |= {} if given.label is None else {"label": given.label}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    workdir.prepare(out, "--out")
    workdir.write_bytes(out / CODES, buffer.getvalue())
    workdir.write_bytes(out / PICTURE, png(drawn(pixels)))
    workdir.write_json(out / ERRORS, errors)


def drawn(pixels: dict[str, Pixels]) -> Image:
    """Draw images beside each other, or inverted points above the given ones."""
    if pixels["given"].ndim != 4:
        return scatter(pixels["inverted"], pixels["given"])
    each = np.stack([*pixels.values()], axis=1)
    n, k = each.shape[:2]
    columns = k * min(math.ceil(math.sqrt(n)), IN_A_ROW // k)
    return grid(each.reshape(n * k, *each.shape[2:]), columns, GAP, [*pixels] * n)


if __name__ == "__main__":
    app.define_trained_flags()
    app.define_weights_flag()
    flags.DEFINE_string("out", None, "The folder to write, which must be new or empty.")
    flags.DEFINE_string("images", None, "A picture, or a folder, .zip or .tar of them.")
    flags.DEFINE_integer("num", 8, "How many images.")
    flags.DEFINE_string("split", "test", "Whose images are inverted where --images names none.")
    flags.DEFINE_list("classes", None, "Of a conditional method: the classes of --images, in turn.")
    defaults = Options()
    flags.DEFINE_string("distance", defaults.distance, f"To minimize: {', '.join(DISTANCES)}.")
    flags.DEFINE_string(
        "space", None, f"{', '.join(SPACES)}: codes or styles (default: w where there are styles)."
    )
    flags.DEFINE_integer("steps", defaults.steps, "Of Adam.")
    flags.DEFINE_float("lr", defaults.lr, "Largest learning rate.")
    flags.DEFINE_integer("restarts", defaults.restarts, "Starts of each image; the best is kept.")
    flags.DEFINE_float("noise", defaults.noise, "Of codes at first, relative to their spread.")
    flags.DEFINE_float(
        "regularizer",
        defaults.regularizer,
        "Weight of -log p(z), or of the squared distance of a style from the mean style.",
    )
    flags.adopt_module_key_flags(app)
    with app.command():
        main()
