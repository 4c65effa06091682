"""The generator of StyleGAN2, from styles w to images."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from latentgen.core.errors import choose
from latentgen.core.types import Net
from latentgen.networks.net import from_linen
from latentgen.networks.resample import upsample
from latentgen.networks.stylegan2.layers import HALF, Conv, Styled, ToImage
from latentgen.networks.stylegan2.sizes import Size, Width

ARCHITECTURES = ("skip", "resnet", "orig")


def style_levels(shape: Sequence[int]) -> int:
    """Return the number of styles: one for each 3x3 convolution, one for the last `ToImage`."""
    return 2 * (shape[0].bit_length() - 2)


class Generator(nn.Module):
    """A learned constant of 4x4 pixels, then two convolutions per doubling, modulated by styles.

    'skip': every size adds its image to the upsampled image of the size before. 'resnet': a
    shortcut around the two convolutions. 'orig': neither. The latter two make an image at the last
    size only.

    channels: number of channels of the image
    """

    channels: int
    sizes: tuple[Size, ...]
    architecture: str
    noise: bool
    clamp: float

    @nn.compact
    def __call__(self, w: Float[Array, "n *levels d"], train: bool) -> Float[Array, "n h w c"]:
        levels = 2 * len(self.sizes)
        w = w.astype(jnp.promote_types(w.dtype, jnp.float32))
        if w.ndim == 2:
            w = jnp.broadcast_to(w[:, None], (w.shape[0], levels, w.shape[1]))
        if w.shape[1] != levels:
            raise ValueError(f"{w.shape[1]} styles for {levels} levels")
        image: Array | None = None
        x = self._start(w)
        for i, size in enumerate(self.sizes):
            if i:
                x = self._doubled(x, w[:, 2 * i - 1], w[:, 2 * i], size)
            image = None if image is None else upsample(image)
            if self.architecture == "skip" or i == len(self.sizes) - 1:
                to_image = ToImage(self.channels, size.dtype, self.clamp, name=f"{size.side}_image")
                y = to_image(x, w[:, 2 * i + 1])
                image = y if image is None else image + y
        assert image is not None
        return image

    def _start(self, w: Float[Array, "n levels d"]) -> Float[Array, "n 4 4 c"]:
        size = self.sizes[0]
        shape = (size.side, size.side, size.channels)
        constant = self.param("constant", nn.initializers.normal(1.0), shape, jnp.float32)
        x = jnp.broadcast_to(constant[None], (w.shape[0], *shape)).astype(size.dtype)
        return self._styled(size, "conv")(x, w[:, 0])

    def _doubled(
        self, x: Array, first: Float[Array, "n d"], second: Float[Array, "n d"], size: Size
    ) -> Float[Array, "n h w c"]:
        x = x.astype(size.dtype)
        up, conv = self._styled(size, "up", "double"), self._styled(size, "conv")
        if self.architecture != "resnet":
            return conv(up(x, first), second)
        name = f"{size.side}_skip"
        skip = Conv(size.channels, 1, size.dtype, "double", active=False, name=name)(x, HALF)
        return skip + conv(up(x, first), second, HALF)

    def _styled(self, size: Size, name: str, resize: str = "keep") -> Styled:
        return Styled(
            size.channels, size.dtype, resize, self.clamp, self.noise, name=f"{size.side}_{name}"
        )


def generator(
    shape: Sequence[int],
    *,
    channel_base: int = 32768,
    channel_max: int = 512,
    architecture: str = "skip",
    noise: bool = True,
    clamp: float = 0.0,
    half: int = 0,
    dtype: DTypeLike = jnp.float32,
) -> Net:
    """A network from styles to images (n, h, w, c): StyleGAN2's synthesis network.

    Styles are (n, d), the same for all layers, or (n, `style_levels(shape)`, d), from 4x4 pixels
    outwards. Noise inputs are random if `apply` is given a key, else constant. The last layer is
    linear: images in [-1, 1] need method.output='linear'.

    Unlike the authors' code: bfloat16 in place of float16, which needs no scaling of kernels and
    styles before their products.

    Args:
        shape: (h, w, c) of the image, h = w = 8, 16, 32, ...
        channel_base, channel_max: a layer of side r has min(channel_base // r, channel_max)
            channels.
        architecture: 'skip', 'resnet' or 'orig'.
        noise: True: with noise inputs.
        clamp: greatest magnitude of a layer's outputs; 0: unbounded.
        half: number of sizes, from the image inwards, that compute in bfloat16; never that of 4x4.

    Reference: Karras et al. 2020 (arXiv:1912.04958), as in NVlabs/stylegan2-ada-pytorch d72cc7d,
    training/networks.py.

    Raises:
        BadInput: a number or a name is invalid, or the image does not fit.
    """
    choose("architecture", architecture, dict.fromkeys(ARCHITECTURES))
    sizes = Width(channel_base, channel_max, half, dtype).checked().sizes(shape)
    return from_linen(Generator(shape[-1], sizes, architecture, noise, clamp))
