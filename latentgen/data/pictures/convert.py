"""Conversion of a picture file to uint8 pixels of a fixed size, by rules that are listed here.

| step         | rule                                                                            |
|--------------|---------------------------------------------------------------------------------|
| format       | by content: PNG, JPEG, WebP, BMP, GIF, TIFF, and AVIF where Pillow has it       |
| size         | at most 64 megapixels, by the header                                            |
| frames       | the first one                                                                   |
| orientation  | EXIF's is applied                                                               |
| crop         | center: the square of the shorter side; none; pad: nothing is cut off           |
| values       | 16 bits: the upper byte; palettes, CMYK, YCbCr, LAB: RGB; 32 bits: refused      |
| colour space | an ICC profile other than sRGB is converted to sRGB, if it can be used          |
| alpha        | composited on the background, before resizing                                   |
| resizing     | Pillow's, with the named filter, to size x size; pad: keeps the proportions     |
"""

import contextlib
import functools
import io
import warnings
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from latentgen.core.errors import BadInput, choose

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "AVIF")  # JPEG includes MPO
MOST_PIXELS = 64_000_000
LARGEST_SIZE = 4096
CROPS = ("center", "none", "pad")
FILTERS = {
    "box": Image.Resampling.BOX,
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
}
COLORS = ("rgb", "grey", "as_is")


class Refused(ValueError):
    """Raised for a file that cannot be used; the message is the reason in a few words."""


class Options(NamedTuple):
    """Options of a prepared set.

    size: height and width of an image
    crop: 'center', 'none' (both sides are resized) or 'pad'
    filter: 'box', 'lanczos' or 'bicubic'
    color: 'rgb', 'grey', or 'as_is': grey if every picture is grey, else rgb
    background: colour under transparent pixels and of padding, a name or #rrggbb
    upscale: whether pictures smaller than `size` are enlarged; else they are refused
    strict: whether a refused picture is an error
    """

    size: int
    crop: str = "center"
    filter: str = "lanczos"
    color: str = "rgb"
    background: str = "white"
    upscale: bool = False
    strict: bool = False


class Picture(NamedTuple):
    """A converted picture.

    pixels: 1 channel for color='grey', else 3
    width, height: of the file's picture, with its orientation applied
    """

    pixels: UInt8[np.ndarray, "size size c"]
    width: int
    height: int


def check(options: Options) -> None:
    """Check the options.

    Raises:
        BadInput: a value is not valid.
    """
    if not 1 <= options.size <= LARGEST_SIZE:
        raise BadInput(f"size={options.size} must be in 1 .. {LARGEST_SIZE}.")
    choose("crop", options.crop, dict.fromkeys(CROPS))
    choose("filter", options.filter, FILTERS)
    choose("color", options.color, dict.fromkeys(COLORS))
    _background(options.background)


def convert(content: bytes, options: Options) -> Picture:
    """Convert the content of a picture file.

    Args:
        content: the file's bytes.
        options: size, crop, filter, color, background and upscale are used.

    Raises:
        Refused: it cannot be used.
    """
    with warnings.catch_warnings():
        # Pillow warns of unusual metadata, which do not matter here.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with _opened(content) as image:
            _check_size(image, options)
            try:
                image.load()
                with contextlib.suppress(Exception):  # damaged EXIF data: as if there were none
                    ImageOps.exif_transpose(image, in_place=True)
                return Picture(_pixels(image, options), *image.size)
            except (Refused, MemoryError):
                raise
            except Exception as error:  # Pillow raises any error for damaged files
                cut = "truncated" in str(error).lower()
                raise Refused("truncated" if cut else "damaged") from None


def _opened(content: bytes) -> Image.Image:
    """Open a picture without decoding it."""
    if not content:
        raise Refused("empty file")
    try:
        image = Image.open(io.BytesIO(content), formats=_formats())
    except UnidentifiedImageError:
        raise Refused("not a picture") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise Refused(_TOO_LARGE) from None
    except MemoryError:
        raise
    except Exception:
        raise Refused("damaged") from None
    return image


def _check_size(image: Image.Image, options: Options) -> None:
    """Refuse a picture by its size in the header."""
    if image.width * image.height > MOST_PIXELS:
        raise Refused(_TOO_LARGE)
    after_crop = max(image.size) if options.crop == "pad" else min(image.size)
    if after_crop < options.size and not options.upscale:
        raise Refused("smaller than the size")


