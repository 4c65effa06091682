"""The discriminator of StyleGAN2."""

from itertools import pairwise

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput, choose, positive
from latentgen.core.types import Net
from latentgen.core.types import Size as Count
from latentgen.networks.net import from_linen, keep_features
from latentgen.networks.resample import downsample
from latentgen.networks.stylegan2.generator import ARCHITECTURES
from latentgen.networks.stylegan2.layers import EPSILON, HALF, Conv, Dense
from latentgen.networks.stylegan2.mapping import Mapping
from latentgen.networks.stylegan2.sizes import SMALLEST, Size, Width

CLASS_LAYERS, CLASS_RATE = 8, 0.01  # layers and learning rate of the class's mapping network


class Discriminator(nn.Module):
    """Two convolutions for each halving, standard deviations over the batch, dense layers.

    'resnet': a shortcut around the two convolutions. 'skip': every size also gets the downsampled
    image as an input. 'orig': neither. If the one-hot class is given, the output is
    <outputs, mapped class> / sqrt(d).

    group, group_features: see `batch_deviations`
    classes: number of classes; 0: no class is given
    class_width: d; 0: the number of channels at 4x4 pixels
    """

    width: Width
    outputs: int
    classes: int
    architecture: str
    group: int
    group_features: int
    class_width: int
    clamp: float

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], one_hot: Float[Array, "n k"] | None = None, *, train: bool
    ) -> Float[Array, "n outputs"]:
        sizes = self.width.sizes(x.shape[1:])[::-1]
        y = self._from_image(x, sizes[0])
        for size, smaller in pairwise(sizes):
            y = self._halved(y, size, smaller.channels)
            if self.architecture == "skip":
                x = downsample(x)
                y = y.astype(smaller.dtype) + self._from_image(x, smaller)
        wide = self.class_width or sizes[-1].channels
        features = self._features(y, sizes[-1].channels)
        if one_hot is None:
            return Dense(self.outputs, name="out")(features)
        product = Dense(wide, name="out")(features)
        mapping = Mapping(self.classes, wide, CLASS_LAYERS, CLASS_RATE, None, name="mapping")
        return (product * mapping(one_hot, train)).sum(axis=1, keepdims=True) * wide**-0.5

    def _from_image(self, x: Float[Array, "n h w c"], size: Size) -> Float[Array, "n h w o"]:
        clamp = self.clamp if size.side > SMALLEST else 0.0
        return Conv(size.channels, 1, size.dtype, clamp=clamp, name=f"{size.side}_from_image")(x)

    def _halved(
        self, x: Float[Array, "n h w c"], size: Size, features: int
    ) -> Float[Array, "n h//2 w//2 o"]:
        x = x.astype(size.dtype)
        name = f"{size.side}_"
        conv = Conv(size.channels, 3, size.dtype, clamp=self.clamp, name=name + "conv")
        down = Conv(features, 3, size.dtype, "halve", clamp=self.clamp, name=name + "down")
        if self.architecture != "resnet":
            return down(conv(x))
        skip = Conv(features, 1, size.dtype, "halve", active=False, name=name + "skip")
        return skip(x, HALF) + down(conv(x), HALF)

    def _features(self, x: Array, channels: int) -> Float[Array, "n channels"]:
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        x = x.astype(dtype)
        if self.group_features:
            x = batch_deviations(x, self.group, self.group_features)
        x = Conv(channels, 3, dtype, clamp=self.clamp, name="4_conv")(x)
        dense = Dense(channels, active=True, name="dense")
        return keep_features(self, dense(x.reshape(x.shape[0], -1)))


def batch_deviations(
    x: Float[Array, "n h w c"], group: int, features: int
) -> Float[Array, "n h w c+{features}"]:
    """x with channels added that hold standard deviations over a group of examples.

    The standard deviation of every pixel and channel over the group is averaged over pixels and
    over the channels of each of `features` equal parts. The examples i, i + n / group,
    i + 2 n / group, ... are a group.

    Args:
        group: number of examples in a group; if it does not divide n, the next smaller number that
            does.
        features: number of channels added, which divides c.

    Reference: Karras et al. 2018, section 3 (arXiv:1710.10196).
    """
    n, h, w, c = x.shape
    group = largest_divisor(n, group)
    parts = x.reshape(group, n // group, h, w, features, c // features)
    deviation = jnp.sqrt(((parts - parts.mean(axis=0)[None]) ** 2).mean(axis=0) + EPSILON)
    means = jnp.tile(deviation.mean(axis=(1, 2, 4)), (group, 1))
    means = jnp.broadcast_to(means[:, None, None], (n, h, w, features))
    return jnp.concatenate([x, means], axis=-1)


def largest_divisor(n: Count, most: int) -> int:
    """Return the largest divisor of n that is at most `most`; 1 for a symbolic n."""
    if not isinstance(n, int):
        return 1
    return max(d for d in range(1, min(n, most) + 1) if n % d == 0)


def discriminator(
    *,
    outputs: int,
    channel_base: int = 32768,
    channel_max: int = 512,
    architecture: str = "resnet",
    group: int = 4,
    group_features: int = 1,
    classes: int = 0,
    class_width: int = 0,
    clamp: float = 0.0,
    half: int = 0,
    dtype: DTypeLike = jnp.float32,
) -> Net:
    """A network from images (n, h, w, c), and with classes their one-hot class, to (n, outputs).

    With classes there is one output.

    Unlike the authors' code: bfloat16 in place of float16; groups are taken from the whole batch,
    not from each device's part of it.

    Args:
        channel_base, channel_max: a layer of side r has min(channel_base // r, channel_max)
            channels.
        architecture: 'resnet', 'skip' or 'orig'.
        group, group_features: size of the groups of `batch_deviations`, and number of channels that
            it adds; 0: none.
        classes: number of classes; 0: none.
        class_width: dimension of the mapped class and of the outputs that it is multiplied with; 0:
            the number of channels at 4x4 pixels.
        clamp: greatest magnitude of a layer's outputs; 0: unbounded.
        half: number of sizes, from the image inwards, that compute in bfloat16; never that of 4x4.

    Reference: Karras et al. 2020 (arXiv:1912.04958), as in NVlabs/stylegan2-ada-pytorch d72cc7d,
    training/networks.py.

    Raises:
        BadInput: a number or a name is invalid; on use, an image that does not fit.
    """
    choose("architecture", architecture, dict.fromkeys(ARCHITECTURES))
    positive("group", group)
    smallest = min(channel_base // SMALLEST, channel_max)
    if group_features < 0 or (group_features and smallest % group_features):
        raise BadInput(
            f"group_features={group_features} must be 0 or divide {smallest}, the channels of the "
            "4x4 image."
        )
    width = Width(channel_base, channel_max, half, dtype).checked()
    outputs = positive("outputs", outputs)
    return from_linen(
        Discriminator(
            width, outputs, classes, architecture, group, group_features, class_width, clamp
        )
    )
