"""Views of a run's newest checkpoint: traversals, nearest neighbours, discriminator's field."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from latentgen.core.errors import BadInput
from latentgen.core.keys import named_key
from latentgen.core.types import PyTree
from latentgen.data.dataset import Examples
from latentgen.evaluation import views
from latentgen.reporting.images import mosaic
from latentgen.storage.checkpoint import Damaged
from latentgen.training import setup
from latentgen.training.pictures import Image
from latentgen.training.setup import Run

ROWS, COLUMNS = 10, 10  # of a traversal
SAMPLES, NEAREST = 12, 3
SEARCHED = 60_000
"""Maximum number of training images among which neighbours are searched."""
AT_ONCE = 5_000
SIDE = 96  # of D's field, in values
DOTS = 400  # real and synthetic points above it

RELATIVE = ("wasserstein", "relativistic")
"""Losses that depend only on differences of D's logits."""

T = TypeVar("T")


class Traversal(NamedTuple):
    """A picture in whose rows one coordinate of a code moves through the prior.

    rows: number of rows
    coordinates: number of all coordinates
    """

    picture: Image
    rows: int
    coordinates: int


class Neighbours(NamedTuple):
    """A picture of samples, with their nearest training images below each.

    distances: root mean square distance over pixels in [0, 1], of each sample to its neighbours.
    median: median over samples of the distance to the nearest neighbour.
    held_out: the same for images of `split`, which are not trained on; None if there are none.
    """

    picture: Image
    distances: Float[np.ndarray, "n k"]
    median: float
    held_out: float | None
    split: str | None
    searched: int
    of: int


class Field(NamedTuple):
    """D's logit over a square frame (left, bottom, right, top), first row on top.

    less: constant subtracted from the logits: their median if the loss only uses differences.
    """

    logits: Float[np.ndarray, "side side"]
    frame: tuple[float, float, float, float]
    real: Float[np.ndarray, "n 2"]
    synthetic: Float[np.ndarray, "m 2"]
    less: float


class Opened(NamedTuple):
    """The views of a run; a view that cannot be made is replaced by the reason."""

    name: str
    step: int | None
    traversal: Traversal | str
    neighbours: Neighbours | str
    field: Field | str


def open_run(
    folder: Path, name: str, data_dir: str | None = None, manual_dir: str | None = None
) -> Opened:
    """Make the views of the newest checkpoint; errors are returned as reasons."""
    try:
        run = setup.reopen(folder, data_dir, manual_dir)
        step, state = setup.restore(run, None)
    except (BadInput, Damaged, OSError) as error:
        why = f"The run cannot be opened: {error}"
        return Opened(name, None, why, why, why)
    return Opened(
        name,
        step,
        _or_reason(traversal, run, state),
        _or_reason(neighbours, run, state),
        _or_reason(field, run, state),
    )


def _or_reason(view: Callable[[Run, PyTree], T], run: Run, state: PyTree) -> T | str:
    try:
        return view(run, state)
    except (BadInput, OSError) as error:
        text = str(error)
        return text[:1].upper() + text[1:]


def _check_kind(images: bool, run: Run) -> None:
    if images != (len(run.dataset.shape) == 3):
        kind = "images" if images else "points in the plane"
        raise BadInput(f"Only {kind} can be looked at in this way.")


def _bytes(run: Run, x: Shaped[Array | np.ndarray, "n h w c"]) -> np.ndarray:
    """Convert preprocessed examples to 8-bit pixels."""
    pixels = np.asarray(run.experiment.data.preprocess.pixels(jnp.asarray(x)), np.float32)
    return np.rint(255 * np.clip(np.nan_to_num(pixels), 0, 1)).astype(np.uint8)


def _classes_in_turn(run: Run, num: int, each: int) -> Int[Array, " n"] | None:
    classes = run.experiment.plan.classes
    return jnp.arange(num) // each % classes if classes else None


