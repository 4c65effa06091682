"""The Inception network of 2015-12-05, the one that "FID" and "Inception score" mean.

It is not quite the Inception V3 of the paper or of today's libraries: its average pools leave
padding out of the count, its last block has a max pool in place of one, it has 1008 logits, and it
shrinks or enlarges images as TensorFlow 1 did. A distance under any other network is another
distance. Modules and parameters are named as in the published PyTorch weights.

Everything is float32, also where an accelerator would rather multiply with fewer bits.

Reference: Szegedy et al. 2016 (arXiv:1512.00567); Heusel et al. 2017 (arXiv:1706.08500);
github.com/toshas/torch-fidelity and github.com/mseitzer/pytorch-fid for the differences.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Key

from latentgen.core.errors import BadInput
from latentgen.core.types import PyTree

SIZE = 299
LOGITS = 1008
EPSILON = 1e-3  # of batch norm


class Features(NamedTuple):
    """Features and logits of images.

    pooled: the features of FID, KID, precision and recall: the last block's average over the image.
    logits: those of the Inception score, without a bias, as TensorFlow's code computed them.
    """

    pooled: Float[Array, "n 2048"]
    logits: Float[Array, "n 1008"]


Step = tuple[int, ...]
"""Features, height and width of a kernel, and perhaps a stride."""


class ConvNorm(nn.Module):
    """relu(batch norm(convolution)), the norm with its stored mean and variance.

    Padding keeps the image's size, but where there is a stride.
    """

    step: Step
    pad: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n p q {self.step[0]}"]:
        features, height, width, *stride = self.step
        x = nn.Conv(
            features,
            (height, width),
            stride[0] if stride else 1,
            "SAME" if self.pad and not stride else "VALID",
            use_bias=False,
            precision="highest",
            name="conv",
        )(x)
        return nn.relu(nn.BatchNorm(use_running_average=True, epsilon=EPSILON, name="bn")(x))


_max = functools.partial(nn.max_pool, window_shape=(3, 3), padding="SAME")
_mean = functools.partial(nn.avg_pool, window_shape=(3, 3), padding="SAME", count_include_pad=False)
_halve = functools.partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2), padding="VALID")


def _path(x: Array, name: str, *steps: Step | list[Step]) -> Array:
    """Convolutions one after the other; a list of two works side by side on the same input.

    Named `name` where there is but one, else `name`_1, `name`_2, ..., and `name`_2a, `name`_2b in
    a list. Called inside a linen module, as are the branches below.
    """
    for i, step in enumerate(steps, 1):
        label = f"{name}_{i}" if len(steps) > 1 else name
        if isinstance(step, list):
            both = [ConvNorm(fork, name=label + ab)(x) for fork, ab in zip(step, "ab", strict=True)]
            x = jnp.concatenate(both, axis=-1)
        else:
            x = ConvNorm(step, name=label)(x)
    return x


# The branches of the mixed blocks, by the letters that torchvision and others gave them.


def _a(x: Array, pool: int) -> list[Array]:
    return [
        _path(x, "branch1x1", (64, 1, 1)),
        _path(x, "branch5x5", (48, 1, 1), (64, 5, 5)),
        _path(x, "branch3x3dbl", (64, 1, 1), (96, 3, 3), (96, 3, 3)),
        _path(_mean(x), "branch_pool", (pool, 1, 1)),
    ]


def _b(x: Array) -> list[Array]:
    return [
        _path(x, "branch3x3", (384, 3, 3, 2)),
        _path(x, "branch3x3dbl", (64, 1, 1), (96, 3, 3), (96, 3, 3, 2)),
        _halve(x),
    ]


def _c(x: Array, d: int) -> list[Array]:
    return [
        _path(x, "branch1x1", (192, 1, 1)),
        _path(x, "branch7x7", (d, 1, 1), (d, 1, 7), (192, 7, 1)),
        _path(x, "branch7x7dbl", (d, 1, 1), (d, 7, 1), (d, 1, 7), (d, 7, 1), (192, 1, 7)),
        _path(_mean(x), "branch_pool", (192, 1, 1)),
    ]


def _d(x: Array) -> list[Array]:
    return [
        _path(x, "branch3x3", (192, 1, 1), (320, 3, 3, 2)),
        _path(x, "branch7x7x3", (192, 1, 1), (192, 1, 7), (192, 7, 1), (192, 3, 3, 2)),
        _halve(x),
    ]


def _e(x: Array, pool: Callable[[Array], Array]) -> list[Array]:
    cross: list[Step] = [(384, 1, 3), (384, 3, 1)]
    return [
        _path(x, "branch1x1", (320, 1, 1)),
        _path(x, "branch3x3", (384, 1, 1), cross),
        _path(x, "branch3x3dbl", (448, 1, 1), (384, 3, 3), cross),
        _path(pool(x), "branch_pool", (192, 1, 1)),
    ]


MIXED: dict[str, Callable[[Array], list[Array]]] = {
    "Mixed_5b": functools.partial(_a, pool=32),  # 35 x 35 x 256
    "Mixed_5c": functools.partial(_a, pool=64),  # 35 x 35 x 288
    "Mixed_5d": functools.partial(_a, pool=64),
    "Mixed_6a": _b,  # 17 x 17 x 768
    "Mixed_6b": functools.partial(_c, d=128),
    "Mixed_6c": functools.partial(_c, d=160),
    "Mixed_6d": functools.partial(_c, d=160),
    "Mixed_6e": functools.partial(_c, d=192),
    "Mixed_7a": _d,  # 8 x 8 x 1280
    "Mixed_7b": functools.partial(_e, pool=_mean),  # 8 x 8 x 2048
    "Mixed_7c": functools.partial(_e, pool=_max),
}


class Mixed(nn.Module):
    """Branches side by side: their channels one after the other."""

    branches: Callable[[Array], list[Array]]

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n p q o"]:
        return jnp.concatenate(self.branches(x), axis=-1)


class InceptionV3(nn.Module):
    """A stem of five convolutions, eleven mixed blocks, the average over the image, logits."""

    @nn.compact
    def __call__(self, x: Float[Array, "n 299 299 3"]) -> Features:
        x = ConvNorm((32, 3, 3, 2), name="Conv2d_1a_3x3")(x)  # 149 x 149
        x = ConvNorm((32, 3, 3), pad=False, name="Conv2d_2a_3x3")(x)  # 147 x 147
        x = ConvNorm((64, 3, 3), name="Conv2d_2b_3x3")(x)
        x = _halve(x)  # 73 x 73
        x = ConvNorm((80, 1, 1), name="Conv2d_3b_1x1")(x)
        x = ConvNorm((192, 3, 3), pad=False, name="Conv2d_4a_3x3")(x)  # 71 x 71
        x = _halve(x)  # 35 x 35
        for name, branches in MIXED.items():
            x = Mixed(branches, name=name)(x)
        pooled = x.mean(axis=(1, 2))
        logits = nn.Dense(LOGITS, use_bias=False, precision="highest", name="fc")(pooled)
        return Features(pooled, logits)


def inception(params: PyTree, x: Float[Array, "n h w c"]) -> Features:
    """Features of images of any size, first made whole numbers as a file of them would hold.

    Args:
        params: of `from_torch`, `init`, or a file of `latentgen.networks.weights`.
        x: pixels in [0, 1], clipped to it; one channel stands for three equal ones.

    Raises:
        BadInput: the images have neither one channel nor three.
    """
    _, height, width, channels = x.shape
    if channels not in (1, 3):
        raise BadInput(f"Inception takes images of 1 or 3 channels; these have {channels}.")
    x = jnp.round(255 * jnp.clip(x.astype(jnp.float32), 0, 1))
    rows, columns = resize_matrix(height, SIZE), resize_matrix(width, SIZE)
    x = jnp.einsum("ph,nhwc->npwc", rows, x, precision="highest")
    x = jnp.einsum("qw,npwc->npqc", columns, x, precision="highest")
    x = jnp.broadcast_to((x - 128) / 128, (*x.shape[:3], 3))
    run: Callable[..., Any] = InceptionV3().apply
    return run(params, x)


def resize_matrix(size_in: int, size_out: int) -> Float[np.ndarray, "{size_out} {size_in}"]:
    """The matrix A of TensorFlow 1's bilinear interpolation along one side: y = A x.

    Output i is the value at i * size_in / size_out, between the pixels on both sides, without
    half-pixel centers, and without a filter where the image shrinks; beyond the last pixel is the
    last pixel.
    """
    place = np.arange(size_out, dtype=np.float32) * np.float32(size_in / size_out)
    below = place.astype(int)
    fraction = place - below.astype(np.float32)
    matrix = np.zeros((size_out, size_in), np.float32)
    np.add.at(matrix, (np.arange(size_out), below), 1 - fraction)
    np.add.at(matrix, (np.arange(size_out), np.minimum(below + 1, size_in - 1)), fraction)
    return matrix


def init(key: Key[Array, ""]) -> PyTree:
    """Random parameters, batch-norm statistics too, under which features are of order 1.

    They have no meaning: for tests, and for measuring speed.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    draw: dict[str, Callable[[tuple[int, ...]], np.ndarray]] = {
        "kernel": lambda s: rng.normal(0, math.sqrt(2 / math.prod(s[:-1])), s),
        "scale": lambda s: rng.uniform(0.5, 1.5, s),
        "bias": lambda s: rng.normal(0, 0.1, s),
        "mean": lambda s: rng.normal(0, 0.1, s),
        "var": lambda s: rng.uniform(0.5, 1.5, s),
    }
    return _tree({path: draw[path[-1]](shape) for path, shape in _shapes().items()})