@functools.cache
def _formats() -> tuple[str, ...]:
    """Return those of `FORMATS` that this Pillow can read."""
    Image.init()
    return tuple(format for format in FORMATS if format in Image.OPEN)


_TOO_LARGE = f"more than {MOST_PIXELS // 10**6} megapixels"


def _pixels(image: Image.Image, options: Options) -> UInt8[np.ndarray, "size size c"]:
    profile = image.info.get("icc_profile")
    cropped = _cropped(image, options)
    flat = _composited(*_in_srgb(_known(cropped), profile), _background(options.background))
    if options.color == "grey":
        flat = flat.convert("L")
    x = np.asarray(_resized(flat, options))
    return x.reshape(options.size, options.size, -1)


def _cropped(image: Image.Image, options: Options) -> Image.Image:
    """Crop to the centre square."""
    w, h = image.size
    side = min(w, h)
    if options.crop != "center" or w == h:
        return image
    left, top = (w - side) // 2, (h - side) // 2
    cropped = image.crop((left, top, left + side, top + side))
    cropped.format = image.format
    return cropped


def _known(image: Image.Image) -> Image.Image:
    """Convert to a mode of L, LA, RGB, RGBA, CMYK, YCbCr or LAB."""
    mode, transparent = image.mode, image.has_transparency_data
    if mode.startswith("I;16") or (mode == "I" and image.format == "PNG"):
        return _upper_byte(image)
    if mode in ("I", "F"):
        raise Refused("32-bit values")
    if mode in ("P", "PA", "RGBX", "RGBa"):
        return image.convert("RGBA" if transparent or mode == "RGBa" else "RGB")
    if mode in ("1", "L", "LA", "La"):
        return image.convert("LA" if transparent or mode == "La" else "L")
    if mode == "RGB" and transparent:
        return image.convert("RGBA")
    if mode in ("RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV"):
        return image
    raise Refused(f"mode {mode}")


def _upper_byte(image: Image.Image) -> Image.Image:
    """Reduce 16-bit grey values to 8 bits, with alpha if one of them is transparent."""
    x = np.asarray(image)
    grey = Image.fromarray((x >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(x == transparent, 0, 255).astype(np.uint8)))
    return grey


def _in_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours as RGB in sRGB, and alpha."""
    alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
    colours = image if alpha is None else image.convert(image.mode[:-1])
    transform = _transform(profile or b"", colours.mode)
    if transform is not None:
        from PIL import ImageCms

        colours = ImageCms.applyTransform(colours, transform) or colours
    elif colours.mode == "LAB":
        raise Refused("mode LAB")
    return colours if colours.mode == "RGB" else colours.convert("RGB"), alpha


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> Any:
    """Return the transform from a profile to sRGB; None if there is none or it cannot be used."""
    if not profile and mode != "LAB":
        return None
    try:
        from PIL import ImageCms

        srgb = ImageCms.createProfile("sRGB")
        if mode == "LAB":
            return ImageCms.buildTransform(ImageCms.createProfile("LAB"), srgb, mode, "RGB")
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if mode == "RGB" and ImageCms.getProfileDescription(source).startswith("sRGB"):
            return None
        return ImageCms.buildTransform(source, srgb, mode, "RGB")
    except Exception:  # any error for a damaged profile, or one of another mode
        return None


def _composited(
    colours: Image.Image, alpha: Image.Image | None, background: tuple[int, int, int]
) -> Image.Image:
    """Composite on the background; return RGB."""
    if alpha is None:
        return colours
    flat = Image.new("RGB", colours.size, background)
    flat.paste(colours, mask=alpha)
    return flat


def _resized(image: Image.Image, options: Options) -> Image.Image:
    size, resample = options.size, FILTERS[options.filter]
    if options.crop != "pad":
        return image.resize((size, size), resample)
    longer = max(image.size)
    w, h = (max(1, round(side * size / longer)) for side in image.size)
    empty = Image.new("RGB", (size, size), _background(options.background)).convert(image.mode)
    empty.paste(image.resize((w, h), resample), ((size - w) // 2, (size - h) // 2))
    return empty


@functools.lru_cache(maxsize=16)
def _background(name: str) -> tuple[int, int, int]:
    with contextlib.suppress(ValueError):
        found = ImageColor.getrgb(name)
        if len(found) == 3:
            return (found[0], found[1], found[2])
    raise BadInput(f"background={name!r} must be a colour's name, such as white, or #rrggbb.")
