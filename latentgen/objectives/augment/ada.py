"""Augmentations of adaptive discriminator augmentation (ADA), each applied with a probability.

Each operation changes each image with the probability p times the operation's strength. At p = 0
images stay as they are.

Reference: Karras et al. 2020, section 2.2 and appendix B (arXiv:2006.06676).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from latentgen.core.errors import BadInput
from latentgen.core.keys import named_key
from latentgen.objectives.augment.warp import BANDS, EXACT, POWER, amplify, warp

Images = Float[Array, "n h w c"]
Values = Mapping[str, Float[Array, " n *k"]]
"""Operation -> its parameters, one row for each image."""

SQUARE = 0.5  # sides of the rectangle that cutout sets to 0, relative to the image's


class Operation(NamedTuple):
    """One augmentation.

    value: random numbers -> parameters, for an image that is changed
    neutral: value of the parameters for which the operation is the identity
    numbers: number of random numbers for each image
    normal: True if they are from N(0, 1); else from U[0, 1)
    chances: number of independent decisions whether to change an image
    """

    value: Callable[[Array], Array]
    neutral: float
    numbers: int = 1
    normal: bool = False
    chances: int = 1


def _angle(u: Array) -> Array:
    return (2 * u - 1) * np.pi


OPERATIONS: dict[str, Operation] = {
    "xflip": Operation(lambda u: jnp.floor(2 * u), 0.0),
    "rotate90": Operation(lambda u: jnp.floor(4 * u), 0.0),  # quarter turns
    "xint": Operation(lambda u: (2 * u - 1) / 8, 0.0, numbers=2),  # of the sides
    "scale": Operation(lambda z: 2 ** (0.2 * z), 1.0, normal=True),
    "rotate": Operation(_angle, 0.0),  # radians, before `aniso`
    "aniso": Operation(lambda z: 2 ** (0.2 * z), 1.0, normal=True),
    "rotate_after": Operation(_angle, 0.0),
    "xfrac": Operation(lambda z: z / 8, 0.0, numbers=2, normal=True),  # of the sides
    "brightness": Operation(lambda z: 0.2 * z, 0.0, normal=True),
    "contrast": Operation(lambda z: 2 ** (0.5 * z), 1.0, normal=True),
    "lumaflip": Operation(lambda u: jnp.floor(2 * u), 0.0),
    "hue": Operation(_angle, 0.0),  # radians
    "saturation": Operation(lambda z: 2**z, 1.0, normal=True),
    "imgfilter": Operation(lambda z: 2**z, 1.0, BANDS, True, BANDS),
    "noise": Operation(lambda z: 0.1 * abs(z), 0.0, normal=True),  # standard deviation
    "cutout": Operation(lambda u: u, -1.0, numbers=2),  # centre, relative; -1: outside the image
}
"""Augmentations in the order in which they are applied."""

BLIT = ("xflip", "rotate90", "xint")
GEOMETRY = ("scale", "rotate", "aniso", "rotate_after", "xfrac")
COLOR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
PIXELS = "pixels of noise"

GROUPS: dict[str, dict[str, float]] = {
    "blit": dict.fromkeys(BLIT, 1.0),
    "geom": dict.fromkeys(GEOMETRY, 1.0),
    "color": dict.fromkeys(COLOR, 1.0),
    "filter": {"imgfilter": 1.0},
    "noise": {"noise": 1.0},
    "cutout": {"cutout": 1.0},
    "bgc": dict.fromkeys((*BLIT, *GEOMETRY, *COLOR), 1.0),
    "r3gan": dict.fromkeys((*BLIT, *GEOMETRY, "cutout"), 1.0) | dict.fromkeys(COLOR, 0.5),
}
"""Name in a config -> strengths of operations. 'bgc' is the paper's choice; 'r3gan' that of Huang
et al. 2024 (arXiv:2501.05441)."""


class Draws(NamedTuple):
    """Random numbers of a batch by operation.

    chance: from U[0, 1); an image is changed if it is below the probability
    number: from N(0, 1) or U[0, 1); the parameters are computed from it
    """

    chance: Mapping[str, Float[Array, "n _"]]
    number: Mapping[str, Float[Array, "n _"]]


def draw(key: Key[Array, ""], n: int, strengths: Mapping[str, float]) -> Draws:
    """Draw the random numbers of these operations for n images."""
    chance, number = {}, {}
    for name in strengths:
        operation = OPERATIONS[name]
        chance_key, number_key = jax.random.split(named_key(key, name))
        chance[name] = jax.random.uniform(chance_key, (n, operation.chances))
        numbers = jax.random.normal if operation.normal else jax.random.uniform
        number[name] = numbers(number_key, (n, operation.numbers))
    return Draws(chance, number)


def values(
    draws: Draws, p: float | Float[Array, ""], strengths: Mapping[str, float]
) -> dict[str, Float[Array, "n _"]]:
    """Return the parameters of each operation; neutral ones for images that it does not change.

    Args:
        p: probability of an operation of strength 1; probabilities above 1 act as 1.
    """
    return {
        name: jnp.where(
            draws.chance[name] < _probability(name, strengths[name] * p),
            OPERATIONS[name].value(draws.number[name]),
            OPERATIONS[name].neutral,
        )
        for name in strengths
    }


def _probability(name: str, p: float | Float[Array, ""]) -> float | Float[Array, ""]:
    """Return p, or for the two rotations 1 - sqrt(1 - p): p is the probability of at least one."""
    if name not in ("rotate", "rotate_after"):
        return p
    return 1 - jnp.sqrt(jnp.clip(1 - p, 0, 1))


def transform(x: Images, values: Values, noise: Images | None = None) -> Images:
    """Apply the operations that `values` has parameters for.

    Args:
        x: images in [-1, 1], of 1 or 3 channels; grey ones keep their hue and saturation. Outputs
            may leave this interval, as in the authors' code.
        values: parameters, as from `values`.
        noise: from N(0, 1), for the operation 'noise'.

    Raises:
        BadInput: `values` changes colours, and there are neither 1 nor 3 channels.

    Reference: Karras et al. 2020, appendix B (arXiv:2006.06676).
    """
    if any(name in values for name in (*BLIT, *GEOMETRY)):
        x = warp(x, inverse_map(values, x.shape[1:3]))
    if any(name in values for name in COLOR):
        x = recolor(x, color_map(values, grey=x.shape[-1] == 1))
    if "imgfilter" in values:
        x = amplify(x, band_gains(values["imgfilter"]))
    if "noise" in values and noise is not None:
        x = x + values["noise"][:, :, None, None] * noise
    return cutout(x, values["cutout"]) if "cutout" in values else x


def augment(
    x: Images, key: Key[Array, ""], p: float | Float[Array, ""], strengths: Mapping[str, float]
) -> Images:
    """Apply the operations to images in [-1, 1], each with probability p times its strength."""
    noise = jax.random.normal(named_key(key, PIXELS), x.shape) if "noise" in strengths else None
    return transform(x, values(draw(key, x.shape[0], strengths), p, strengths), noise)


def inverse_map(values: Values, size: tuple[int, ...]) -> Float[Array, "n 3 3"]:
    """Return the maps from a pixel of the output to its place in the input, for `warp`.

    Coordinates are in pixels from the image's centre. A map is the product of the inverses of the
    operations, the first to be applied on the left.
    """
    height, width = size

    def shift(t: Float[Array, "n 2"]) -> Float[Array, "n 3 3"]:
        return _matrix([[1, 0, -t[:, 0]], [0, 1, -t[:, 1]], [0, 0, 1]])

    def scale(s: Float[Array, " n"], t: Float[Array, " n"]) -> Float[Array, "n 3 3"]:
        return _matrix([[1 / s, 0, 0], [0, 1 / t, 0], [0, 0, 1]])

    def rotate(angle: Float[Array, " n"]) -> Float[Array, "n 3 3"]:
        c, s = jnp.cos(angle), jnp.sin(angle)
        return _matrix([[c, -s, 0], [s, c, 0], [0, 0, 1]])

    sides = jnp.array([[width, height]], jnp.float32)
    makers: dict[str, Callable[[Array], Array]] = {
        "xflip": lambda i: scale(1 - 2 * i[:, 0], jnp.ones_like(i[:, 0])),
        "rotate90": lambda i: rotate(np.pi / 2 * i[:, 0]),
        "xint": lambda t: shift(jnp.round(t * sides)),
        "scale": lambda s: scale(s[:, 0], s[:, 0]),
        "rotate": lambda angle: rotate(angle[:, 0]),
        "aniso": lambda s: scale(s[:, 0], 1 / s[:, 0]),
        "rotate_after": lambda angle: rotate(angle[:, 0]),
        "xfrac": lambda t: shift(t * sides),
    }
    maps = [make(values[name]) for name, make in makers.items() if name in values]
    product = maps[0]
    for each in maps[1:]:
        product = jnp.matmul(product, each, precision=EXACT)
    return product


def _matrix(rows: list[list]) -> Float[Array, "n 3 3"]:
    n = next(len(each) for row in rows for each in row if isinstance(each, jax.Array))
    entries = [jnp.broadcast_to(jnp.float32(each), (n,)) for row in rows for each in row]
    return jnp.stack(entries, axis=-1).reshape(n, 3, 3)


def color_map(values: Values, grey: bool) -> Float[Array, "n 3 4"]:
    """Return the affine maps of colours (red, green, blue, 1).

    Args:
        grey: True: leave out hue and saturation, which grey images do not have.
    """
    axis = np.full(3, 3**-0.5)  # unit vector along grey colours
    identity = jnp.eye(3)[None]
    along = jnp.asarray(np.outer(axis, axis)[None], jnp.float32)
    across = identity - along
    cross = jnp.asarray(np.cross(np.eye(3), axis)[None], jnp.float32)  # cross @ c = axis x c
    column = lambda value: value[:, :, None]  # noqa: E731
    makers: dict[str, Callable[[Array], Array]] = {
        "contrast": lambda c: column(c) * identity,
        "lumaflip": lambda i: identity - 2 * column(i) * along,
        "hue": lambda a: along + jnp.cos(column(a)) * across + jnp.sin(column(a)) * cross,
        "saturation": lambda s: along + column(s) * across,
    }
    present = next(value for name, value in values.items() if name in COLOR)
    offset = values.get("brightness", jnp.zeros_like(present))
    linear = jnp.broadcast_to(identity, (len(present), 3, 3))
    product = jnp.concatenate([linear, column(offset).repeat(3, axis=1)], axis=-1)
    for name, make in makers.items():
        if name in values and not (grey and name in ("hue", "saturation")):
            product = jnp.matmul(make(values[name]), product, precision=EXACT)
    return product


def recolor(x: Images, colors: Float[Array, "n 3 4"]) -> Images:
    """Map the colours of each image; grey values become the mean of the channels they would map to.

    Raises:
        BadInput: there are neither 1 nor 3 channels.
    """
    if x.shape[-1] not in (1, 3):
        raise BadInput(
            f"config.method.augment: colours need images of 1 or 3 channels, not {x.shape[-1]}."
        )
    if x.shape[-1] == 1:
        gain, offset = colors[:, :, :3].sum(axis=2).mean(axis=1), colors[:, :, 3].mean(axis=1)
        return x * gain[:, None, None, None] + offset[:, None, None, None]
    linear = jnp.einsum("nij,nhwj->nhwi", colors[:, :, :3], x, precision=EXACT)
    return linear + colors[:, None, None, :, 3]


def band_gains(amplification: Float[Array, "n 4"]) -> Float[Array, "n 4"]:
    """Return the gain of each band: the product of the amplifications, each at constant power.

    Each of the four amplifies one band, and is then divided by the root of the expected power.
    """
    changed = jnp.where(jnp.eye(BANDS, dtype=bool)[None], amplification[:, :, None], 1.0)
    power = (jnp.asarray(POWER, jnp.float32)[None, None] * changed**2).sum(axis=-1, keepdims=True)
    return (changed / jnp.sqrt(power)).prod(axis=1)


def cutout(x: Images, center: Float[Array, "n 2"]) -> Images:
    """Set a rectangle of half the image's sides to 0.

    Args:
        center: (across, down), relative to the sides.
    """
    outside_down, outside_across = (
        abs((jnp.arange(size)[None] + 0.5) / size - center[:, axis, None]) >= SQUARE / 2
        for size, axis in zip(x.shape[1:3], (1, 0), strict=True)
    )
    return x * (outside_down[:, :, None] | outside_across[:, None, :])[..., None]
