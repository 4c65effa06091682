"""Pictures of samples: arrays to 8-bit images, with NumPy."""

import io
import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Float, UInt8

from latentgen.core.errors import BadInput
from latentgen.storage import workdir

CELL = 56  # pixels, least side of an image in a grid, so that 8x8 digits are visible
LARGEST_SIDE = 1_024  # pixels of a grid without its gaps, above which images are reduced
CAPTION = 14  # pixels, height of a caption
FONT_SIZE = 10
REAL = (190, 190, 190)
SYNTHETIC = (214, 69, 37)

Image = UInt8[np.ndarray, "height width channels"]


def grid(
    pixels: Float[Array | np.ndarray, "n h w c"],
    columns: int | None = None,
    gap: int = 1,
    captions: Sequence[str] = (),
) -> Image:
    """Arrange images row by row, small ones enlarged and large ones reduced by a whole factor.

    Images are enlarged to at least `CELL` pixels. If the grid is then larger than `LARGEST_SIDE`
    pixels, each is reduced by the smallest factor that avoids this, but not below `CELL` pixels;
    see `reduced`.

    Args:
        pixels: in [0, 1], 1 or 3 channels; other values are clipped, non-finite ones are black.
        columns: images per row; None for the smallest square grid.
        gap: width of the black lines between images, in pixels of the result.
        captions: one for each image, written below it; empty for none.

    Raises:
        BadInput: the number of channels is neither 1 nor 3.
    """
    x = np.asarray(pixels, np.float32)
    n, h, w, c = x.shape
    if c not in (1, 3):
        raise BadInput(f"channels={c}: a picture has 1 (grey) or 3 (red, green, blue).")
    columns = columns or max(1, int(np.ceil(np.sqrt(n))))
    rows = -(-n // columns)
    images = reduced(to_bytes(x), reduction(rows * h, columns * w, min(h, w)))
    factor = -(-CELL // min(h, w))
    images = images.repeat(factor, 1).repeat(factor, 2)
    if captions:
        strips = np.stack([_caption(text, images.shape[2]) for text in captions])
        images = np.concatenate([images, strips.repeat(c, axis=-1)], axis=1)
    h, w = images.shape[1:3]
    cells = np.zeros((rows * columns, h + gap, w + gap, c), np.uint8)
    cells[:n, gap:, gap:] = images
    cells = cells.reshape(rows, columns, *cells.shape[1:]).swapaxes(1, 2)
    return cells.reshape(rows * cells.shape[1], columns * cells.shape[3], c)[gap:, gap:]


def to_bytes(pixels: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Convert pixels in [0, 1] to 0 .. 255; others are clipped, non-finite ones are black."""
    x = np.nan_to_num(pixels, posinf=0, neginf=0)
    return np.rint(255 * np.clip(x, 0, 1)).astype(np.uint8)


def reduction(height: int, width: int, side: int, most: int = LARGEST_SIDE) -> int:
    """Return the factor by which images are reduced in a grid.

    Args:
        height, width: of the grid in pixels, without its gaps.
        side: the smaller side of an image.
        most: side of the grid that is not exceeded unless images were smaller than `CELL` then.
    """
    return max(1, min(-(-max(height, width) // most), side // CELL))


def reduced(
    images: UInt8[np.ndarray, "n h w c"], factor: int
) -> UInt8[np.ndarray, "n small_h small_w c"]:
    """Replace each square of factor x factor pixels by its mean; those at an edge may be smaller.

    A mean is rounded to the nearest integer, halves up.
    """
    if factor == 1:
        return images
    n, h, w, c = images.shape
    rows, columns = np.arange(0, h, factor), np.arange(0, w, factor)
    small = np.empty((n, len(rows), len(columns), c), np.uint8)
    areas = np.outer(np.diff(rows, append=h), np.diff(columns, append=w))[..., None]
    for i, image in enumerate(images):  # one by one, to bound memory
        sums = np.add.reduceat(image.astype(np.int64), rows, axis=0)
        small[i] = (2 * np.add.reduceat(sums, columns, axis=1) + areas) // (2 * areas)
    return small


def _caption(text: str, width: int) -> UInt8[np.ndarray, "height width 1"]:
    """Write a caption in white on a black strip; a long caption is shortened."""
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

    strip = PIL.Image.new("L", (width, CAPTION))
    font = PIL.ImageFont.load_default(FONT_SIZE)
    while len(text) > 1 and font.getlength(text) > width:
        text = f"{text.rstrip('.')[:-1]}."
    PIL.ImageDraw.Draw(strip).text((1, 1), text, fill=255, font=font)
    return np.array(strip)[..., None]


def pairs(
    inputs: Float[Array | np.ndarray, "n h w c"], outputs: Float[Array | np.ndarray, "n h w c"]
) -> Float[np.ndarray, "two_n h w c"]:
    """Interleave inputs and outputs: in_0, out_0, in_1, out_1, ...; for a grid of even columns."""
    both = np.stack([np.asarray(inputs), np.asarray(outputs)], axis=1)
    return both.reshape(-1, *both.shape[2:])


def scatter(
    points: Float[Array | np.ndarray, "n 2"],
    reference: Float[Array | np.ndarray, "m 2"] | None = None,
    size: int = 400,
) -> Image:
    """Draw points in the plane on white: the reference (real) in grey, `points` in red above it.

    The frame is the bounding box of the reference, made square and widened by 10 % on each side,
    so that all pictures of a run have the same frame; points outside it are not drawn.

    Args:
        reference: None for the frame of the points themselves.
        size: side of the picture in pixels.
    """
    points = np.asarray(points, np.float64)
    framed = points if reference is None else np.asarray(reference, np.float64)
    framed = framed[np.isfinite(framed).all(axis=1)]
    low, high = (framed.min(0), framed.max(0)) if len(framed) else (np.zeros(2), np.ones(2))
    side = 1.2 * max((high - low).max(), 1e-6)
    corner = (low + high) / 2 - side / 2
    image = np.full((size, size, 3), 255, np.uint8)
    if reference is not None:
        _dots(image, (framed - corner) / side, REAL)
    _dots(image, (points - corner) / side, SYNTHETIC)
    return image


def _dots(image: Image, points: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draw 3x3 dots at `points` in the unit square, y upwards."""
    size = len(image)
    with np.errstate(invalid="ignore"):
        inside = np.all((points >= 0) & (points < 1), axis=1)
    column, row = (points[inside] * size).astype(int).T
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            rows = np.clip(size - 1 - row + down, 0, size - 1)
            image[rows, np.clip(column + right, 0, size - 1)] = colour


def png(image: Image) -> bytes:
    """Encode a picture as PNG; equal images give equal bytes."""
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(buffer, "PNG")
    return buffer.getvalue()


def save_png(path: str | os.PathLike[str], image: Image) -> None:
    """Write a PNG, atomically."""
    workdir.write_bytes(path, png(image))
