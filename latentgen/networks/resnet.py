"""Residual networks for small images, as WGAN-GP and spectral normalization were tried with."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput, positive
from latentgen.core.types import Net
from latentgen.networks import convolution
from latentgen.networks.conv import Conv, halvings, unfolded
from latentgen.networks.mlp import Hidden, Linear, Style, finish, sizes
from latentgen.networks.net import from_linen
from latentgen.networks.norms import linear


class Block(nn.Module):
    """y = s(x) + conv(act(norm(conv(act(norm(x)))))), both convolutions of 3x3 pixels.

    s is the identity, or a convolution of 1x1 pixels where the size or the number of channels
    changes. In a block that halves the image, 2x2 means follow the last convolutions; in one that
    doubles it, pixels are repeated before the first. (Means and repeats commute with 1x1
    convolutions, which are therefore done on the smaller image.)

    resize: "halve", "double" or "keep".
    data: x is data, not what another block made: no norm in the block, no activation in front.
    """

    features: int
    style: Style
    resize: str
    data: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"], train: bool) -> Float[Array, "n p q o"]:
        how = self.style

        def conv(x: Array, layer: str) -> Array:
            size = 1 if layer == "shortcut" else 3
            bias = layer != "first" or self.data or how.bias
            return _conv(x, self.features, size, how, train, bias)

        return residual(
            x,
            self.features,
            self.resize,
            lambda x: x if self.data else finish(x, how, train),
            lambda y: finish(y, how, train, normalized=not self.data),
            conv,
        )


class ResNetEncoder(nn.Module):
    """Blocks that halve the image each, one that does not, a sum over pixels, linear layers."""

    channels: tuple[int, ...]
    dense: tuple[int, ...]
    outputs: int
    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n outputs"]:
        how = self.style
        halvings(x.shape[1:], self.channels)
        for i, features in enumerate(self.channels):
            x = Block(features, how, "halve", data=i == 0)(x, train)
        x = Block(self.channels[-1], how, "keep")(x, train)
        x = finish(x, how, train, normalized=False).sum((1, 2), dtype=how.linear)
        return Linear(self.outputs, how)(Hidden(self.dense, how)(x, train), train)


class ResNetDecoder(nn.Module):
    """Linear layers, blocks that double the image each, norm, activation, a 3x3 convolution."""

    shape: tuple[int, ...]
    channels: tuple[int, ...]
    dense: tuple[int, ...]
    style: Style

    @nn.compact
    def __call__(self, z: Float[Array, "n d"], train: bool) -> Float[Array, "n h w c"]:
        how = self.style
        height, width = halvings(self.shape, self.channels)
        x = Hidden(self.dense, how)(z, train)
        x = Linear(height * width * self.channels[-1], how)(x, train)
        x = x.reshape(x.shape[0], height, width, -1)
        for features in reversed(self.channels):
            x = Block(features, how, "double")(x, train)
        x = finish(x, how, train)
        return _conv(x, self.shape[-1], 3, how._replace(dtype=how.linear), train)


def residual(
    x: Float[Array, "n h w i"],
    features: int,
    resize: str,
    before: Callable[[Array], Array],
    between: Callable[[Array], Array],
    conv: Callable[[Array, str], Array],
) -> Float[Array, "n p q {features}"]:
    """s(x) + conv(between(conv(before(x)))), the block of `Block`, for any layers.

    Args:
        features: channels of the result.
        resize: "halve", "double" or "keep".
        before, between: norm and activation in front of the first and the second convolution.
        conv: (x, "first", "second" or "shortcut") -> (n, h, w, features); 3x3, 3x3 and 1x1 pixels.
    """
    y = before(x)
    y = doubled(y) if resize == "double" else y
    y = conv(between(conv(y, "first")), "second")
    if resize == "halve":
        x, y = halved(x), halved(y)
    if resize != "keep" or x.shape[-1] != features:
        x = conv(x, "shortcut")
    return (doubled(x) if resize == "double" else x) + y


def halved(x: Float[Array, "n h w c"]) -> Float[Array, "n h//2 w//2 c"]:
    """The means of 2x2 pixels."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).mean(axis=(2, 4))


def doubled(x: Float[Array, "n h w c"]) -> Float[Array, "n 2*h 2*w c"]:
    """Every pixel four times: nearest-neighbour interpolation."""
    return x.repeat(2, axis=1).repeat(2, axis=2)


def _conv(
    x: Float[Array, "n h w i"], features: int, size: int, how: Style, train: bool, bias: bool = True
) -> Float[Array, "n h w {features}"]:
    layer = Conv(features, convolution.conv, how.kernel, bias, how.dtype, size, stride=1)
    return linear(layer, how.norm, x, train)


def _widths(channels: Sequence[int]) -> tuple[int, ...]:
    if not channels:
        raise BadInput("channels=() must name at least one width.")
    return sizes("channels", channels)


def encoder(
    channels: Sequence[int] = (128, 128),
    dense: Sequence[int] = (),
    *,
    outputs: int,
    activation: str = "relu",
    norm: str = "none",
    dropout: float = 0.0,
    init: str = "he",
    dtype: DTypeLike = jnp.float32,
) -> Net:
    """A network from images (n, h, w, c) to (n, outputs).

    A residual block for each of `channels`, which halves the image; one more of the last width,
    which does not; activation, sum over the pixels, hidden layers of the widths `dense`, and one
    linear layer. Norms are those of the papers: none in the first block and before the sum. The
    last layer is float32, as are all parameters. The papers' networks for 32x32 pixels have two
    blocks at the end that do not halve.

    Reference: Gulrajani et al. 2017, arXiv:1704.00028, appendix; Miyato et al. 2018,
    arXiv:1802.05957, appendix.

    Raises:
        BadInput: an unknown name, an activation in WIDTHS, no channels, or a size below 1; on use,
            an image that does not fit.
    """
    how = unfolded(activation, norm, dropout, init, dtype)
    channels, dense = _widths(channels), sizes("dense", dense)
    return from_linen(ResNetEncoder(channels, dense, positive("outputs", outputs), how))


def decoder(
    shape: Sequence[int],
    channels: Sequence[int] = (256, 256, 256),
    dense: Sequence[int] = (),
    activation: str = "relu",
    norm: str = "none",
    dropout: float = 0.0,
    init: str = "he",
    dtype: DTypeLike = jnp.float32,
) -> Net:
    """A network from codes (n, d) to images (n, h, w, c).

    Hidden layers of the widths `dense`, a linear layer to the smallest image, a residual block for
    each of `channels`, named from the image inwards, which doubles it; norm, activation, and a
    convolution of 3x3 pixels. The last layer is float32, as are all parameters. With norm='batch',
    the generators of the papers in `encoder` for 32x32 pixels: 128 channels in Gulrajani et al.,
    256 in Miyato et al.

    Args:
        shape: (h, w, c) of the image.

    Raises:
        BadInput: an unknown name, an activation in WIDTHS, no channels, a size below 1, or an image
            that does not fit.
    """
    how = unfolded(activation, norm, dropout, init, dtype)
    channels, dense = _widths(channels), sizes("dense", dense)
    halvings(shape, channels)
    return from_linen(ResNetDecoder(sizes("shape", shape), channels, dense, how))