NAMES = {  # of ours in the state dict
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def from_torch(state: Mapping[str, np.ndarray]) -> PyTree:
    """The parameters in the state dict that PyTorch's ports of the network share.

    Args:
        state: as in pt_inception-2015-12-05-6726825d.pth, as NumPy arrays. Tensors that have no
            part in the features, such as the bias of the logits, may be there or not.

    Raises:
        BadInput: names the first tensor that is missing or has another shape.
    """
    found = {}
    for path, shape in _shapes().items():
        name = ".".join((*path[1:-1], NAMES[path[-1]]))
        kernel = path[-1] == "kernel"
        # Kernels are (out, in, height, width) there, and (height, width, in, out) here.
        value = _take(state, name, (shape[-1], shape[-2], *shape[:-2]) if kernel else shape)
        found[path] = np.moveaxis(value, (1, 0), (-2, -1)) if kernel else value
    return _tree(found)


def checked(params: PyTree) -> PyTree:
    """`params`, if they are parameters of this network: for those out of a file.

    Raises:
        BadInput: names the first array that is missing or has another shape.
    """
    flat = flatten_dict(params, sep="/")
    for path, shape in _shapes().items():
        _take(flat, "/".join(path), shape)
    return params


def _take(arrays: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> np.ndarray:
    """`arrays[name]`, if it has the shape."""
    if name not in arrays:
        raise BadInput(f"the weights of Inception lack {name!r}.")
    value = np.asarray(arrays[name])
    if value.shape != shape:
        raise BadInput(f"in the weights of Inception {name!r} must be {shape}, not {value.shape}.")
    return value


@functools.cache
def _shapes() -> dict[tuple[str, ...], tuple[int, ...]]:
    """The shape of each parameter by its path: ('params', 'Mixed_5b', 'branch1x1', ...)."""
    image = jax.ShapeDtypeStruct((1, SIZE, SIZE, 3), jnp.float32)
    tree = jax.eval_shape(InceptionV3().init, jax.random.key(0), image)
    return {path: leaf.shape for path, leaf in flatten_dict(dict(tree)).items()}


def _tree(flat: Mapping[tuple[str, ...], np.ndarray]) -> PyTree:
    """A nest of dicts of float32."""
    return unflatten_dict({path: jnp.asarray(x, jnp.float32) for path, x in flat.items()})
