"""Hooks between chunks of steps: pictures, validation, checkpoints."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, Shaped

from latentgen.core.errors import Diverged
from latentgen.core.keys import named_key
from latentgen.core.types import PyTree, Terms
from latentgen.data.dataset import Examples
from latentgen.data.pipeline import iterate_split
from latentgen.data.preprocess import Preprocess
from latentgen.storage import workdir
from latentgen.storage.checkpoint import Checkpoints
from latentgen.storage.log import Log
from latentgen.training.pictures import Image, grid, png, scatter
from latentgen.training.validation import Estimate, evaluate

PAIRED = 8  # columns of a picture of inputs and reconstructions
GAP = 4  # pixels between images; without a gap 8x8 digits would touch
AT_ONCE = 500  # batch size of an evaluation
ALIKE = 1e-3  # of the real examples' std: a generator with less has collapsed

Call = Callable[[int, PyTree], None]
Watch = Callable[[int, Array | np.ndarray], None]


def draw(
    x: Shaped[Array | np.ndarray, "n *shape"],
    preprocess: Preprocess,
    real: Examples | None,
    columns: int | None = None,
    captions: Sequence[str] = (),
) -> Image:
    """Draw x: images as a grid, points in the plane as a scatter plot over real ones.

    Args:
        real: needed for points only.
        columns: images per row; None for a square grid.
        captions: one below each image, such as its class; empty for none.
    """
    if x.ndim == 4:
        return grid(np.asarray(preprocess.pixels(jnp.asarray(x))), columns, GAP, captions)
    assert real is not None, "points are drawn above real ones"
    return scatter(np.asarray(x), np.asarray(real.x[:5_000]))


def write_pictures(
    name: str,
    draw_from: Callable[[PyTree], Array | np.ndarray],
    columns: int | None,
    preprocess: Preprocess,
    real: Examples,
    folder: Path,
    log: Log,
    watch: Watch = lambda step, x: None,
    show: Callable[[str, bytes], None] = lambda name, png: None,
    captions: Sequence[str] = (),
) -> Call:
    """Make a hook that writes NAME/step_XXXXXXXX.png and adds it to TensorBoard.

    Args:
        draw_from: state -> x to draw, of shape (n, *shape), from fixed codes or inputs.
        columns: images per row; None for a square grid.
        real: real examples, the background of points in the plane.
        folder: the workdir.
        log: writes the picture for TensorBoard.
        watch: called with (step, x) before x is drawn.
        show: called with the name and the PNG's bytes.
        captions: see `draw`.
    """

    def call(step: int, state: PyTree) -> None:
        x = draw_from(state)
        watch(step, x)
        image = draw(x, preprocess, real, columns, captions)
        (folder / name).mkdir(exist_ok=True)
        encoded = png(image)
        workdir.write_bytes(folder / name / f"step_{step:08d}.png", encoded)
        log.image(step, name, encoded, image.shape)
        show(name, encoded)

    return call


def largest_std(x: Shaped[Array | np.ndarray, "n *shape"]) -> float:
    """Return the largest standard deviation over the examples of any coordinate of x."""
    flat = np.asarray(x).reshape(len(x), -1).astype(np.float64)
    return float(flat.std(axis=0).max())


def watch_for_collapse(real: float, mark: Path, say: Callable[[str], None]) -> Watch:
    """Report once that the generator has collapsed: largest_std(x) < ALIKE real.

    Samples before the first step are ignored. A conditional generator that ignores its code but
    not the label still differs between classes and is not reported.

    Args:
        real: `largest_std` of real examples.
        mark: JSON file to write when the collapse is found; if it exists, nothing is reported.
        say: prints a line.

    Returns:
        (step, samples) -> None.

    Raises:
        Diverged: samples of a finite state are not finite.
    """

    def watch(step: int, x: Array | np.ndarray) -> None:
        if not np.isfinite(np.asarray(x).astype(np.float64)).all():
            raise Diverged(step, step)
        std = largest_std(x)
        if step > 0 and std < ALIKE * real and not mark.exists():
            workdir.write_json(mark, {"step": step, "spread": std, "real": real})
            say(
                f"collapsed at step {step}: all samples are alike (standard deviation of any "
                f"value at most {std:.3g}, of real examples' {real:.3g})"
            )

    return watch


def split_terms(
    terms: Callable[..., Terms], preprocess: Preprocess, examples: Examples, key: Key[Array, ""]
) -> Callable[[int, PyTree], dict[str, Estimate]]:
    """Make the function (step, state) -> mean of each term of the objective over a whole split.

    Its random keys are the same in every call.

    Args:
        terms: `Method.terms`, jitted.
        examples: the split.
        key: the run's key.
    """
    key = named_key(key, "evaluation")
    size = min(AT_ONCE, len(examples.label))

    def call(step: int, state: PyTree) -> dict[str, Estimate]:
        return evaluate(terms, state, step, iterate_split(examples, preprocess, size, key), key)

    return call


def validation(
    terms: Callable[[int, PyTree], dict[str, Estimate]], log: Log, seconds: Callable[[], float]
) -> Call:
    """Make a hook that logs the mean of each term over the validation split.

    Args:
        terms: see `split_terms`.
        seconds: () -> seconds that the run has taken.
    """

    def call(step: int, state: PyTree) -> None:
        means = {name: estimate.mean for name, estimate in terms(step, state).items()}
        log.write(step, seconds(), "validation", means)

    return call


def checkpoint(
    checkpoints: Checkpoints,
    log: Log,
    meta: Callable[[], dict[str, Any]],
    saved: Callable[[], None] = lambda: None,
) -> Call:
    """Make a hook that flushes the log to the disk, then saves (step, state).

    Args:
        meta: () -> further entries of the checkpoint's metadata.
        saved: called after each save.
    """

    def call(step: int, state: PyTree) -> None:
        log.flush()
        checkpoints.save(step, state, {**meta(), "log": log.stands})
        saved()

    return call
