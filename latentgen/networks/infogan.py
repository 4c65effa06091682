"""InfoGAN's networks for MNIST: one body for the discriminator's logit and for Q(c|x).

Everything here is the authors': convolutions with biases also before a norm, a leak of 0.01,
kernels from N(0, 0.02^2), scales of norms from N(1, 0.02^2). Images are of any size whose sides
halve as often as there are convolutions.

Reference: Chen et al. 2016, C.1 (arXiv:1606.03657); openai/InfoGAN 6e41232,
infogan/models/regularized_gan.py, infogan/misc/custom_ops.py.
"""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput, choose, positive
from latentgen.core.types import Net
from latentgen.networks import convolution
from latentgen.networks.conv import Conv, halvings
from latentgen.networks.mlp import sizes
from latentgen.networks.net import from_linen, keep_features
from latentgen.networks.norms import EPSILON, MOMENTUM

STD = 0.02
NORMAL = nn.initializers.normal(STD)
TRUNCATED = nn.initializers.truncated_normal(STD)  # cut off at two standard deviations


def _scale(key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    return 1 + NORMAL(key, shape, dtype)


def _normalized(
    x: Float[Array, "n *shape"], norm: str, train: bool, dtype: DTypeLike
) -> Float[Array, "n *shape"]:
    """Apply batch norm, or nothing; call it inside a linen module."""
    if norm == "none":
        return x
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=MOMENTUM,
        epsilon=EPSILON,
        dtype=dtype,
        scale_init=_scale,
        use_fast_variance=False,
    )(x)


def _leaky_relu(x: Float[Array, "n *shape"]) -> Float[Array, "n *shape"]:
    return nn.leaky_relu(x, 0.01)


class Dense(nn.Module):
    """Fully connected layers, each with norm and activation."""

    widths: tuple[int, ...]
    norm: str
    activation: Callable[[Array], Array]
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], train: bool) -> Float[Array, "n e"]:
        for width in self.widths:
            x = nn.Dense(width, dtype=self.dtype, kernel_init=NORMAL)(x)
            x = self.activation(_normalized(x, self.norm, train, self.dtype))
        return x


class Encoder(nn.Module):
    """Discriminator: the first output is linear in the features; the others have hidden layers."""

    channels: tuple[int, ...]
    hidden: tuple[int, ...]
    head: tuple[int, ...]
    outputs: int
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n outputs"]:
        halvings(x.shape[1:], self.channels)
        for i, features in enumerate(self.channels):
            x = Conv(features, convolution.conv, TRUNCATED, True, self.dtype)(x)
            x = _leaky_relu(x if i == 0 else _normalized(x, self.norm, train, self.dtype))
        dense = partial(Dense, norm=self.norm, activation=_leaky_relu, dtype=self.dtype)
        last = partial(nn.Dense, dtype=jnp.float32, kernel_init=NORMAL)
        x = dense(self.hidden, name="body")(x.reshape(x.shape[0], -1), train)
        logit = last(1, name="logit")(keep_features(self, x))
        if self.outputs == 1:
            return logit
        others = last(self.outputs - 1, name="others")(dense(self.head, name="head")(x, train))
        return jnp.concatenate([logit, others], axis=1)


class Decoder(nn.Module):
    """Generator: fully connected layers, then transposed convolutions; the last one is linear."""

    shape: tuple[int, ...]
    channels: tuple[int, ...]
    hidden: tuple[int, ...]
    norm: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, z: Float[Array, "n d"], train: bool) -> Float[Array, "n h w c"]:
        *between, deepest = self.channels
        height, width = halvings(self.shape, self.channels)
        widths = (*self.hidden, height * width * deepest)
        x = Dense(widths, self.norm, nn.relu, self.dtype)(z, train)
        x = x.reshape(x.shape[0], height, width, deepest)
        for features in reversed(between):
            x = Conv(features, convolution.conv_transpose, NORMAL, True, self.dtype)(x)
            x = nn.relu(_normalized(x, self.norm, train, self.dtype))
        return Conv(self.shape[-1], convolution.conv_transpose, NORMAL, True, jnp.float32)(x)


NORMS = {"batch": None, "none": None}


def _checked(
    channels: Sequence[int], hidden: Sequence[int], norm: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    choose("norm", norm, NORMS)
    if not channels:
        raise BadInput("channels=() must name at least one size.")
    return sizes("channels", channels), sizes("hidden", hidden)


def encoder(
    *,
    outputs: int,
    channels: tuple[int, ...] = (64, 128),
    hidden: tuple[int, ...] = (1024,),
    head: tuple[int, ...] = (128,),
    norm: str = "batch",
    dtype: DTypeLike = jnp.float32,
) -> Net:
    """A network from images (n, h, w, c) to (n, outputs): a logit, then the outputs of Q.

    Args:
        channels: of the convolutions, each of which halves the image.
        hidden: widths of the dense layers that all outputs share.
        head: widths of the dense layers of all outputs but the first.
        norm: batch, or none: not theirs, for penalties on gradients.

    Raises:
        BadInput: no channels, a size below 1, or an unknown norm; on use, an image that does not
            fit.
    """
    channels, hidden = _checked(channels, hidden, norm)
    units = positive("outputs", outputs)
    return from_linen(Encoder(channels, hidden, sizes("head", head), units, norm, dtype))


def decoder(
    shape: tuple[int, ...],
    *,
    channels: tuple[int, ...] = (64, 128),
    hidden: tuple[int, ...] = (1024,),
    norm: str = "batch",
    dtype: DTypeLike = jnp.float32,
) -> Net:
    """A network from codes (n, d) to images (n, h, w, c), mirroring `encoder`.

    Raises:
        BadInput: no channels, a size below 1, an unknown norm, or an image that does not fit.
    """
    channels, hidden = _checked(channels, hidden, norm)
    halvings(shape, channels)
    return from_linen(Decoder(sizes("shape", shape), channels, hidden, norm, dtype))
