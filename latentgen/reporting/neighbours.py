"""Nearest training images of samples, of a run whose checkpoint is open.

Images are compared by the features of the data set's classifier that comes with latentgen, and RGB
images that have none by those of 'sprites': a copy that is moved by a pixel is near. Others are
compared by pixels.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped, UInt8

from latentgen.core.errors import BadInput
from latentgen.core.keys import named_key
from latentgen.core.types import PyTree
from latentgen.data import pipeline
from latentgen.data.dataset import Examples
from latentgen.evaluation import features
from latentgen.evaluation.features import Extractor
from latentgen.evaluation.measures.subject import with_progress
from latentgen.reporting.images import preview
from latentgen.training import classes
from latentgen.training.pictures import Image, to_bytes
from latentgen.training.setup import Run

SAMPLES, NEAREST = 12, 3
SEARCHED, SEARCHED_BYTES = 60_000, 2**31
"""Maximum number of training images among which neighbours are searched, and of their pixels."""
HELD_OUT = 200
AT_ONCE, VALUES_AT_ONCE = 500, 2**23  # images of a block, and their values, to bound memory


class Neighbours(NamedTuple):
    """A picture of samples, with their nearest training images below each.

    distances: root mean square distance over features, of each sample to its neighbours.
    median: median over samples of the distance to the nearest neighbour.
    held_out: the same for images of `split`, which are not trained on; None if there are none.
    classes: class of each sample; () for an unconditional method
    reduced: factor by which the images are reduced in the picture
    features: name of the features; 'pixels': values in [0, 1]
    """

    picture: Image
    distances: Float[np.ndarray, "n k"]
    median: float
    held_out: float | None
    split: str | None
    searched: int
    of: int
    classes: Sequence[str] = ()
    reduced: int = 1
    features: str = "pixels"


def check_kind(images: bool, run: Run) -> None:
    """Raise BadInput unless the data are images, or with `images=False` points."""
    if images != (len(run.dataset.shape) == 3):
        kind = "images" if images else "points in the plane"
        raise BadInput(f"Only {kind} can be looked at in this way.")


def to_8_bits(run: Run, x: Shaped[Array | np.ndarray, "n h w c"]) -> np.ndarray:
    """Convert preprocessed examples to 8-bit pixels."""
    pixels = np.asarray(run.experiment.data.preprocess.pixels(jnp.asarray(x)), np.float32)
    return to_bytes(pixels)


def classes_in_turn(run: Run, num: int, each: int) -> Int[Array, " n"] | None:
    """Return the classes in turn, each of them `each` times; None for an unconditional method."""
    number = run.experiment.plan.classes
    return jnp.arange(num) // each % number if number else None


def neighbours(run: Run, state: PyTree) -> Neighbours:
    """Find the training images that are nearest to samples, see `extractor`.

    Raises:
        BadInput: the data are not images, or the method draws no samples.
    """
    check_kind(True, run)
    if run.method.sample is None:
        raise BadInput("this method generates nothing.")
    x = run.method.sample(state, named_key(run.key, "pictures"), SAMPLES)
    samples, train = to_8_bits(run, x), run.dataset.splits["train"]
    split = next((s for s in ("validation", "test") if s in run.dataset.splits), None)
    others = samples[:0] if split is None else _held_out(run, run.dataset.splits[split])
    number = min(len(train.label), SEARCHED, max(1, SEARCHED_BYTES // samples[0].size))
    searched = Examples(train.x[:number], train.label[:number])
    shown = extractor(run)
    known = (
        vectors(shown, block)[:valid]
        for block, valid in with_progress("nearest images", _blocks(run, searched))
    )
    found, distances = nearest(vectors(shown, np.concatenate([samples, others])), known, NEAREST)
    held_out = float(np.median(distances[SAMPLES:, 0])) if len(others) else None
    picture, factor = preview(
        np.concatenate([samples, _at(run, searched, found[:SAMPLES].T.ravel())]), SAMPLES
    )
    return Neighbours(
        picture=picture,
        distances=distances[:SAMPLES],
        median=float(np.median(distances[:SAMPLES, 0])),
        held_out=held_out,
        split=split,
        searched=number,
        of=len(train.label),
        classes=classes.captions(run, classes_in_turn(run, SAMPLES, 1)),
        reduced=factor,
        features=shown.name,
    )


def extractor(run: Run) -> Extractor:
    """Load the default features of the run's data; 'sprites' in place of the slow 'vgg16'."""
    name = features.default(run.experiment.data.name, run.dataset.shape, fast=True)
    return features.extractor(name, run.dataset.shape, None)


def vectors(shown: Extractor, x: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n f"]:
    """Return the features of 8-bit images."""
    return np.asarray(shown.features(jnp.asarray(x, jnp.float32) / 255))


def _held_out(run: Run, examples: Examples) -> UInt8[np.ndarray, "n h w c"]:
    """Return the first examples of a split, `HELD_OUT` unless they are too large, as pixels."""
    size = int(np.prod(run.dataset.shape))
    number = min(len(examples.label), HELD_OUT, max(1, VALUES_AT_ONCE // size))
    return _at(run, examples, np.arange(number))


def _at(run: Run, examples: Examples, indices: Int[np.ndarray, " n"]) -> np.ndarray:
    """Return the examples at these indices as preprocessed 8-bit pixels."""
    preprocess, key = run.experiment.data.preprocess, named_key(run.key, "neighbours")
    return to_8_bits(run, pipeline.examples_at(examples, indices, preprocess, key).x)


def _blocks(run: Run, examples: Examples) -> Iterator[tuple[UInt8[np.ndarray, "b h w c"], int]]:
    """Yield all examples as preprocessed 8-bit pixels in blocks of one size.

    With each block comes the number of its images that count; the last one may be filled up.
    """
    preprocess, key = run.experiment.data.preprocess, named_key(run.key, "neighbours")
    size = max(1, VALUES_AT_ONCE // int(np.prod(run.dataset.shape)))
    size = min(size, AT_ONCE, len(examples.label))
    for batch, valid in pipeline.iterate_split(examples, preprocess, size, key):
        yield to_8_bits(run, batch.x), valid


def nearest(
    x: Float[np.ndarray, "n f"], blocks: Iterable[Float[np.ndarray, "_ f"]], k: int
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """Find the k nearest vectors of each x, by the root mean square over coordinates.

    Args:
        blocks: the vectors that are searched, in blocks; all together at least k.

    Returns:
        Their indices among all blocks, and their distances, the nearest first.
    """
    own = (x**2).sum(1)[:, None]
    square, which, first = np.empty((len(x), 0), np.float32), np.empty((len(x), 0), int), 0
    for block in blocks:
        found = np.maximum(own - 2 * x @ block.T + (block**2).sum(1)[None], 0)
        square = np.concatenate([square, found], axis=1)
        numbers = np.broadcast_to(np.arange(first, first + len(block)), found.shape)
        which = np.concatenate([which, numbers], axis=1)
        best = np.argsort(square, axis=1, kind="stable")[:, :k]
        square, which = (np.take_along_axis(a, best, axis=1) for a in (square, which))
        first += len(block)
    return which, np.sqrt(square.astype(np.float64) / x.shape[1])
