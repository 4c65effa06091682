"""Views of a run's newest checkpoint: traversals, nearest neighbours, discriminator's field."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from latentgen.core.errors import BadInput
from latentgen.core.keys import named_key
from latentgen.core.types import PyTree
from latentgen.evaluation import views
from latentgen.reporting.images import preview
from latentgen.reporting.neighbours import (
    Neighbours,
    check_kind,
    classes_in_turn,
    neighbours,
    to_8_bits,
)
from latentgen.storage.checkpoint import Damaged
from latentgen.training import classes, setup
from latentgen.training.pictures import Image
from latentgen.training.setup import Run

ROWS, COLUMNS = 10, 10  # of a traversal
SIDE = 96  # of D's field, in values
DOTS = 400  # real and synthetic points above it

RELATIVE = ("wasserstein", "relativistic")
"""Losses that depend only on differences of D's logits."""

T = TypeVar("T")


class Traversal(NamedTuple):
    """A picture in whose rows one coordinate of a code moves through the prior.

    rows: number of rows
    coordinates: number of all coordinates
    classes: class of each row; () for an unconditional method
    reduced: factor by which the images are reduced
    """

    picture: Image
    rows: int
    coordinates: int
    classes: Sequence[str] = ()
    reduced: int = 1


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


def traversal(run: Run, state: PyTree) -> Traversal:
    """Decode a traversal, a coordinate in each row, from its 1 % to its 99 % quantile.

    Raises:
        BadInput: the data are not images, or the method has no codes.
    """
    check_kind(True, run)
    width = run.experiment.plan.layers[0]
    key = named_key(run.key, "traversal")
    z = views.traversals(run.method, state, key, min(ROWS, width), COLUMNS)
    label = classes_in_turn(run, len(z), COLUMNS)
    x = views.decoded(run.method, state, z, label)
    picture, factor = preview(to_8_bits(run, x), COLUMNS)
    names = classes.captions(run, None if label is None else label[::COLUMNS])
    return Traversal(picture, len(z) // COLUMNS, width, names, factor)


def field(run: Run, state: PyTree) -> Field:
    """Return D's logits over a square of the plane, with real points and samples.

    Raises:
        BadInput: the data are not points, or the method has no D of single points.
    """
    check_kind(False, run)
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
