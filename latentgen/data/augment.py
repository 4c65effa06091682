"""Augmentation of training images by pure functions of (x, key), by name.

| entry    | each image                                                                           |
|----------|--------------------------------------------------------------------------------------|
| flip     | is mirrored left-right with probability 1/2                                          |
| vflip    | is mirrored upside down with probability 1/2                                         |
| rotate90 | is rotated by 0, 90, 180 or 270 degrees; square images only                          |
| crop:N   | is padded with N pixels, reflected at its border, and cut back at a random offset    |
| color:S  | has its brightness, contrast and saturation changed, by factors from U[1 - S, 1 + S] |
| grey:P   | becomes its grey values, in all channels, with probability P                         |
| zoom:S   | becomes a window of a side from U[1 - S, 1] of its own, at a random place, enlarged  |

Entries are applied from left to right. The draws of an image depend only on the key, its index in
the batch and the entry's position.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from latentgen.core.errors import BadInput, nearest, written

Image = Float[Array, "h w c"]
ImageFn = Callable[[Image, Key[Array, ""]], Image]
Range = tuple[float, float]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey value (ITU-R BT.601, section 2.5.1)."""


class Augment(NamedTuple):
    """An entry of `config.data.augment`.

    form: the entry as it is written in a config.
    make: (argument after the colon or None, range of x) -> function (image, key) -> image; raises
        ValueError if the argument is invalid.
    """

    form: str
    make: Callable[[str | None, Range], ImageFn]


def _without_argument(apply: ImageFn) -> Callable[[str | None, Range], ImageFn]:
    def make(argument: str | None, range: Range) -> ImageFn:
        if argument is not None:
            raise ValueError(argument)
        return apply

    return make


def _flip(image: Image, key: Key[Array, ""]) -> Image:
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def _vflip(image: Image, key: Key[Array, ""]) -> Image:
    return jnp.where(jax.random.bernoulli(key), image[::-1], image)


def _rotate90(image: Image, key: Key[Array, ""]) -> Image:
    height, width, _ = image.shape
    if height != width:
        raise BadInput(
            f"config.data.augment: 'rotate90' needs square images, not {height} x {width} pixels."
        )
    turns = jax.random.randint(key, (), 0, 4)
    return jnp.stack([jnp.rot90(image, k) for k in range(4)])[turns]


def _crop(argument: str | None, range: Range) -> ImageFn:
    if not re.fullmatch("[1-9][0-9]{0,3}", argument or ""):
        raise ValueError(argument)
    n = int(argument or "")

    def crop(image: Image, key: Key[Array, ""]) -> Image:
        side = min(image.shape[:2])
        if n >= side:  # a reflection has no more than that
            raise BadInput(
                f"config.data.augment: 'crop:{n}' must have fewer than {side} pixels, the side of "
                "an image."
            )
        wide = jnp.pad(image, ((n, n), (n, n), (0, 0)), mode="reflect")
        top, left = jax.random.randint(key, (2,), 0, 2 * n + 1)
        return jax.lax.dynamic_slice(wide, (top, left, 0), image.shape)

    return crop


def _color(argument: str | None, range: Range) -> ImageFn:
    """Blend with black, then with the mean grey value, then with the grey image.

    Each result is f x + (1 - f) t for a factor f and the second image t, clipped to the range.
    These are torchvision's brightness, contrast and saturation, in this order.
    """
    strength = _strength(argument, 1.0)

    def blend(x: Image, second: Float[Array, "#h #w #c"], factor: Float[Array, ""]) -> Image:
        return jnp.clip(factor * x + (1 - factor) * second, *range)

    def color(image: Image, key: Key[Array, ""]) -> Image:
        factors = jax.random.uniform(key, (3,), minval=1 - strength, maxval=1 + strength)
        x = blend(image, jnp.full((1, 1, 1), range[0]), factors[0])
        x = blend(x, _grey(x).mean(keepdims=True), factors[1])
        return blend(x, _grey(x), factors[2])

    return color


def _to_grey(argument: str | None, range: Range) -> ImageFn:
    probability = _strength(argument, 1.0)

    def to_grey(image: Image, key: Key[Array, ""]) -> Image:
        return jnp.where(jax.random.bernoulli(key, probability), _grey(image), image)

    return to_grey


