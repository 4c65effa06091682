"""Normalization of hidden layers: over the batch, over the layer, of their kernels, or none."""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from latentgen.core.errors import choose

MOMENTUM = 0.9  # as in DCGAN: averages over some ten minibatches, near to a generator that moves
EPSILON = 1e-5


class BatchNorm(nn.Module):
    """y = scale (x - mean) / sqrt(var + eps) + bias, per feature over the batch and the image.

    In training mean and (biased) variance are the minibatch's, and the averages in the collection
    'batch_stats' move: average <- .9 average + .1 batch. In evaluation they are the averages.

    Reference: Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1.
    """

    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "n *shape"], train: bool) -> Float[Array, "n *shape"]:
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=MOMENTUM,
            epsilon=EPSILON,
            dtype=self.dtype,
            use_fast_variance=False,  # E x^2 - (E x)^2 cancels where the mean is large
        )(x)


class Standardize(nn.Module):
    """(x - mean) / sqrt(var + eps), per feature over the batch and the image.

    Batch norm without scale and bias, as PyTorch and Chainer compute it: it divides by the root of
    the minibatch's biased variance, and averages the unbiased one, m / (m - 1) as large for m
    pixels. `BatchNorm` averages the biased one.
    """

    epsilon: float = EPSILON

    @nn.compact
    def __call__(self, x: Float[Array, "n *shape"], train: bool) -> Float[Array, "n *shape"]:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        features, pixels = x.shape[-1:], math.prod(x.shape[:-1])
        mean = self.variable("batch_stats", "mean", jnp.zeros, features, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, features, jnp.float32)
        if not train:
            return self._standardized(wide, mean.value, var.value)
        rows = wide.reshape(-1, *features)
        batch_mean = rows.mean(axis=0)
        batch_var = ((rows - batch_mean[None]) ** 2).mean(axis=0)
        unbiased = batch_var * (pixels / max(pixels - 1, 1))
        for average, new in ((mean, batch_mean), (var, unbiased)):
            moved = MOMENTUM * average.value + (1 - MOMENTUM) * new
            average.value = moved.astype(average.value.dtype)
        return self._standardized(wide, batch_mean, batch_var)

    def _standardized(
        self, x: Float[Array, "n *shape"], mean: Float[Array, " c"], var: Float[Array, " c"]
    ) -> Float[Array, "n *shape"]:
        shape = (*(1,) * (x.ndim - 1), -1)
        return (x - mean.reshape(shape)) * jax.lax.rsqrt(var + self.epsilon).reshape(shape)


class ConditionalBatchNorm(nn.Module):
    """y = (1 + gain(c)) (x - mean) / sqrt(var + eps) + bias(c), gain and bias linear in c.

    c is what the image is of: the one-hot class, its embedding, part of the code; without one,
    scale and bias are parameters. Moments and products are float32, the result is `dtype`. See
    `Standardize`.

    kernel_init: initializer of the two kernels.
    norm: of the two kernels: 'none' or 'spectral'.

    Reference: de Vries et al. 2017, arXiv:1707.00683; Dumoulin et al. 2017, arXiv:1610.07629, eq.
    5; Brock et al. 2019, arXiv:1809.11096, appendix B.
    """

    dtype: DTypeLike
    epsilon: float = EPSILON
    kernel_init: Callable[..., Array] = nn.initializers.zeros
    norm: str = "none"

    @nn.compact
    def __call__(
        self, x: Float[Array, "n *shape"], c: Float[Array, "n d"] | None, train: bool
    ) -> Float[Array, "n *shape"]:
        features = x.shape[-1]
        y = Standardize(self.epsilon)(x, train)
        if c is None:
            gain = self.param("scale", nn.initializers.ones, (features,), jnp.float32)[None]
            bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)[None]
        else:
            gain = 1 + self._linear("gain", features, c, train)
            bias = self._linear("bias", features, c, train)
        shape = (-1, *(1,) * (x.ndim - 2), features)
        return (y * gain.reshape(shape) + bias.reshape(shape)).astype(self.dtype)

    def _linear(
        self, name: str, features: int, c: Float[Array, "n d"], train: bool
    ) -> Float[Array, "n {features}"]:
        layer = nn.Dense(features, use_bias=False, kernel_init=self.kernel_init, name=name)
        return linear(layer, self.norm, c, train)


class LayerNorm(nn.Module):
    """y = scale (x - mean) / sqrt(var + eps) + bias, per example over all hidden units.

    On images mean and variance are over height, width and channels; scale and bias are per
    channel.

    Reference: Ba et al. 2016, arXiv:1607.06450, eq. 3.
    """

    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "n *shape"], train: bool) -> Float[Array, "n *shape"]:
        return nn.LayerNorm(
            epsilon=EPSILON,
            dtype=self.dtype,
            reduction_axes=tuple(range(1, x.ndim)),
            feature_axes=-1,
            use_fast_variance=False,
        )(x)


NORMS: dict[str, Callable[[DTypeLike], nn.Module] | None] = {
    "none": None,
    "batch": BatchNorm,
    "layer": LayerNorm,
    "spectral": None,  # normalizes what comes before: see `linear`
}


def norm(name: str, dtype: DTypeLike) -> nn.Module | None:
    """The normalization called `name`, or None where nothing follows a layer.

    Raises:
        BadInput: the name is unknown.
    """
    made = choose("norm", name, NORMS)
    return made and made(dtype)


def linear(
    layer: nn.Module, name: str, x: Float[Array, "n *shape"], train: bool
) -> Float[Array, "n *wider"]:
    """layer(x); under the norm 'spectral' with layer's kernel over its largest singular value.

    W / (v^T W u), where W is the kernel as a matrix with one column for each output,
    v = W u / |W u|, and then u = W^T v / |W^T v|: one power iteration, from the u kept in the
    collection 'batch_stats', where training keeps the new one and evaluation the old one. u and v
    are constants to gradients. Biases stay as they are. Called inside a linen module.

    Args:
        layer: a linen module, dense or a convolution.
        name: of the norm.

    Reference: Miyato et al. 2018, algorithm 1 (arXiv:1802.05957).
    """
    if name != "spectral":
        return layer(x)
    return nn.SpectralNorm(layer)(x, update_stats=train)
