"""What happens between chunks: pictures, validation, checkpoints."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, Shaped

from latentgen.core.keys import stream
from latentgen.core.types import Method, PyTree
from latentgen.data.pipeline import passes
from latentgen.data.preprocess import Preprocess
from latentgen.data.sources import Examples
from latentgen.training.checkpoint import Checkpoints
from latentgen.training.evaluation import Estimate, evaluate
from latentgen.training.log import Log
from latentgen.training.pictures import Image, grid, save_png, scatter

PAIRED = 8  # columns of a picture of inputs beside outputs
GAP = 4  # pixels between images: an 8x8 digit fills its cell to the edge
AT_ONCE = 500  # examples in a batch of an evaluation

Call = Callable[[int, PyTree], None]


def draw(
    x: Shaped[Array | np.ndarray, "n *shape"],
    preprocess: Preprocess,
    real: Examples,
    columns: int | None = None,
) -> Image:
    """A picture of x: a grid of images, or points above some of the real ones."""
    if x.ndim == 4:
        return grid(np.asarray(preprocess.pixels(jnp.asarray(x))), columns, GAP)
    return scatter(np.asarray(x), np.asarray(real.x[:5_000]))


def pictures(
    name: str,
    see: Callable[[PyTree], Array | np.ndarray],
    columns: int | None,
    preprocess: Preprocess,
    real: Examples,
    folder: Path,
    log: Log,
) -> Call:
    """Writes NAME/step_XXXXXXXX.png and shows it in TensorBoard.

    Args:
        see: state -> what to draw, always from the same codes or inputs, so that one sees them
            change.
        columns: how many make a row; None: as many as make a square.
        real: what points are drawn above.
        folder: the workdir.
    """

    def call(step: int, state: PyTree) -> None:
        image = draw(see(state), preprocess, real, columns)
        place = folder / name
        place.mkdir(exist_ok=True)
        save_png(place / f"step_{step:08d}.png", image)
        log.image(step, name, image)

    return call


def split_terms(
    method: Method, preprocess: Preprocess, examples: Examples, key: Key[Array, ""]
) -> Callable[[int, PyTree], dict[str, Estimate]]:
    """(step, state) -> the objective's terms over a whole split, always with the same noise."""
    key = stream(key, "evaluation")
    size = min(AT_ONCE, len(examples.label))
    terms = jax.jit(method.terms)

    def call(step: int, state: PyTree) -> dict[str, Estimate]:
        return evaluate(terms, state, step, passes(examples, preprocess, size, key), key)

    return call


def validation(
    terms: Callable[[int, PyTree], dict[str, Estimate]], log: Log, seconds: Callable[[], float]
) -> Call:
    """Logs the mean of each term over the validation split."""

    def call(step: int, state: PyTree) -> None:
        means = {name: found.mean for name, found in terms(step, state).items()}
        log.write(step, seconds(), "validation", means)

    return call


def checkpoint(checkpoints: Checkpoints, log: Log, seconds: Callable[[], float]) -> Call:
    """Saves (step, state), after the log of that step has reached the disk."""

    def call(step: int, state: PyTree) -> None:
        log.flush()
        checkpoints.save(step, state, {"seconds": seconds()})

    return call