def _grey(x: Image) -> Float[Array, "h w 1"]:
    if x.shape[-1] == 1:
        return x
    if x.shape[-1] != len(LUMA):
        raise BadInput(
            "config.data.augment: 'color' and 'grey' need images of 1 or 3 channels, not "
            f"{x.shape[-1]}."
        )
    return (x * jnp.array(LUMA).reshape(1, 1, -1)).sum(axis=-1, keepdims=True)


def _zoom(argument: str | None, range: Range) -> ImageFn:
    strength = _strength(argument, 0.99)

    def zoom(image: Image, key: Key[Array, ""]) -> Image:
        side_key, place_key = jax.random.split(key)
        side = jax.random.uniform(side_key, minval=1 - strength, maxval=1.0)
        free = (1 - side) * jnp.array(image.shape[:2])  # pixels that the window leaves
        corner = jax.random.uniform(place_key, (2,)) * free
        return jax.image.scale_and_translate(
            image,
            image.shape,
            (0, 1),
            jnp.full(2, 1 / side),
            -corner / side,
            method="linear",
            antialias=False,
        )

    return zoom


def _strength(argument: str | None, most: float) -> float:
    """Return S or P as a number from 0 to `most`; float raises ValueError if it is not one."""
    value = float(argument or "nan")
    if not 0 <= value <= most:
        raise ValueError(argument)
    return value


AUGMENT: dict[str, Augment] = {
    "flip": Augment("flip", _without_argument(_flip)),
    "vflip": Augment("vflip", _without_argument(_vflip)),
    "rotate90": Augment("rotate90", _without_argument(_rotate90)),
    "crop": Augment("crop:N with N = 1, 2, ... pixels", _crop),
    "color": Augment("color:S with S from 0 to 1", _color),
    "grey": Augment("grey:P with P from 0 to 1", _to_grey),
    "zoom": Augment("zoom:S with S from 0 to 0.99", _zoom),
}

BLENDING = ("color", "grey", "zoom")
"""Entries whose pixels lie between the levels of the data."""


def augmentation(
    names: Sequence[str], range: Range | None
) -> Callable[[Float[Array, "n *shape"], Key[Array, ""]], Float[Array, "n *shape"]]:
    """Make the augmentation (x, key) -> x of a batch of images, of the same shape.

    Args:
        names: entries of the table above, in their order; () is the identity, for points, too.
        range: interval of x, as in `Preprocess.range`; None if it is unbounded.

    Raises:
        BadInput: an entry is invalid, or x is unbounded; when the function is called or traced:
            an entry does not fit the shape of x.
    """
    if not names:
        return lambda x, key: x
    if range is None:
        raise BadInput(
            f"config.data.augment={written(names)} needs images in a bounded range, such as those "
            "of config.data.preprocess='unit' or 'signed'. Valid here: ()."
        )
    entries = [_entry(name, names, range) for name in names]

    def augment_image(image: Image, key: Key[Array, ""]) -> Image:
        for position, entry in enumerate(entries):
            image = entry(image, jax.random.fold_in(key, position))
        return image

    def augment(x: Float[Array, "n *shape"], key: Key[Array, ""]) -> Float[Array, "n *shape"]:
        if x.ndim != 4:
            raise BadInput(
                f"config.data.augment={written(names)} needs images (n, h, w, c), not examples of "
                f"shape {x.shape[1:]}. Valid here: ()."
            )
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(x)))
        return jax.vmap(augment_image)(x, keys)

    return augment


def _entry(name: str, names: Sequence[str], range: Range) -> ImageFn:
    """Make the function of an entry, such as 'flip' or 'crop:4'."""
    word, colon, argument = name.partition(":")
    valid = "; ".join(augment.form for augment in AUGMENT.values())
    if word not in AUGMENT:
        why = f"is unknown{nearest(word, AUGMENT)}"
    else:
        try:
            return AUGMENT[word].make(argument if colon else None, range)
        except ValueError:
            why = "has an invalid argument."
    raise BadInput(f"config.data.augment={written(names)}: {name!r} {why} Valid: {valid}.")
