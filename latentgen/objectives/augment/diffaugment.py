"""DiffAugment: random changes of color, translation and cutout of what the discriminator sees.

Reference: Zhao et al. 2020, section 4 (arXiv:2006.10738).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from latentgen.core.keys import named_key

Images = Float[Array, "n h w c"]
Draws = Mapping[str, Shaped[Array, " n *k"]]
"""Random numbers of each operation, one row for each image."""

SHIFT, SQUARE = 1 / 8, 1 / 2  # relative to the image's sides: longest shift, sides of the cutout


class Operation(NamedTuple):
    """One operation of DiffAugment.

    draw: (key, n, (h, w)) -> its random numbers, leading axis n
    apply: (x in [-1, 1], these numbers) -> x
    """

    draw: Callable[[Key[Array, ""], int, tuple[int, int]], Shaped[Array, "n *k"]]
    apply: Callable[[Images, Shaped[Array, "n *k"]], Images]


def brightness(x: Images, u: Float[Array, " n"]) -> Images:
    """x + u - 1/2."""
    return x + (_column(u) - 0.5)


def saturation(x: Images, u: Float[Array, " n"]) -> Images:
    """2 u (x - m) + m, where m is each pixel's mean over the channels."""
    mean = x.mean(axis=-1, keepdims=True)
    return (x - mean) * (2 * _column(u)) + mean


def contrast(x: Images, u: Float[Array, " n"]) -> Images:
    """(u + 1/2) (x - m) + m, where m is the mean of the image."""
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    return (x - mean) * (_column(u) + 0.5) + mean


def translation(x: Images, shift: Shaped[Array, "n 2"]) -> Images:
    """y[i, j] = x[i + shift_0, j + shift_1], and 0 beyond the border.

    Args:
        shift: at most `longest_shift` pixels in either direction.
    """
    tall, wide = map(longest_shift, x.shape[1:3])
    padded = jnp.pad(x, ((0, 0), (tall, tall), (wide, wide), (0, 0)))
    most = jnp.array([[tall, wide]])
    start = jnp.clip(shift + most, 0, 2 * most)
    cut = lambda image, s: jax.lax.dynamic_slice(image, (s[0], s[1], 0), x.shape[1:])  # noqa: E731
    return jax.vmap(cut)(padded, start)


def cutout(x: Images, center: Shaped[Array, "n 2"]) -> Images:
    """Set a rectangle of half the image's sides around the pixel `center` to 0."""
    rows, columns = [
        _within(center[:, axis], size, _rounded(size * SQUARE))
        for axis, size in enumerate(x.shape[1:3])
    ]
    keep = ~(rows[:, :, None] & columns[:, None, :])
    return x * keep[..., None]


def longest_shift(size: int) -> int:
    """Return the greatest number of pixels that an image of this side is shifted by."""
    return _rounded(size * SHIFT)


def _rounded(size: float) -> int:
    return int(size + 0.5)


def _within(center: Shaped[Array, " n"], size: int, length: int) -> Shaped[Array, "n {size}"]:
    first = center[:, None] - length // 2
    place = jnp.arange(size)[None]
    return (place >= first) & (place < first + length)


def _column(u: Float[Array, " n"]) -> Float[Array, "n 1 1 1"]:
    return u[:, None, None, None]


def _uniform(key: Key[Array, ""], n: int, size: tuple[int, int]) -> Float[Array, " n"]:
    return jax.random.uniform(key, (n,))


def _shifts(key: Key[Array, ""], n: int, size: tuple[int, int]) -> Shaped[Array, "n 2"]:
    most = jnp.array([[longest_shift(side) for side in size]])
    return jax.random.randint(key, (n, 2), -most, most + 1)


def _centers(key: Key[Array, ""], n: int, size: tuple[int, int]) -> Shaped[Array, "n 2"]:
    last = jnp.array([[side + 1 - _rounded(side * SQUARE) % 2 for side in size]])
    return jax.random.randint(key, (n, 2), 0, last)


OPERATIONS: dict[str, Operation] = {
    "brightness": Operation(_uniform, brightness),
    "saturation": Operation(_uniform, saturation),
    "contrast": Operation(_uniform, contrast),
    "translation": Operation(_shifts, translation),
    "cutout": Operation(_centers, cutout),
}

POLICIES: dict[str, tuple[str, ...]] = {
    "color": ("brightness", "saturation", "contrast"),
    "translation": ("translation",),
    "cutout": ("cutout",),
}
"""Name in a config -> operations, in their order."""


def draw(
    key: Key[Array, ""], n: int, size: tuple[int, int], operations: Sequence[str]
) -> dict[str, Shaped[Array, " n *k"]]:
    """Draw the random numbers of these operations for n images of `size` (h, w)."""
    return {name: OPERATIONS[name].draw(named_key(key, name), n, size) for name in operations}


def transform(x: Images, draws: Draws) -> Images:
    """Apply the operations that `draws` has numbers for, in their order.

    Args:
        x: images in [-1, 1]. Outputs may leave this interval, as in the authors' code.
        draws: see `draw`.

    Reference: Zhao et al. 2020, section 4 (arXiv:2006.10738).
    """
    for name, numbers in draws.items():
        x = OPERATIONS[name].apply(x, numbers)
    return x
