"""Features of VGG16 and AlexNet: the last convolution's relu, averaged over the image.

A Frechet distance of these features is no FID.
"""

from functools import partial

import jax
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput
from latentgen.core.types import PyTree
from latentgen.evaluation.features.base import Extractor, Pixels
from latentgen.networks import imagenet, pretrained

AT_ONCE = 50  # images whose activations are in memory at once


def extractor(name: str, shape: tuple[int, ...], file: str | None) -> Extractor:
    """Load 'vgg16' or 'alexnet' for images of this shape.

    Raises:
        BadInput: the images are neither grey nor RGB, or the package with the weights is missing.
    """
    words, loaded = images(name, shape), pretrained.load(name)
    network = imagenet.NETWORKS[name]

    @jax.jit
    def run(params: PyTree, x: Pixels) -> Float[Array, "n f"]:
        return jax.lax.map(
            lambda image: imagenet.pooled(network, params, image[None])[0], x, batch_size=AT_ONCE
        )

    params = jax.device_put(loaded.params)
    return Extractor(name, loaded.sha256, words, partial(run, params), None)


def images(name: str, shape: tuple[int, ...]) -> str:
    """Describe what the network does to images of this shape first.

    Raises:
        BadInput: the images are neither grey nor RGB.
    """
    height, width, channels = shape
    if channels not in (1, 3):
        raise BadInput(
            f"{name} takes images of 1 or 3 channels; these have {channels}. Valid: pixels."
        )
    rows, columns = imagenet.enlarged(imagenet.NETWORKS[name], height, width)
    steps = ["clipped to [0, 1]"]
    if (rows, columns) != (height, width):
        steps.append(f"enlarged to {rows}x{columns} by bilinear interpolation")
    steps += ["grey repeated to RGB"] if channels == 1 else []
    return ", ".join([*steps, "normalized by ImageNet's mean and std"])
