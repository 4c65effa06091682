"""VGG16 and AlexNet: the convolutional layers of two classifiers of ImageNet.

The layers that follow them in the classifiers have no part in features. Everything is float32, also
where an accelerator would multiply with fewer bits. `latentgen.networks.pretrained` has weights.

Reference: Simonyan & Zisserman 2015 (arXiv:1409.1556), configuration D; Krizhevsky 2014
(arXiv:1404.5997), the AlexNet of torchvision.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput
from latentgen.core.types import PyTree

MEAN = np.array([[[[0.485, 0.456, 0.406]]]], np.float32)
STD = np.array([[[[0.229, 0.224, 0.225]]]], np.float32)
"""Of the pixels of ImageNet in [0, 1], red, green and blue."""


class Stage(NamedTuple):
    """Convolutions, each followed by a relu; the last relu's output is an activation of LPIPS.

    features: channels of each convolution
    convolutions: their number
    kernel, stride, padding: of each convolution, in both directions
    pool: size of the max pool before them, with a stride of 2; 0: none
    """

    features: int
    convolutions: int = 1
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pool: int = 0


class Network(NamedTuple):
    """A sequence of stages.

    least: pixels of an image's shorter side; smaller images are enlarged to it
    """

    name: str
    stages: tuple[Stage, ...]
    least: int


VGG16 = Network(
    "vgg16",
    (
        Stage(64, 2),
        Stage(128, 2, pool=2),
        Stage(256, 3, pool=2),
        Stage(512, 3, pool=2),
        Stage(512, 3, pool=2),
    ),
    least=32,
)
ALEXNET = Network(
    "alexnet",
    (
        Stage(64, kernel=11, stride=4, padding=2),
        Stage(192, kernel=5, padding=2, pool=3),
        Stage(384, pool=3),
        Stage(256),
        Stage(256),
    ),
    least=64,
)
NETWORKS = {network.name: network for network in (VGG16, ALEXNET)}


def activations(
    network: Network, params: PyTree, x: Float[Array, "n h w c"]
) -> list[Float[Array, "n _ _ _"]]:
    """Compute the output of each stage, after its last relu.

    VGG16's are relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3; AlexNet's relu1 to relu5.

    Args:
        params: {'Conv_0': {'kernel': (height, width, in, out), 'bias': (out,)}, 'Conv_1': ...}
        x: pixels in [0, 1], see `prepared`.

    Raises:
        BadInput: the images have neither one channel nor three.
    """
    x, convs, found = prepared(network, x), iter(range(len(params))), []
    for stage in network.stages:
        if stage.pool:
            x = nn.max_pool(x, (stage.pool, stage.pool), (2, 2), "VALID")
        for _ in range(stage.convolutions):
            x = nn.relu(_convolution(stage, params[f"Conv_{next(convs)}"], x))
        found.append(x)
    return found


def pooled(network: Network, params: PyTree, x: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
    """Average the last convolution's relu over the image: relu5_3 of VGG16, relu5 of AlexNet.

    Args:
        params, x: as for `activations`.

    Returns:
        512 features of VGG16, 256 of AlexNet.
    """
    return activations(network, params, x)[-1].mean(axis=(1, 2))


def prepared(network: Network, x: Float[Array, "n h w c"]) -> Float[Array, "n p q 3"]:
    """Clip pixels to [0, 1], enlarge small images, repeat grey, and normalize the channels.

    Raises:
        BadInput: the images have neither one channel nor three.
    """
    n, height, width, channels = x.shape
    if channels not in (1, 3):
        raise BadInput(f"{network.name} takes images of 1 or 3 channels; these have {channels}.")
    x = jnp.clip(x.astype(jnp.float32), 0, 1)
    size = enlarged(network, height, width)
    if size != (height, width):
        x = jax.image.resize(x, (n, *size, channels), "bilinear")
    return (jnp.broadcast_to(x, (n, *size, 3)) - MEAN) / STD


def enlarged(network: Network, height: int, width: int) -> tuple[int, int]:
    """Return the size at which images are used: their own, or the least of the same proportions."""
    factor = max(1.0, network.least / min(height, width))
    return round(factor * height), round(factor * width)


def shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shape of each parameter: 'Conv_0/kernel' -> (3, 3, 3, 64), ..."""
    found: dict[str, tuple[int, ...]] = {}
    inputs = 3
    for stage in network.stages:
        for _ in range(stage.convolutions):
            name = f"Conv_{len(found) // 2}"
            found[f"{name}/kernel"] = (stage.kernel, stage.kernel, inputs, stage.features)
            found[f"{name}/bias"] = (inputs := stage.features,)
    return found


def checked(network: Network, params: Mapping[str, Any]) -> PyTree:
    """Return `params` if they are parameters of this network.

    Raises:
        BadInput: names the first array that is missing or has another shape or type.
    """
    flat = flatten_dict(dict(params), sep="/")
    for name, shape in shapes(network).items():
        value = flat.get(name)
        if not isinstance(value, np.ndarray | jax.Array) or value.dtype != np.float32:
            raise BadInput(f"the weights of {network.name} lack {name!r} as float32.")
        if value.shape != shape:
            raise BadInput(
                f"in the weights of {network.name} {name!r} must be {shape}, not {value.shape}."
            )
    return params


def _convolution(
    stage: Stage, layer: PyTree, x: Float[Array, "n h w i"]
) -> Float[Array, "n p q o"]:
    found = jax.lax.conv_general_dilated(
        x,
        layer["kernel"],
        (stage.stride, stage.stride),
        [(stage.padding, stage.padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision="highest",
    )
    return found + layer["bias"][None, None, None]
