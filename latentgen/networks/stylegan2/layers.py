"""Layers of StyleGAN2: weights scaled at run time, filtered resizing, modulation by a style.

Kernels start at N(0, 1) and are multiplied by 1 / sqrt(fan-in) when used, so that Adam's steps have
the same relative size in all layers (equalized learning rate). Demodulation cancels this factor, so
demodulated layers leave it out. Kernels of dense layers are (i, o), of convolutions (k, k, i, o).

Reference: Karras et al. 2020 (arXiv:1912.04958), as in NVlabs/stylegan2-ada-pytorch d72cc7d.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from latentgen.core.schedules import is_zero
from latentgen.core.types import Size
from latentgen.networks import convolution
from latentgen.networks.resample import blur, downsample, upsample

SLOPE = 0.2  # of leaky ReLU
GAIN = 2**0.5  # of leaky ReLU
EPSILON = 1e-8
HALF = 0.5**0.5  # gain of each branch of a residual sum: half the variance


def normalized(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """x / sqrt(mean of x^2 over the coordinates + eps)."""
    return x * jax.lax.rsqrt((x**2).mean(axis=1, keepdims=True) + EPSILON)


def activated(x: Float[Array, "n *shape"], gain: float = 1.0) -> Float[Array, "n *shape"]:
    """Leaky ReLU times sqrt(2) and `gain`."""
    return jnp.where(x > 0, x, SLOPE * x) * (GAIN * gain)


def clamped(
    x: Float[Array, "n *shape"], limit: float | Float[Array, ""]
) -> Float[Array, "n *shape"]:
    """x clipped to [-limit, limit]; limit = 0: x."""
    if is_zero(limit):
        return x
    limit = jnp.asarray(limit, x.dtype)
    return jnp.clip(x, -limit, limit)


def convolved(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], resize: str
) -> Float[Array, "n p q o"]:
    """The convolution of x, with the filter of `resample` where the size changes.

    Args:
        kernel: of 3x3 pixels or 1x1.
        resize: 'keep'; 'double': a transposed convolution with stride 2, then the filter; 'halve':
            the filter, then a convolution with stride 2.
    """
    if len(kernel) == 1:  # commutes with the filter, and is cheaper on the smaller image
        x = downsample(x) if resize == "halve" else x
        x = convolution.conv(x, kernel, 1)
        return upsample(x) if resize == "double" else x
    if resize == "double":
        return blur(convolution.conv_outside(x, kernel, 2), pad=1, gain=4.0)
    if resize == "halve":
        return convolution.conv_inside(blur(x, pad=2), kernel, 2)
    return convolution.conv(x, kernel, 1)


class Dense(nn.Module):
    """act(x W rate / sqrt(i) + b rate), in float32.

    rate: learning rate of the layer relative to others; W starts at N(0, 1 / rate^2)
    bias: initial value of b
    active: True: act is leaky ReLU; else the identity
    """

    features: int
    rate: float = 1.0
    bias: float = 0.0
    active: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "n i"]) -> Float[Array, "n o"]:
        shape = (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(1 / self.rate), shape, jnp.float32)
        start = nn.initializers.constant(self.bias)
        bias = self.param("bias", start, (self.features,), jnp.float32)
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        y = x @ (kernel * (self.rate * x.shape[-1] ** -0.5)) + (bias * self.rate)[None]
        return activated(y) if self.active else y


class Conv(nn.Module):
    """A convolution; if `active`, with bias, leaky ReLU and clamp.

    resize: see `convolved`
    clamp: greatest magnitude of the outputs before the gain; 0: unbounded
    """

    features: int
    size: int
    dtype: DTypeLike
    resize: str = "keep"
    active: bool = True
    clamp: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"], gain: float = 1.0) -> Float[Array, "n p q o"]:
        kernel = _kernel(self, self.size, x.shape[-1], self.features)
        kernel = kernel * (self.size**2 * x.shape[-1]) ** -0.5
        y = convolved(x.astype(self.dtype), kernel.astype(self.dtype), self.resize)
        if not self.active:
            return y * gain
        y = y + _bias(self, self.features, self.dtype)
        return clamped(activated(y, gain), self.clamp * gain)


class Modulated(nn.Module):
    """A convolution whose inputs are scaled by a style, an affine function of w.

    demodulate: scale the outputs to unit variance, assuming inputs of unit variance, section 2.2
    """

    features: int
    size: int
    dtype: DTypeLike
    resize: str = "keep"
    demodulate: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"], w: Float[Array, "n d"]) -> Float[Array, "..."]:
        inputs = x.shape[-1]
        style = Dense(inputs, bias=1.0, name="style")(w)
        kernel = _kernel(self, self.size, inputs, self.features)
        if not self.demodulate:
            style = style * (self.size**2 * inputs) ** -0.5
        x = x.astype(self.dtype) * _per_channel(style, self.dtype)
        y = convolved(x, kernel.astype(self.dtype), self.resize)
        if not self.demodulate:
            return y
        variance = style**2 @ (kernel**2).sum((0, 1))
        return y * _per_channel(jax.lax.rsqrt(variance + EPSILON), self.dtype)


class Styled(nn.Module):
    """A modulated 3x3 convolution, noise, bias, leaky ReLU, clamp.

    The noise is one normal number per pixel times a learned strength. It is random if the call has
    a key, else it is the constant in the collection 'noise'.

    noise: False: no noise
    """

    features: int
    dtype: DTypeLike
    resize: str = "keep"
    clamp: float = 0.0
    noise: bool = True

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w i"], w: Float[Array, "n d"], gain: float = 1.0
    ) -> Float[Array, "n p q o"]:
        y = Modulated(self.features, 3, self.dtype, self.resize, name="conv")(x, w)
        if self.noise:
            y = y + self._noise(y.shape[:3])
        y = y + _bias(self, self.features, self.dtype)
        return clamped(activated(y, gain), self.clamp * gain)

    def _noise(self, shape: tuple[Size, ...]) -> Float[Array, "m h w 1"]:
        strength = self.param("strength", nn.initializers.zeros, (), jnp.float32)
        constant = self.variable(
            "noise", "constant", lambda: jax.random.normal(self.make_rng("params"), shape[1:])
        )
        noise = constant.value[None]
        if self.has_rng("dropout"):
            noise = jax.random.normal(self.make_rng("dropout"), shape)
        return (strength * noise[..., None]).astype(self.dtype)


class ToImage(nn.Module):
    """A modulated 1x1 convolution to the image's channels, bias, clamp, then a cast to float32."""

    features: int
    dtype: DTypeLike
    clamp: float = 0.0

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w i"], w: Float[Array, "n d"]
    ) -> Float[Array, "n h w o"]:
        y = Modulated(self.features, 1, self.dtype, demodulate=False, name="conv")(x, w)
        y = clamped(y + _bias(self, self.features, self.dtype), self.clamp)
        return y.astype(jnp.promote_types(y.dtype, jnp.float32))


def _kernel(module: nn.Module, size: int, inputs: int, outputs: int) -> Float[Array, "k k i o"]:
    shape = (size, size, inputs, outputs)
    kernel: Array = module.param("kernel", nn.initializers.normal(1.0), shape, jnp.float32)
    return kernel


def _bias(module: nn.Module, features: int, dtype: DTypeLike) -> Float[Array, "1 1 1 o"]:
    bias: Array = module.param("bias", nn.initializers.zeros, (features,), jnp.float32)
    return bias.astype(dtype)[None, None, None]


def _per_channel(factors: Float[Array, "n c"], dtype: DTypeLike) -> Float[Array, "n 1 1 c"]:
    return factors.astype(dtype)[:, None, None]
