"""The networks of R3GAN: residual blocks of grouped convolutions, without any normalization.

Stages of 4x4, 8x8, ... pixels up to the image. Of all convolutions only the first two of each
block have a bias.

Reference: Huang et al. 2024, configuration E (arXiv:2501.05441), as in the authors' code
(brownvc/R3GAN 19a7ddf, R3GAN/Networks.py, Resamplers.py, FusedOperators.py).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput, positive
from latentgen.core.types import Net
from latentgen.networks import convolution
from latentgen.networks.conv import Conv
from latentgen.networks.mlp import sizes
from latentgen.networks.net import from_linen, keep_features
from latentgen.networks.resample import downsample, upsample

SLOPE = 0.2  # of leaky ReLU
GAIN = (2 / (1 + SLOPE**2)) ** 0.5  # of weights: leaky ReLU then keeps the mean square
SIDE = 4  # pixels of the smallest stage
IN_GROUP = 16  # channels of a group, as in all of the authors' networks but those for ImageNet


class Stage(NamedTuple):
    """Residual blocks on images of one size.

    gain: of the initial weights of the first two convolutions of a block
    """

    channels: int
    blocks: int
    groups: int
    expansion: int
    gain: float
    dtype: DTypeLike


def scaled(gain: float = 1.0) -> Callable[..., Array]:
    """The initializer N(0, gain^2 / fan-in)."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


class Block(nn.Module):
    """y = x + C3 act(C2 act(C1 x)): convolutions of 1x1, grouped 3x3 and 1x1 pixels.

    C1 and C2 have `expansion` times as many outputs as x has channels. C3 starts at 0, so that the
    block starts as the identity.
    """

    stage: Stage

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        at, features = self.stage, x.shape[-1]
        wide, init = at.expansion * features, scaled(at.gain)
        y = _conv(wide, 1, init, at.dtype, bias=True)(x)
        y = _conv(wide, 3, init, at.dtype, bias=True, groups=at.groups)(nn.leaky_relu(y, SLOPE))
        return x + _conv(features, 1, nn.initializers.zeros, at.dtype)(nn.leaky_relu(y, SLOPE))


class Generator(nn.Module):
    """Code -> linear layer times a learned 4x4 basis -> stages, each twice the size -> 1x1 conv.

    stages: from the image inwards
    """

    shape: tuple[int, ...]
    stages: tuple[Stage, ...]
    embedding: int
    classes: int

    @nn.compact
    def __call__(self, z: Float[Array, "n d"], train: bool) -> Float[Array, "n h w c"]:
        *outer, first = self.stages
        if self.classes:
            codes, one_hot = jnp.split(z, [z.shape[1] - self.classes], axis=1)
            width = self.embedding or codes.shape[1]
            z = jnp.concatenate([codes, _dense(width, scaled(), name="embedding")(one_hot)], 1)
        basis = self.param("basis", nn.initializers.normal(1.0), (SIDE, SIDE, first.channels))
        x = basis[None] * _dense(first.channels, scaled())(z)[:, None, None]
        x = _blocks(x, first)
        for stage in reversed(outer):
            x = upsample(_match(x, stage.channels, stage.dtype))
            x = _blocks(x, stage)
        x = _conv(self.shape[-1], 1, scaled(), self.stages[0].dtype)(x)
        return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class Discriminator(nn.Module):
    """1x1 conv -> stages, each half the size -> depthwise 4x4 convolution -> linear layer.

    With classes the output is <linear layer, embedding of the class>.

    stages: from the image inwards
    """

    stages: tuple[Stage, ...]
    outputs: int
    embedding: int
    classes: int

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], one_hot: Float[Array, "n k"] | None = None, *, train: bool
    ) -> Float[Array, "n outputs"]:
        _check_size(x.shape[1:], self.stages)
        outer, last = self.stages[:-1], self.stages[-1]
        x = _conv(self.stages[0].channels, 1, scaled(), self.stages[0].dtype)(x)
        for stage, inner in zip(outer, self.stages[1:], strict=True):
            x = downsample(_blocks(x, stage))
            x = _match(x, inner.channels, stage.dtype)
        x = _blocks(x, last)
        x = x.astype(jnp.promote_types(last.dtype, jnp.float32))
        shape = (SIDE, SIDE, last.channels)
        basis = self.param("basis", nn.initializers.normal(1 / SIDE), shape)  # fan-in 4^2
        x = keep_features(self, (basis[None] * x).sum((1, 2)))
        if not self.classes:
            return _dense(self.outputs, scaled())(x)
        width = self.embedding or last.channels
        embedded = _dense(width, scaled(width**-0.5), name="embedding")(one_hot)
        return (_dense(width, scaled())(x) * embedded).sum(1, keepdims=True)


def _blocks(x: Array, stage: Stage) -> Array:
    x = x.astype(stage.dtype)
    for _ in range(stage.blocks):
        x = Block(stage)(x)
    return x


def _match(x: Array, channels: int, dtype: DTypeLike) -> Array:
    """Apply a 1x1 convolution if the number of channels changes."""
    return x if x.shape[-1] == channels else _conv(channels, 1, scaled(), dtype)(x)


