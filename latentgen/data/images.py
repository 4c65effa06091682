"""Decoding of images to uint8 arrays (h, w, c), with a rule for each mode.

| Pillow's mode             | becomes                                                      |
|---------------------------|--------------------------------------------------------------|
| L, RGB                    | unchanged                                                    |
| 1                         | 0 and 255                                                    |
| I;16, I of a PNG (16 bit) | the upper byte, as Pillow and TensorFlow reduce 16-bit RGB   |
| P, PA                     | the colours of its palette                                   |
| LA, RGBA, a transparent   | the colours if all pixels are opaque; refused otherwise      |
| colour                    |                                                              |
| any other                 | refused: its range or its colour space is not known          |

In a data set with three channels, a grey image is repeated in each. In a data set with one channel,
a coloured image is refused. Sizes are checked before decoding.
"""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from PIL.Image import Image

PLAIN = {1: "L", 3: "RGB"}
"""Channels -> the mode that needs no conversion."""

EIGHT = {
    **{"1": ("L", "LA"), "L": ("L", "LA"), "LA": ("LA", "LA")},
    **{"P": ("RGB", "RGBA"), "PA": ("RGBA", "RGBA")},
    **{"RGB": ("RGB", "RGBA"), "RGBA": ("RGBA", "RGBA")},
}
"""Mode -> modes to which it is converted, without and with a transparent colour."""


def decode(content: bytes, shape: Sequence[int]) -> UInt8[np.ndarray, "h w c"]:
    """Decode an image of this shape.

    Raises:
        ValueError: it is not an image, has another size, or has a mode without a rule.
    """
    with _opened(content, shape) as image:
        return _with_channels(_channels(image), shape[-1])


def _opened(content: bytes, shape: Sequence[int]) -> "Image":
    """Open an image without decoding it."""
    from PIL import Image

    height, width, _ = shape
    try:
        image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))  # as TFDS stores them
    except Exception:  # Pillow raises any error for damaged files
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
    is_16_bit = mode == "I;16" or (mode == "I" and image.format == "PNG")
    if is_16_bit and transparent:
        raise ValueError("it has a transparent colour among 16-bit greys")
    if not is_16_bit and mode not in EIGHT:
        raise ValueError(f"there is no rule for its mode {mode!r}")
    try:
        if not is_16_bit and (target_mode := EIGHT[mode][transparent]) != mode:
            image = image.convert(target_mode)
        x = np.asarray(image)
    except Exception as error:  # as in `_opened`
        raise ValueError(f"it cannot be decoded ({' '.join(str(error).split())})") from None
    if is_16_bit:
        return (x >> 8).astype(np.uint8)[..., None]
    if image.mode in ("LA", "RGBA"):
        if x[..., -1].min() < 255:
            raise ValueError("parts of it are transparent, and no background is stated")
        x = x[..., :-1]
    return x.reshape(*x.shape[:2], -1)


def _with_channels(x: UInt8[np.ndarray, "h w k"], channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Convert an image of one or three channels to this number of channels."""
    if x.shape[-1] == channels:
        return x
    if channels == 3:
        return np.repeat(x, 3, axis=-1)
    if channels != 1:
        raise ValueError(f"it has {x.shape[-1]} channels, not {channels}")
    if (x != x[..., :1]).any():
        raise ValueError("it is coloured, the set is grey")
    return x[..., :1]
