"""Rendered figures with ground-truth factors: one figure on black, grey or coloured, of any size.

The factors and their number of values, as in dSprites (Matthey et al. 2017) with other values:

| factor      | values | value k                                                              |
|-------------|--------|----------------------------------------------------------------------|
| shape       | 4      | square, ellipse, heart, equilateral triangle                         |
| scale       | 6      | circumscribed circle of radius 0.12 + 0.024 k of the picture's side  |
| orientation | 24     | k / 24 of the shape's period, counterclockwise                       |
| x, y        | 16     | centre at 1/4 + k / 30 of the picture's side, from its upper left    |
| hue         | 8      | 45 k degrees of the HSV circle, fully saturated; coloured sets only  |

A shape's period is the smallest turn that maps it to itself: 90 degrees for the square, 180 for the
ellipse, 360 for the heart and 120 for the triangle. No two factor values have the same picture, and
no figure is cut off.

A pixel's value is 1/2 - d, clipped to [0, 1], where d is the signed distance in pixels from its
centre to the outline: the edge is one pixel wide. Only float32 operations that IEEE 754 rounds
correctly are used, so that pictures are the same to the bit on every machine.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, Int, Int32, Int64, UInt8

from latentgen.core.errors import BadInput, choose

FACTORS = {"shape": 4, "scale": 6, "orientation": 24, "x": 16, "y": 16, "hue": 8}
"""Name -> number of values. Grey sets have all but 'hue'."""

SIZES = {"train": 50_000, "test": 10_000}
"""Split -> number of examples."""

SEED = 20
SMALLEST, LARGEST = 16, 256
BLOCK = 2**17
"""Pixels that are rendered at a time, so that intermediate arrays stay in the CPU's cache."""

COLORS = np.array(
    [
        *((255, 0, 0), (255, 191, 0), (128, 255, 0), (0, 255, 64)),
        *((0, 255, 255), (0, 64, 255), (128, 0, 255), (255, 0, 191)),
    ],
    np.uint16,
)
"""RGB of each hue. The largest component is 255: it shows the grey picture unchanged."""

_STEP = 1.25
_TURNS = {"square": (0, 3), "ellipse": (0, 6), "heart": (36, 12), "triangle": (0, 4)}
"""Shape -> (first angle, period / 24) in units of `_STEP` degrees. The heart is drawn along a
diagonal, so that 45 degrees put it upright."""

_ANGLES = np.deg2rad(_STEP * np.arange(288))
# Six decimals, because libraries differ in the last bit of a cosine.
_COS, _SIN = (np.round(f(_ANGLES), 6).astype(np.float32) for f in (np.cos, np.sin))

Plane = Float32[np.ndarray, "n h w"]
Radius = Float32[np.ndarray, "n 1 1"]


def _square(u: Plane, v: Plane, r: Radius) -> Plane:
    return np.maximum(np.abs(u), np.abs(v)) - 0.7 * r


def _ellipse(u: Plane, v: Plane, r: Radius) -> Plane:
    """Approximate the distance to the ellipse f = u^2 + 4 v^2 - r^2 = 0 by f / |grad f|."""
    u2, v2 = u * u, 4 * (v * v)
    slope = 2 * np.sqrt(u2 + 4 * v2)
    return (u2 + v2 - r * r) / np.maximum(slope, 1e-3)  # the slope is 0 at the centre


def _heart_distance(u: Plane, v: Plane, r: Radius) -> Plane:
    """Unite a square of side 2s with discs of radius s on the sides that meet at (s, s)."""
    s = 0.56 * r
    u, v = u + 0.26 * s, v + 0.26 * s  # the centre of the circumscribed circle
    u, v = np.maximum(u, v), np.minimum(u, v)  # symmetric: one of the discs suffices
    disc = np.sqrt((u - s) * (u - s) + v * v)
    return np.minimum(np.maximum(u, -v), disc) - s


def _triangle(u: Plane, v: Plane, r: Radius) -> Plane:
    return np.maximum(0.866025 * np.abs(u) + 0.5 * v, -v) - 0.5 * r


_DISTANCES: dict[str, Callable[[Plane, Plane, Radius], Plane]] = {
    "square": _square,
    "ellipse": _ellipse,
    "heart": _heart_distance,
    "triangle": _triangle,
}
SHAPES = tuple(_DISTANCES)


def factor_names(color: bool) -> tuple[str, ...]:
    """Return the names of a set's factors, in the order of the columns of `factors_of`."""
    return tuple(FACTORS) if color else tuple(FACTORS)[:-1]


def count(color: bool) -> int:
    """Return the number of different pictures: the product of the factors' numbers of values."""
    return int(np.prod(_values(color)))


def _values(color: bool) -> list[int]:
    return [FACTORS[name] for name in factor_names(color)]