def _conv(
    features: int,
    size: int,
    init: Callable[..., Array],
    dtype: DTypeLike,
    *,
    bias: bool = False,
    groups: int = 1,
) -> Conv:
    return Conv(features, convolution.conv, init, bias, dtype, size, 1, groups)


def _dense(features: int, init: Callable[..., Array], name: str | None = None) -> nn.Dense:
    return nn.Dense(features, use_bias=False, kernel_init=init, name=name)


def _check_size(shape: Sequence[int], stages: Sequence[Stage]) -> None:
    side = SIDE * 2 ** (len(stages) - 1)
    if len(shape) != 3 or tuple(shape[:2]) != (side, side):
        size, widths = "x".join(map(str, shape)), tuple(stage.channels for stage in stages)
        raise BadInput(
            f"channels={widths} fit images of {side}x{side} pixels, not {size}: 4x4, doubled for "
            "each of the channels but one."
        )


def _each(key: str, values: Sequence[int], number: int) -> tuple[int, ...]:
    """Return one value for each stage; a single value is repeated."""
    values = sizes(key, values)
    if len(values) not in (1, number):
        raise BadInput(f"{key}={values} must have one size for all channels or {number}.")
    return values * (number // len(values))


def _stages(
    channels: Sequence[int],
    blocks: Sequence[int],
    groups: Sequence[int],
    expansion: int,
    half: int,
    dtype: DTypeLike,
) -> tuple[Stage, ...]:
    """Check the options and make the stages, from the image inwards."""
    number = len(channels)
    if not number:
        raise BadInput("channels=() must name at least one width.")
    channels, blocks = sizes("channels", channels), _each("blocks", blocks, number)
    expansion = positive("expansion", expansion)
    by_width = [max(1, expansion * width // IN_GROUP) for width in channels]
    groups = _each("groups", groups or by_width, number)
    if not 0 <= half < number:
        raise BadInput(f"half={half} must be from 0 to {number - 1}: all stages but that of 4x4.")
    for width, count in zip(channels, groups, strict=True):
        if expansion * width % count:
            raise BadInput(
                f"groups={count} must divide {expansion * width}, the channels={width} times "
                f"expansion={expansion}."
            )
    # Fixup, arXiv:1901.09321: L^(-1 / (2 m - 2)) for L blocks of m = 3 layers.
    gain = GAIN * sum(blocks) ** -0.25
    return tuple(
        Stage(width, depth, count, expansion, gain, jnp.bfloat16 if i < half else dtype)
        for i, (width, depth, count) in enumerate(zip(channels, blocks, groups, strict=True))
    )


def generator(
    shape: Sequence[int],
    *,
    channels: tuple[int, ...] = (768, 768, 768, 768),
    blocks: tuple[int, ...] = (2,),
    groups: tuple[int, ...] = (),
    expansion: int = 2,
    embedding: int = 0,
    half: int = 0,
    classes: int = 0,
    dtype: DTypeLike = jnp.float32,
) -> Net:
    """A network from codes (n, d + classes) to images (n, h, w, c), by default that for CIFAR-10.

    The last layer is linear: images in [-1, 1] need method.output='linear'.

    Args:
        shape: (h, w, c) of the image, h = w = 4 * 2^(number of channels - 1).
        channels: number of channels of each stage, from the image inwards.
        blocks: number of residual blocks of each stage; one number: the same for all.
        groups: number of groups of the 3x3 convolutions of each stage; one number: the same for
            all; (): groups of 16 channels.
        expansion: channels of the 3x3 convolutions relative to those of the stage.
        embedding: dimension of the class embedding that is appended to the code; 0: as the code.
        half: number of stages, from the image inwards, that compute in bfloat16; never that of 4x4.
        classes: last coordinates of the code, a one-hot class.

    Raises:
        BadInput: sizes that do not fit each other or the image.
    """
    stages = _stages(channels, blocks, groups, expansion, half, dtype)
    _check_size(shape, stages)
    return from_linen(Generator(tuple(shape), stages, embedding, classes))


def discriminator(
    *,
    outputs: int,
    channels: tuple[int, ...] = (768, 768, 768, 768),
    blocks: tuple[int, ...] = (2,),
    groups: tuple[int, ...] = (),
    expansion: int = 2,
    embedding: int = 0,
    half: int = 0,
    classes: int = 0,
    dtype: DTypeLike = jnp.float32,
) -> Net:
    """A network from images (n, h, w, c) to (n, outputs).

    With `classes` it is a network from images and one-hot classes (n, classes) to (n, 1).

    Args:
        outputs: number of outputs without classes.
        embedding: dimension of the class embedding and of the features that it is multiplied with;
            0: the last of `channels`.
        channels, blocks, groups, expansion, half: see `generator`.

    Raises:
        BadInput: sizes that do not fit each other; on use, an image that does not fit.
    """
    stages = _stages(channels, blocks, groups, expansion, half, dtype)
    return from_linen(Discriminator(stages, positive("outputs", outputs), embedding, classes))
