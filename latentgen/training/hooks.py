"""What happens between chunks: pictures, validation, checkpoints."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, Shaped

from latentgen.core.errors import Diverged
from latentgen.core.keys import named_key
from latentgen.core.types import PyTree, Terms
from latentgen.data.pipeline import iterate_split
from latentgen.data.preprocess import Preprocess
from latentgen.data.sources import Examples
from latentgen.storage import workdir
from latentgen.storage.checkpoint import Checkpoints
from latentgen.storage.log import Log
from latentgen.training.pictures import Image, grid, png, scatter
from latentgen.training.validation import Estimate, evaluate

PAIRED = 8  # columns of a picture of inputs beside outputs
GAP = 4  # pixels between images: an 8x8 digit fills its cell to the edge
AT_ONCE = 500  # examples in a batch of an evaluation
ALIKE = 1e-3  # of the real examples' spread: samples below it are all alike

Call = Callable[[int, PyTree], None]
Watch = Callable[[int, Array | np.ndarray], None]


def draw(
    x: Shaped[Array | np.ndarray, "n *shape"],
    preprocess: Preprocess,
    real: Examples | None,
    columns: int | None = None,
) -> Image:
    """A picture of x: a grid of images, or points above some of the real ones."""
    if x.ndim == 4:
        return grid(np.asarray(preprocess.pixels(jnp.asarray(x))), columns, GAP)
    assert real is not None, "points are drawn above real ones"
    return scatter(np.asarray(x), np.asarray(real.x[:5_000]))


def write_pictures(
    name: str,
    see: Callable[[PyTree], Array | np.ndarray],
    columns: int | None,
    preprocess: Preprocess,
    real: Examples,
    folder: Path,
    log: Log,
    look: Watch = lambda step, x: None,
    show: Callable[[str, bytes], None] = lambda name, png: None,
) -> Call:
    """Write NAME/step_XXXXXXXX.png and show it in TensorBoard.

    Args:
        see: state -> what to draw, always from the same codes or inputs, so that one sees them
            change.
        columns: how many make a row; None: as many as make a square.
        real: what points are drawn above.
        folder: the workdir.
        look: sees what is drawn, before it is.
        show: called with the name and the PNG.
    """

    def call(step: int, state: PyTree) -> None:
        x = see(state)
        look(step, x)
        image = draw(x, preprocess, real, columns)
        place = folder / name
        place.mkdir(exist_ok=True)
        encoded = png(image)
        workdir.write_bytes(place / f"step_{step:08d}.png", encoded)
        log.image(step, name, encoded, image.shape)
        show(name, encoded)

    return call


def largest_std(x: Shaped[Array | np.ndarray, "n *shape"]) -> float:
    """The largest standard deviation, over the examples, of any value of x."""
    flat = np.asarray(x).reshape(len(x), -1).astype(np.float64)
    return float(flat.std(axis=0).max())


def watch_for_collapse(real: float, mark: Path, say: Callable[[str], None]) -> Watch:
    """Watch samples: say once that the generator has collapsed, largest_std(x) < ALIKE real.

    Before the first step nothing has been learned and nothing is said. What a generator makes of
    a label, whatever the code, still differs from class to class and is not noticed.

    Args:
        real: the spread of real examples.
        mark: the file that remembers the first such step.
        say: prints a line.

    Raises:
        Diverged: samples of a finite state are not finite.
    """

    def look(step: int, x: Array | np.ndarray) -> None:
        if not np.isfinite(np.asarray(x).astype(np.float64)).all():
            raise Diverged(step, step)
        found = largest_std(x)
        if step > 0 and found < ALIKE * real and not mark.exists():
            workdir.write_json(mark, {"step": step, "spread": found, "real": real})
            say(
                f"collapsed at step {step}: all samples are alike (standard deviation of any "
                f"value at most {found:.3g}, of real examples' {real:.3g})"
            )

    return look


def split_terms(
    terms: Callable[..., Terms], preprocess: Preprocess, examples: Examples, key: Key[Array, ""]
) -> Callable[[int, PyTree], dict[str, Estimate]]:
    """(step, state) -> the objective's terms over a whole split, always with the same noise.

    Args:
        terms: `Method.terms`, jitted.
    """
    key = named_key(key, "evaluation")
    size = min(AT_ONCE, len(examples.label))

    def call(step: int, state: PyTree) -> dict[str, Estimate]:
        return evaluate(terms, state, step, iterate_split(examples, preprocess, size, key), key)

    return call


def validation(
    terms: Callable[[int, PyTree], dict[str, Estimate]], log: Log, seconds: Callable[[], float]
) -> Call:
    """Log the mean of each term over the validation split."""

    def call(step: int, state: PyTree) -> None:
        means = {name: found.mean for name, found in terms(step, state).items()}
        log.write(step, seconds(), "validation", means)

    return call


def checkpoint(checkpoints: Checkpoints, log: Log, meta: Callable[[], dict[str, Any]]) -> Call:
    """Save (step, state), after the log of that step has reached the disk.

    Args:
        meta: what else the checkpoint tells.
    """

    def call(step: int, state: PyTree) -> None:
        log.flush()
        checkpoints.save(step, state, {**meta(), "log": log.stands})

    return call
