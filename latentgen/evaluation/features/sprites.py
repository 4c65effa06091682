"""Features of a small classifier of coloured sprites, for images of any size.

The classifier was trained to tell shapes and hues, wherever they are: these features hardly see
mirror images. A Frechet distance of these features is no FID. Its logits are those of the shapes.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput
from latentgen.data.sprites import FACTORS
from latentgen.evaluation.features import classifiers
from latentgen.evaluation.features.base import Extractor, Pixels

SMALLEST, SIDE = 8, 32


def extractor(shape: tuple[int, ...], file: str | None) -> Extractor:
    """Load the classifier of sprites for images of this shape.

    Raises:
        BadInput: the images are neither grey nor RGB, or smaller than 8x8.
    """
    words = images(shape)
    inner = classifiers.shipped("sprites", (SIDE, SIDE, 3), file)
    assert inner.logits is not None
    features, logits = inner.features, inner.logits
    return inner._replace(
        images=words,
        features=lambda x: features(resized(x)),
        logits=lambda x: of_shapes(logits(resized(x))),
    )


def of_shapes(logits: Float[Array, "n p classes"]) -> Float[Array, "n p shapes"]:
    """Sum the probabilities of all hues of a shape: log sum_h exp l(shape, h)."""
    shapes = FACTORS["shape"]
    return jax.nn.logsumexp(logits.reshape(*logits.shape[:2], shapes, -1), axis=-1)


def images(shape: tuple[int, ...]) -> str:
    """Describe what is done to images of this shape first.

    Raises:
        BadInput: the images are neither grey nor RGB, or smaller than 8x8.
    """
    height, width, channels = shape
    if channels not in (1, 3) or min(height, width) < SMALLEST:
        raise BadInput(
            f"--features='sprites' takes images of 1 or 3 channels from {SMALLEST}x{SMALLEST}; "
            f"these are of {height}x{width}x{channels}. Valid: pixels."
        )
    same = (height, width) == (SIDE, SIDE)
    steps = [] if same else [f"resized to {SIDE}x{SIDE} by antialiased bilinear interpolation"]
    steps += ["grey shown in red"] if channels == 1 else []
    return ", ".join(steps) or "as they are"


@jax.jit
def resized(x: Pixels) -> Float[Array, "n 32 32 3"]:
    """Resize images to 32x32; show grey values in red, a hue that the classifier knows."""
    n, channels = len(x), x.shape[-1]
    square = jax.image.resize(x, (n, SIDE, SIDE, channels), "bilinear", antialias=True)
    return square if channels == 3 else jnp.pad(square, ((0, 0), (0, 0), (0, 0), (0, 2)))
