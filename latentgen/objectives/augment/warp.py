"""Affine maps of images without aliasing, and filters of their frequency bands.

An image is upsampled by 2 with an orthogonal wavelet filter, sampled at the mapped places by
bilinear interpolation, and downsampled by 2 with the same filter. All this is linear in the image,
so gradients of any order cost as little as the map itself.

Reference: Karras et al. 2020, appendix B (arXiv:2006.06676).
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Images = Float[Array, "n h w c"]

SYM2 = (-0.12940952255092145, 0.22414386804185735, 0.836516303737469, 0.48296291314469025)
SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633),
    *(0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252),
    *(-0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148),
)
"""Low-pass filters of the symlets with 2 and 6 vanishing moments."""

EDGE = len(SYM6) // 4  # pixels around the output that the filter of downsampling sees
BANDS = 4
POWER = np.array([10.0, 1.0, 1.0, 1.0]) / 13  # expected power of images in each band
EXACT = "highest"  # float32 products, also where a platform would round factors to 10 bits


def warp(x: Images, inverse: Float[Array, "n 3 3"]) -> Images:
    """Return y with y(p) = x(inverse p), where p = (across, down, 1) in pixels from the centre.

    Beyond its border an image is reflected, by up to side - 1 pixels; further out it is 0. The
    authors reflect only as far as some image of the batch needs: where an image is made smaller,
    theirs sees less of the reflection within three pixels of the border.
    """
    (up_rows, down_rows), (up_columns, down_columns) = (_resampling(s) for s in x.shape[1:3])
    sampled = _sampled(_multiplied(x, up_rows, up_columns), inverse)
    return _multiplied(sampled, down_rows, down_columns)


def _multiplied(x: Images, rows: np.ndarray, columns: np.ndarray) -> Float[Array, "n p q c"]:
    """Multiply the rows and the columns of each image by a matrix: y = rows x columns^T."""
    dtype = x.dtype
    x = jnp.einsum("ih,nhwc->niwc", jnp.asarray(rows, dtype), x, precision=EXACT)
    return jnp.einsum("jw,niwc->nijc", jnp.asarray(columns, dtype), x, precision=EXACT)


@functools.cache
def _resampling(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the matrices of upsampling and downsampling along one side.

    The first, (2 (3 size - 2), size), reflects by size - 1 pixels at both ends and upsamples by 2.
    The second, (size, 2 (size + 2 EDGE)), downsamples by 2 what has EDGE more pixels at both ends.
    Applied to the same pixels, the second inverts the first.
    """
    taps = np.array(SYM6) / sum(SYM6)
    pixels = np.pad(np.arange(size), size - 1, mode="reflect") if size > 1 else np.arange(1)
    enlarge = np.zeros((2 * len(pixels), size))
    reduce = np.zeros((size, 2 * (size + 2 * EDGE)))
    for k, tap in enumerate(taps):
        for place, pixel in enumerate(pixels):
            if 0 <= (to := 2 * place + k - (len(taps) - 2) // 2) < len(enlarge):
                enlarge[to, pixel] += 2 * tap
        reduce[np.arange(size), 2 * np.arange(size) + k + 1] = tap
    return enlarge, reduce


def _sampled(x: Images, inverse: Float[Array, "n 3 3"]) -> Float[Array, "n p q c"]:
    """Sample images upsampled by 2 at the pixels of the output, with 0 beyond the border."""
    n, height, width, channels = x.shape
    # Sides of the output before upsampling, from those of x: see `_resampling`.
    tall, wide = ((size // 2 + 2) // 3 + 2 * EDGE for size in (height, width))
    # Both grids are half a pixel off the centre, as in the authors' code: so a translation by whole
    # pixels samples at whole numbers.
    j, i = (jnp.arange(2 * size)[None, None] + 1.0 - size for size in (wide, tall))
    across, down = (
        inverse[:, row, 0, None, None] * j
        + inverse[:, row, 1, None, None] * i.swapaxes(1, 2)
        + 2 * inverse[:, row, 2, None, None]
        + size // 2
        - 1
        for row, size in ((0, width), (1, height))
    )
    left, top = jnp.floor(across), jnp.floor(down)
    flat = x.reshape(n, height * width, channels)

    def corner(dx: int, dy: int) -> Float[Array, "n p q c"]:
        px, py = left + dx, top + dy
        weight = (1 - abs(across - px)) * (1 - abs(down - py))
        inside = (px >= 0) & (px < width) & (py >= 0) & (py < height)
        index = _clipped(py, height) * width + _clipped(px, width)
        found = jnp.take_along_axis(flat, index.reshape(n, -1, 1), axis=1, mode="clip")
        return found.reshape(*index.shape, channels) * jnp.where(inside, weight, 0.0)[..., None]

    return corner(0, 0) + corner(1, 0) + corner(0, 1) + corner(1, 1)


def _clipped(place: Float[Array, "n h w"], size: int) -> Int[Array, "n h w"]:
    return jnp.clip(place, 0, size - 1).astype(jnp.int32)


def amplify(x: Images, gains: Float[Array, "n 4"]) -> Images:
    """Multiply four frequency bands of each image by their gains, from the lowest to the highest.

    Gains of 1 change nothing. Beyond its border an image is reflected.
    """
    rows, columns = (jnp.asarray(_bands(size), x.dtype) for size in x.shape[1:3])
    tall = jnp.einsum("nb,bij->nij", gains, rows, precision=EXACT)
    wide = jnp.einsum("nb,bij->nij", gains, columns, precision=EXACT)
    x = jnp.einsum("nih,nhwc->niwc", tall, x, precision=EXACT)
    return jnp.einsum("njw,niwc->nijc", wide, x, precision=EXACT)


@functools.cache
def _bands(size: int) -> np.ndarray:
    """Return the filters of the bands as matrices (band, size, size)."""
    bank = band_filters()
    reach = bank.shape[1] // 2
    pixels = np.pad(np.arange(size), reach, mode="reflect") if size > 1 else np.zeros(2 * reach + 1)
    matrices = np.zeros((BANDS, size, size))
    for k, taps in enumerate(bank.T):
        for place in range(size):
            matrices[:, place, int(pixels[place + k])] += taps
    return matrices


@functools.cache
def band_filters() -> np.ndarray:
    """Return the symmetric filters (band, tap) of four bands, whose sum is the identity.

    L and B keep the lower and the upper half of the frequencies: L(z) = H(z) H(1/z) / 2 for the
    low-pass filter H of sym2, B(z) = L(-z). The bands are L(z) L(z^2) L(z^4), L(z) L(z^2) B(z^4),
    L(z) B(z^2) and B(z).

    Reference: Karras et al. 2020, appendix B, "image-space filtering" (arXiv:2006.06676).
    """
    low, high = (
        np.convolve(h, h[::-1]) / 2
        for h in (np.array(SYM2), np.array(SYM2) * [1.0, -1.0, 1.0, -1.0])
    )
    bands, rest = [], np.ones(1)
    for level in range(BANDS - 1):
        bands.append(np.convolve(rest, _spread(high, 2**level)))
        rest = np.convolve(rest, _spread(low, 2**level))
    longest = len(rest)
    bands.append(rest)
    return np.stack([np.pad(band, (longest - len(band)) // 2) for band in reversed(bands)])


def _spread(taps: np.ndarray, factor: int) -> np.ndarray:
    """Put factor - 1 zeros between the taps: taps(z^factor)."""
    spread = np.zeros(factor * (len(taps) - 1) + 1)
    spread[::factor] = taps
    return spread
