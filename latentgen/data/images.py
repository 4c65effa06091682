"""Encoded images as uint8 arrays (h, w, c), by one rule for each mode, or refused.

| Pillow's mode             | becomes                                                      |
|---------------------------|--------------------------------------------------------------|
| L, RGB                    | itself                                                       |
| 1                         | 0 and 255                                                    |
| I;16, I of a PNG (16 bit) | the upper byte, as Pillow and TensorFlow reduce 16-bit RGB   |
| P, PA                     | the colours of its palette                                   |
| LA, RGBA, a transparent   | the rest where all of it is opaque; refused otherwise        |
| colour                    |                                                              |
| any other                 | refused: no range or no colour space is known for it         |

A grey image in a set of three channels has its value in each; a coloured one in a set of one
channel is refused. Sizes are compared before anything is decoded.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from PIL.Image import Image

PLAIN = {1: "L", 3: "RGB"}
"""Channels -> the mode whose header alone says that it fits."""

EIGHT = {
    **{"1": ("L", "LA"), "L": ("L", "LA"), "LA": ("LA", "LA")},
    **{"P": ("RGB", "RGBA"), "PA": ("RGBA", "RGBA")},
    **{"RGB": ("RGB", "RGBA"), "RGBA": ("RGBA", "RGBA")},
}
"""Mode -> the mode in which it is read, without and with a transparent colour."""


def decode(content: bytes, shape: Sequence[int]) -> UInt8[np.ndarray, "h w c"]:
    """Decode an image of this shape.

    Raises:
        ValueError: it is none, of another size, or of a mode without a rule; says which.
    """
    with _opened(content, shape) as image:
        return _fitted(_channels(image), shape[-1])


def check(content: bytes, shape: Sequence[int]) -> None:
    """Refuse what `decode` refuses, from its header where that is enough.

    Raises:
        ValueError: as `decode` does; but cut or damaged pixels may only be found there.
    """
    with _opened(content, shape) as image:
        if image.mode != PLAIN.get(shape[-1]) or "transparency" in image.info:
            _fitted(_channels(image), shape[-1])


def _opened(content: bytes, shape: Sequence[int]) -> "Image":
    """Open an image, of which nothing is decoded yet."""
    from PIL import Image

    height, width, _ = shape
    try:
        image = Image.open(io.BytesIO(content))
    except Exception:  # Pillow lets whatever damaged bytes lead to pass
        raise ValueError(f"it is no image of {width} x {height} pixels") from None
    if image.size != (width, height):
        size = " x ".join(map(str, image.size))
        raise ValueError(f"it has {size} pixels, not {width} x {height}")
    if (frames := getattr(image, "n_frames", 1)) != 1:
        raise ValueError(f"it has {frames} frames")
    return image


def _channels(image: "Image") -> UInt8[np.ndarray, "h w c"]:
    """Decode an image to its own one or three channels."""
    mode, transparent = image.mode, "transparency" in image.info
    sixteen = mode == "I;16" or (mode == "I" and image.format == "PNG")
    if sixteen and transparent:
        raise ValueError("it has a transparent colour among 16-bit greys")
    if not sixteen and mode not in EIGHT:
        raise ValueError(f"there is no rule for its mode {mode!r}")
    try:
        if not sixteen and (to := EIGHT[mode][transparent]) != mode:
            image = image.convert(to)
        x = np.asarray(image)
    except Exception as error:  # as in `_opened`
        raise ValueError(f"it cannot be decoded ({' '.join(str(error).split())})") from None
    if sixteen:
        return (x >> 8).astype(np.uint8)[..., None]
    if image.mode in ("LA", "RGBA"):
        if x[..., -1].min() < 255:
            raise ValueError("parts of it are transparent, and no background is stated")
        x = x[..., :-1]
    return x.reshape(*x.shape[:2], -1)


def _fitted(x: UInt8[np.ndarray, "h w k"], channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Give an image of one or three channels this number of them."""
    if x.shape[-1] == channels:
        return x
    if channels == 3:
        return np.repeat(x, 3, axis=-1)
    if channels != 1:
        raise ValueError(f"it has {x.shape[-1]} channels, not {channels}")
    if (x != x[..., :1]).any():
        raise ValueError("it is coloured, the set is grey")
    return x[..., :1]