def traversal(run: Run, state: PyTree) -> Traversal:
    """Decode a traversal, a coordinate in each row, from its 1 % to its 99 % quantile.

    Raises:
        BadInput: the data are not images, or the method has no codes.
    """
    _check_kind(True, run)
    width = run.experiment.plan.layers[0]
    key = named_key(run.key, "traversal")
    z = views.traversals(run.method, state, key, min(ROWS, width), COLUMNS)
    x = views.decoded(run.method, state, z, _classes_in_turn(run, len(z), COLUMNS))
    return Traversal(mosaic(_bytes(run, x), COLUMNS), len(z) // COLUMNS, width)


def neighbours(run: Run, state: PyTree) -> Neighbours:
    """Find the training images that are nearest to samples, by pixels.

    Raises:
        BadInput: the data are not images, or the method draws no samples.
    """
    _check_kind(True, run)
    if run.method.sample is None:
        raise BadInput("this method generates nothing.")
    x = run.method.sample(state, named_key(run.key, "pictures"), SAMPLES)
    samples, train = _bytes(run, x), run.dataset.splits["train"]
    train_pixels = _trained_on(run, train)
    found, distances = nearest(samples, train_pixels, NEAREST)
    split = next((s for s in ("validation", "test") if s in run.dataset.splits), None)
    held_out = None
    if split is not None:
        others = run.dataset.splits[split]
        some = _trained_on(run, Examples(others.x[:200], others.label[:200]))
        held_out = float(np.median(nearest(some, train_pixels, 1)[1]))
    columns = np.concatenate([samples[None], train_pixels[found.T]])
    picture = mosaic(columns.reshape(-1, *samples.shape[1:]), len(samples))
    median = float(np.median(distances[:, 0]))
    return Neighbours(
        picture, distances, median, held_out, split, len(train_pixels), len(train.label)
    )


def _trained_on(run: Run, examples: Examples) -> np.ndarray:
    """Return the first `SEARCHED` examples as preprocessed 8-bit pixels."""
    rows = np.arange(min(len(examples.label), SEARCHED))
    forward, key = run.experiment.data.preprocess.forward, named_key(run.key, "neighbours")
    parts = [
        _bytes(run, forward(jnp.asarray(examples.x.take(part, axis=0)), key))
        for part in np.array_split(rows, -(-len(rows) // AT_ONCE))
    ]
    return np.concatenate(parts)


def nearest(
    x: Shaped[np.ndarray, "n h w c"], among: Shaped[np.ndarray, "m h w c"], k: int
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """Return indices and root mean square distances, over pixels in [0, 1], of k nearest images."""
    flat = x.reshape(len(x), -1).astype(np.float32) / 255
    squares = []
    for i in range(0, len(among), AT_ONCE):
        part = among[i : i + AT_ONCE].reshape(-1, flat.shape[1]).astype(np.float32) / 255
        squares.append((flat**2).sum(1)[:, None] - 2 * flat @ part.T + (part**2).sum(1)[None])
    square = np.maximum(np.concatenate(squares, axis=1), 0)
    which = np.argsort(square, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(square, which, axis=1)
    return which, np.sqrt(found.astype(np.float64) / flat.shape[1])


def field(run: Run, state: PyTree) -> Field:
    """Return D's logits over a square of the plane, with real points and samples.

    Raises:
        BadInput: the data are not points, or the method has no D of single points.
    """
    _check_kind(False, run)
    discriminate = views.probe(run.method, "discriminate")
    if run.experiment.plan.classes or run.method.sample is None:
        raise BadInput("the discriminator is told classes; its field is a different one for each.")
    if run.config["method"].get("packing", 1) > 1:
        raise BadInput("the discriminator judges packs of points; a single place has no value.")
    real = np.asarray(run.dataset.splits["train"].x[:DOTS], np.float64)
    frame = square_around(real)
    left, bottom, right, top = frame
    across = left + (np.arange(SIDE) + 0.5) / SIDE * (right - left)
    up = top - (np.arange(SIDE) + 0.5) / SIDE * (top - bottom)
    points = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2).astype(np.float32)
    logits = np.asarray(jax.jit(discriminate)(state, jnp.asarray(points)), np.float64)
    synthetic = np.asarray(
        run.method.sample(state, named_key(run.key, "pictures"), DOTS), np.float64
    )
    relative = run.config["method"].get("loss") in RELATIVE
    less = float(np.median(logits)) if relative else 0.0
    return Field((logits - less).reshape(SIDE, SIDE), frame, real, synthetic, less)


def square_around(points: Float[np.ndarray, "n 2"]) -> tuple[float, float, float, float]:
    """Return (left, bottom, right, top) of a square around the points, with a margin of a tenth."""
    low, high = points.min(0), points.max(0)
    side = 1.2 * max(float((high - low).max()), 1e-6)
    x, y = (low + high) / 2 - side / 2
    return float(x), float(y), float(x + side), float(y + side)


def zero_line(field: Field) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return segments of the line where D's logit is zero, by marching squares."""
    z, (left, bottom, right, top) = field.logits, field.frame
    width, height = (right - left) / z.shape[1], (top - bottom) / z.shape[0]

    def position(row: float, column: float) -> tuple[float, float]:
        return left + (column + 0.5) * width, top - (row + 0.5) * height

    pieces = []
    corners = np.stack([z[:-1, :-1] > 0, z[:-1, 1:] > 0, z[1:, 1:] > 0, z[1:, :-1] > 0])
    for i, j in np.argwhere(corners.any(0) & ~corners.all(0)):
        square = [(i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j)]
        crossed = []
        for (a, b), (c, d) in zip(square, square[1:] + square[:1], strict=True):
            start, stop = z[a, b], z[c, d]
            if (start > 0) != (stop > 0):
                share = start / (start - stop)
                crossed.append(position(a + share * (c - a), b + share * (d - b)))
        pieces += list(zip(crossed[::2], crossed[1::2], strict=True))
    return pieces


def coloured(field: Field) -> Image:
    """Colour the field: blue where D predicts real, orange where synthetic, white at zero."""
    z = np.nan_to_num(field.logits)
    scale = max(float(np.quantile(np.abs(z), 0.95)), 1e-6)
    share = np.clip(z / scale, -1, 1)[..., None]
    blue, orange, white = (np.array(c, float) for c in ((74, 134, 200), (232, 142, 72), (255,) * 3))
    mixed = np.where(share > 0, white + share * (blue - white), white - share * (orange - white))
    return np.rint(mixed).astype(np.uint8)