def factors_of(index: Int[np.ndarray, " n"], color: bool) -> Int32[np.ndarray, "n k"]:
    """Convert indices to factor values, the digits of a mixed radix; the last changes fastest.

    Args:
        index: indices from 0 to `count(color)` - 1.
        color: whether there is the factor 'hue'.

    Raises:
        BadInput: an index is out of range.
    """
    if len(index) and not 0 <= index.min() <= index.max() < count(color):
        raise BadInput(
            f"indices of sprites from {index.min()} to {index.max()} must be within 0 to "
            f"{count(color) - 1}."
        )
    return np.stack(np.unravel_index(index, _values(color)), axis=1).astype(np.int32)


def render(factors: Int32[np.ndarray, "n k"], size: int) -> UInt8[np.ndarray, "n size size c"]:
    """Render pictures of `size` x `size` pixels.

    Args:
        factors: 5 columns for grey pictures (c = 1) or 6 for coloured ones (c = 3), in the order
            of `factor_names`.
        size: 16 to 256.

    Raises:
        BadInput: the size, the number of columns or a factor's value is invalid.
    """
    _check(factors, size)
    grey = np.empty((len(factors), size, size), np.uint8)
    step = BLOCK // size**2
    for shape, name in enumerate(SHAPES):
        rows = np.flatnonzero(factors[:, 0] == shape)
        for block in np.split(rows, range(step, len(rows), step)):
            grey[block] = _grey(name, factors[block], size)
    if factors.shape[1] < len(FACTORS):
        return grey[..., None]
    return _colored(grey, factors[:, 5])


def _check(factors: Int32[np.ndarray, "n k"], size: int) -> None:
    if not SMALLEST <= size <= LARGEST:
        raise BadInput(f"the size of sprites, {size}, must be {SMALLEST} to {LARGEST} pixels.")
    if factors.shape[1] not in (5, 6):
        raise BadInput(f"sprites have 5 factors, or 6 with the hue, not {factors.shape[1]}.")
    for values, (name, k) in zip(factors.T, FACTORS.items(), strict=False):
        if len(values) and not 0 <= values.min() <= values.max() < k:
            raise BadInput(f"the factor {name!r} of sprites must be 0 to {k - 1}.")


def _grey(
    name: str, factors: Int32[np.ndarray, "n k"], size: int
) -> UInt8[np.ndarray, "n size size"]:
    """Render figures of one shape in white."""
    _, scale, orientation, column, row = factors.T[:5, :, None, None]
    first, turn = _TURNS[name]
    angle = (first + turn * orientation) % len(_COS)
    cos, sin = _COS[angle], _SIN[angle]
    pixels = np.arange(size, dtype=np.float32) + np.float32(0.5)
    x = pixels - _center(column, size)
    y = _center(row, size) - pixels[:, None]  # upwards
    r = (size * (0.12 + 0.024 * scale)).astype(np.float32)
    distance = _DISTANCES[name](cos * x + sin * y, cos * y - sin * x, r)
    return (255 * np.clip(0.5 - distance, 0, 1) + 0.5).astype(np.uint8)


def _center(k: Int32[np.ndarray, "n 1 1"], size: int) -> Float32[np.ndarray, "n 1 1"]:
    return (size * (0.25 + k / 30)).astype(np.float32)


def _colored(
    grey: UInt8[np.ndarray, "n h w"], hue: Int32[np.ndarray, " n"]
) -> UInt8[np.ndarray, "n h w 3"]:
    """Multiply by the colours, rounded to the nearest of 256 levels."""
    x = np.empty((*grey.shape, 3), np.uint8)
    for k, color in enumerate(COLORS):
        for channel, level in enumerate(color):
            table = ((np.arange(256, dtype=np.uint16) * level + 127) // 255).astype(np.uint8)
            x[hue == k, ..., channel] = table[grey[hue == k]]
    return x


def sample_indices(split: str, color: bool) -> Int64[np.ndarray, " n"]:
    """Return the indices of a split's examples in their order; no index is in both splits.

    They are the first and the next ones of a random permutation of all indices, drawn from numpy's
    RandomState, whose stream never changes.

    Args:
        split: a key of `SIZES`.
        color: whether the set is coloured.

    Raises:
        BadInput: the split is unknown.
    """
    size = choose("split", split, SIZES)
    first = 0 if split == "train" else SIZES["train"]
    order = np.random.RandomState(SEED).permutation(count(color))
    return order[first : first + size].astype(np.int64)


def sprites(
    split: str, size: int, color: bool
) -> tuple[UInt8[np.ndarray, "n size size c"], Int32[np.ndarray, "n k"]]:
    """Return a split's pictures and their factors; the first factor, the shape, is the label.

    Args:
        split: a key of `SIZES`.
        size: side of a picture, 16 to 256 pixels.
        color: whether the pictures are coloured (c = 3, k = 6) or grey (c = 1, k = 5).

    Raises:
        BadInput: the split is unknown or the size is invalid.
    """
    factors = factors_of(sample_indices(split, color), color)
    return render(factors, size), factors
