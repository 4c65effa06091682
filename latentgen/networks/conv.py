"""Convolutional networks as in DCGAN and InfoGAN, for images whose sides halve evenly."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput, positive
from latentgen.core.types import Net
from latentgen.networks import convolution
from latentgen.networks.mlp import WIDTHS, Hidden, Linear, Style, finish, sizes, style
from latentgen.networks.net import from_linen
from latentgen.networks.norms import linear


class Conv(nn.Module):
    """A convolution, or its transpose, of size x size pixels."""

    features: int
    operation: Callable[..., Array]
    kernel_init: Callable[..., Array]
    use_bias: bool
    dtype: DTypeLike
    size: int = 4
    stride: int = 2
    groups: int = 1
    bias_init: Callable[..., Array] = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n p q o"]:
        shape = (self.size, self.size, x.shape[-1] // self.groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        groups = {} if self.groups == 1 else {"groups": self.groups}
        y = self.operation(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, **groups)
        if not self.use_bias:
            return y
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        return y + bias.astype(self.dtype).reshape(1, 1, 1, -1)


class ConvEncoder(nn.Module):
    """Convolutions that each halve the image, hidden layers, one linear layer."""

    channels: tuple[int, ...]
    dense: tuple[int, ...]
    outputs: int
    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n outputs"]:
        how = self.style
        halvings(x.shape[1:], self.channels)
        for i, features in enumerate(self.channels):
            first = i == 0  # not normalized: a norm would hide the scale of x from a discriminator
            bias = first or how.bias
            layer = Conv(features, convolution.conv, how.kernel, bias, how.dtype)
            x = finish(linear(layer, how.norm, x, train), how, train, normalized=not first)
        x = Hidden(self.dense, how)(x.reshape(x.shape[0], -1), train)
        return Linear(self.outputs, how)(x, train)


class ConvDecoder(nn.Module):
    """Hidden layers, then transposed convolutions that each double the image."""

    shape: tuple[int, ...]
    channels: tuple[int, ...]
    dense: tuple[int, ...]
    style: Style

    @nn.compact
    def __call__(self, z: Float[Array, "n d"], train: bool) -> Float[Array, "n h w c"]:
        how, up = self.style, convolution.conv_transpose
        *between, deepest = self.channels
        height, width = halvings(self.shape, self.channels)
        x = Hidden((*self.dense, height * width * deepest), how)(z, train)
        x = x.reshape(x.shape[0], height, width, deepest)
        for features in reversed(between):
            layer = Conv(features, up, how.kernel, how.bias, how.dtype)
            x = finish(linear(layer, how.norm, x, train), how, train)
        last = Conv(self.shape[-1], up, how.kernel, True, how.linear)
        return linear(last, how.norm, x, train)


def halvings(shape: Sequence[int], channels: Sequence[int]) -> tuple[int, int]:
    """Height and width after one halving for each of `channels`.

    Raises:
        BadInput: the shape is not (h, w, c), or h or w cannot be halved that often.
    """
    factor = 2 ** len(channels)
    if len(shape) != 3 or shape[0] % factor or shape[1] % factor:
        size = "x".join(map(str, shape))
        raise BadInput(
            f"an image of {size} does not fit {len(channels)} halvings: "
            f"it must be height x width x channels with sides divisible by {factor}."
        )
    return shape[0] // factor, shape[1] // factor


SMALLEST = 4
"""Least side of the smallest image, for networks whose depth follows from the image's size."""


def widths(shape: Sequence[int], width: int, widest: int) -> tuple[int, ...]:
    """Return the channels of each halving of the image, down to sides of 4 to 7 pixels.

    The halvings i = 0, 1, ... from the image inwards have min(2^i width, widest) channels, as in
    DCGAN (Radford et al. 2016, arXiv:1511.06434) and StyleGAN (`channel_base`, `channel_max`).

    Args:
        shape: (h, w, c) of the image.
        width: channels of the first halving.
        widest: greatest number of channels.

    Raises:
        BadInput: a side is not 4, 5, 6 or 7 times the same power of two.
    """
    sides = list(shape[:2])
    found: list[int] = []
    while len(shape) == 3 and all(s % 2 == 0 and s // 2 >= SMALLEST for s in sides):
        sides = [s // 2 for s in sides]
        found.append(min(width * 2 ** len(found), widest))
    if not found or max(sides) >= 2 * SMALLEST:
        size = "x".join(map(str, shape))
        valid = sorted(m * 2**k for m in range(SMALLEST, 2 * SMALLEST) for k in range(1, 8))
        near = sorted(sorted(valid, key=lambda s: abs(s - max(shape[:2])))[:2])
        raise BadInput(
            f"an image of {size} does not halve to sides of {SMALLEST} to {2 * SMALLEST - 1} "
            f"pixels; the nearest sides that do are {near[0]} and {near[1]}."
        )
    return tuple(found)


def unfolded(activation: str, norm: str, dropout: float, init: str, dtype: DTypeLike) -> Style:
    """Check the options of convolutional layers, whose activation must keep the number of channels.

    Raises:
        BadInput: a name is unknown, `dropout` is not in [0, 1), or the activation is in WIDTHS.
    """
    how = style(activation, norm, dropout, init, dtype)
    if activation in WIDTHS:
        raise BadInput(f"activation={activation!r} does not fit convolutions.")
    return how


def encoder(
    channels: Sequence[int] = (64, 128),
    dense: Sequence[int] = (1024,),
    *,
    outputs: int,
    activation: str = "leaky_relu",
    norm: str = "none",
    dropout: float = 0.0,
    init: str = "lecun",
    dtype: DTypeLike = jnp.float32,
) -> Net:
    """A network from images (n, h, w, c) to (n, outputs).

    Every hidden layer is followed by norm (except the first), activation and dropout. The last
    layer is linear and float32, as are all parameters.

    Reference: Radford et al. 2015, arXiv:1511.06434; Chen et al. 2016, arXiv:1606.03657, C.1.

    Raises:
        BadInput: an unknown name, an activation in WIDTHS, or a size below 1; on use, an image that
            does not fit.
    """
    how = unfolded(activation, norm, dropout, init, dtype)
    return from_linen(
        ConvEncoder(
            sizes("channels", channels), sizes("dense", dense), positive("outputs", outputs), how
        )
    )


def decoder(
    shape: Sequence[int],
    channels: Sequence[int] = (64, 128),
    dense: Sequence[int] = (1024,),
    activation: str = "relu",
    norm: str = "none",
    dropout: float = 0.0,
    init: str = "lecun",
    dtype: DTypeLike = jnp.float32,
) -> Net:
    """A network from codes (n, d) to images (n, h, w, c), mirroring `encoder`.

    `channels` are the encoder's, from the image inwards. Every layer but the last is followed by
    norm, activation and dropout; the last is linear and float32, as are all parameters.

    Args:
        shape: (h, w, c) of the image.

    Raises:
        BadInput: an unknown name, an activation in WIDTHS, a size below 1, or an image that does
            not fit.
    """
    how = unfolded(activation, norm, dropout, init, dtype)
    channels = sizes("channels", channels)
    halvings(shape, channels)
    return from_linen(ConvDecoder(sizes("shape", shape), channels, sizes("dense", dense), how))
