"""Features of a small classifier of coloured sprites, for images of any size.

The classifier was trained to tell shapes, whatever their hue and place: these features hardly see
colours and mirror images. A Frechet distance of these features is no FID.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput
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
        logits=lambda x: logits(resized(x)),
    )


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
    steps += ["grey repeated to RGB"] if channels == 1 else []
    return ", ".join(steps) or "as they are"


@jax.jit
def resized(x: Pixels) -> Float[Array, "n 32 32 3"]:
    """Resize images to 32x32, and repeat grey to RGB."""
    n, channels = len(x), x.shape[-1]
    square = jax.image.resize(x, (n, SIDE, SIDE, channels), "bilinear", antialias=True)
    return jnp.broadcast_to(square, (n, SIDE, SIDE, 3))
