"""Resampling of images by the filter [1, 3, 3, 1] / 8 in each direction, with zero padding.

The filter is applied as a sum of shifted images: differentiable to any order, and fast on every
platform. R3GAN's filter [1, 2, 1], convolved with the [1, 1] of its resampling, is the same.

Reference: Zhang 2019 (arXiv:1904.11486); Karras et al. 2020, appendix B (arXiv:1912.04958).
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

TAPS = (1 / 8, 3 / 8, 3 / 8, 1 / 8)


def blur(
    x: Float[Array, "n h w c"], pad: int, gain: float = 1.0
) -> Float[Array, "n h+2*{pad}-3 w+2*{pad}-3 c"]:
    """The filtered image.

    Args:
        pad: number of zeros added on each side; the filter is applied wherever it fits inside.
        gain: factor that the result is multiplied with.
    """
    for axis in (1, 2):
        size = x.shape[axis] + 2 * pad - 3
        x = jnp.pad(x, [(pad, pad) if i == axis else (0, 0) for i in range(4)])
        before = (slice(None),) * axis
        shifted = (x[(*before, slice(k, k + size))] for k in range(4))
        x = sum(t * gain**0.5 * part for t, part in zip(TAPS, shifted, strict=True))
    return x


def upsample(x: Float[Array, "n h w c"]) -> Float[Array, "n 2*h 2*w c"]:
    """The image at twice its size: a zero after each pixel, then the filter with a gain of 4."""
    for axis in (1, 2):
        before, after = _neighbours(x, axis)
        pairs = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
        x = pairs.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
    return x


def downsample(x: Float[Array, "n h w c"]) -> Float[Array, "n h//2 w//2 c"]:
    """The image at half its size: the filter, then every other pixel."""
    for axis in (1, 2):
        pairs = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
        even, odd = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
        before, after = _neighbours(odd, axis)[0], _neighbours(even, axis)[1]
        x = 0.375 * (even + odd) + 0.125 * (before + after)
    return x


def _neighbours(x: Array, axis: int) -> tuple[Array, Array]:
    """Return the pixel before and the pixel after each pixel, along an axis; 0 beyond the image."""
    size = x.shape[axis]
    around = jnp.pad(x, [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)])
    before, after = (lax.slice_in_dim(around, i, i + size, axis=axis) for i in (0, 2))
    return before, after
