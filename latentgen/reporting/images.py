"""Pictures of a run's folder for a page: reduced, as WebP, and thinned to a budget."""

import base64
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from latentgen.storage import workdir
from latentgen.training.hooks import GAP
from latentgen.training.pictures import CELL, Image, reduced, reduction

T = TypeVar("T")

THIN_GAP = 1
"""Pixels between the images of a reduced grid, which the page enlarges."""

# Choices from best to worst: (steps of each series, quality of WebP; None: lossless).
CHOICES = (
    *((60, None), (40, None), (24, None), (24, 80), (16, 80), (12, 80), (12, 50)),
    *((8, 50), (8, 30), (5, 30), (3, 30), (2, 30), (2, 10)),
)
LARGEST = 2**25
"""Maximum pixels of a picture: twice a grid of 64 images of 512 x 512."""

SHOWN_SIDE = 720
"""Side of a picture in pixels above which it is reduced, by a whole factor."""

LOSSY = 80
"""Quality of WebP for a picture that is reduced; others are without loss."""

MOST_SERIES = 48
"""Maximum number of runs with pictures."""


class Series(NamedTuple):
    """A run's pictures of one kind, by step."""

    name: str
    kind: str
    files: dict[int, Path]


class Shown(NamedTuple):
    """The pictures of a series on a page: data URIs by step, each width x height pixels."""

    name: str
    kind: str
    steps: list[int]
    uris: list[str]
    width: int
    height: int


class Selection(NamedTuple):
    """The chosen pictures, and the numbers of those left out."""

    series: list[Shown]
    pictures: int
    of: int
    left_out: int
    quality: int | None


def read(path: Path) -> Image:
    """Read a picture as 8-bit values, (h, w, 1) or (h, w, 3), and reduce it.

    A grid of enlarged images is given back without the enlargement, see `shrunk`. Larger pictures
    are reduced to at most `SHOWN_SIDE` pixels a side.

    Raises:
        OSError: it is not a picture, or has too many pixels according to its header.
    """
    try:
        with workdir.opened(path, "rb") as raw, warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            file = PIL.Image.open(raw, formats=("PNG",))  # others may start programs
            if file.width * file.height > LARGEST:
                raise OSError(f"it has {file.width} x {file.height} pixels")
            x = np.asarray(file.convert("L" if file.mode in ("1", "L") else "RGB"))
    except OSError:
        raise
    except Exception as error:  # Pillow raises any error for damaged files
        raise OSError(f"it is no picture: {error}") from None
    small = shrunk(x[..., None] if x.ndim == 2 else x)
    return reduced(small[None], -(-max(small.shape) // SHOWN_SIDE))[0]


def shrunk(x: Image) -> UInt8[np.ndarray, "small_height small_width channels"]:
    """Undo the enlargement of a grid of images, and set the gap to `THIN_GAP`.

    `training.pictures.grid` enlarges each image by an integer factor, which the page does by
    pixelated rendering. Other pictures are returned as they are.
    """
    for columns in range(1, (x.shape[1] + GAP) // (CELL + GAP) + 1):
        cell, rest = divmod(x.shape[1] + GAP, columns)
        rows, below = divmod(x.shape[0] + GAP, cell)
        if rest or below or x[:, cell - GAP :: cell].any():
            continue
        cells = _cells(x, rows, columns, cell)
        if cells[:, cell - GAP :].any() or cells[:, :, cell - GAP :].any():
            continue
        images = cells[:, : cell - GAP, : cell - GAP]
        for factor in range(CELL, 1, -1):
            if (cell - GAP) % factor or -(-CELL // ((cell - GAP) // factor)) != factor:
                continue
            small = images[:, ::factor, ::factor]
            if np.array_equal(small.repeat(factor, 1).repeat(factor, 2), images):
                return mosaic(small, columns)
    return x


def _cells(x: Image, rows: int, columns: int, cell: int) -> np.ndarray:
    full = np.zeros((rows * cell, columns * cell, x.shape[2]), np.uint8)
    full[: x.shape[0], : x.shape[1]] = x
    parts = full.reshape(rows, cell, columns, cell, -1).swapaxes(1, 2)
    return parts.reshape(rows * columns, cell, cell, -1)


def mosaic(images: np.ndarray, columns: int, gap: int = THIN_GAP) -> Image:
    """Arrange 8-bit images (n, h, w, c) in a grid, without enlargement."""
    n, h, w, c = images.shape
    rows = -(-n // columns)
    cells = np.zeros((rows * columns, h + gap, w + gap, c), np.uint8)
    cells[:n, :h, :w] = images
    parts = cells.reshape(rows, columns, h + gap, w + gap, c).swapaxes(1, 2)
    return parts.reshape(rows * (h + gap), columns * (w + gap), c)[: -gap or None, : -gap or None]


def preview(images: UInt8[np.ndarray, "n h w c"], columns: int) -> tuple[Image, int]:
    """Arrange images in a grid, reduced as in `training.pictures.grid`; return it and the factor.

    The grid has at most `SHOWN_SIDE` pixels a side, unless images were too small then.
    """
    n, h, w, _ = images.shape
    factor = reduction(-(-n // columns) * h, columns * w, min(h, w), SHOWN_SIDE)
    return mosaic(reduced(images, factor), columns), factor


def webp(image: Image, quality: int | None = None) -> bytes:
    """Encode a picture as WebP; quality None is lossless."""
    buffer = io.BytesIO()
    how = {"lossless": True, "quality": 70} if quality is None else {"quality": quality}
    plain = image.squeeze(-1) if image.shape[-1] == 1 else image
    PIL.Image.fromarray(plain).save(buffer, "WEBP", method=4, **how)
    return buffer.getvalue()


def data_uri(image: Image, quality: int | None = None) -> str:
    """Encode a picture as a data URI."""
    return f"data:image/webp;base64,{base64.b64encode(webp(image, quality)).decode()}"


def thin(steps: Sequence[T], most: int) -> list[T]:
    """Return at most `most` steps, including the first and the last."""
    if len(steps) <= most:
        return list(steps)
    last = len(steps) - 1
    return [steps[round(i * last / (most - 1))] for i in range(most)]


def select(series: Sequence[Series], budget: int) -> Selection:
    """Choose steps, quality and runs so that the data URIs fit into `budget` characters.

    All series show the same steps if they have them, and their own first and last ones.
    """
    whole = [each for each in series if each.files]
    total = sum(len(each.files) for each in whole)
    most = MOST_SERIES * len({each.kind for each in whole})
    while most:
        kept = whole[:most]
        for count, quality in CHOICES:
            if _estimate(kept, count, quality) > 0.95 * budget:
                continue
            shown = [found for each in kept if (found := _shown(each, kept, count, quality))]
            if sum(len(uri) for each in shown for uri in each.uris) <= budget:
                number = sum(len(each.steps) for each in shown)
                return Selection(shown, number, total, len(whole) - len(shown), quality)
        most = min(len(kept), most) // 2
    return Selection([], 0, total, len(whole), None)


def _steps(each: Series, kept: Sequence[Series], count: int) -> list[int]:
    common = set(thin(sorted({step for other in kept for step in other.files}), count))
    own = sorted(each.files)
    return [step for step in own if step in common or step in (own[0], own[-1])]


def _estimate(kept: Sequence[Series], count: int, quality: int | None) -> int:
    """Estimate the number of characters from the last pictures of a few series."""
    if not kept:
        return 0
    sample = kept[:: -(-len(kept) // 4)]
    sizes = []
    for each in sample:
        try:
            sizes.append(len(webp(read(each.files[max(each.files)]), quality)) * 4 / 3)
        except OSError:
            continue
    number = sum(len(_steps(each, kept, count)) for each in kept)
    return int(number * sum(sizes) / max(len(sizes), 1))


def _shown(each: Series, kept: Sequence[Series], count: int, quality: int | None) -> Shown | None:
    steps, uris, shape = [], [], (0, 0)
    for step in _steps(each, kept, count):
        try:
            image = read(each.files[step])
        except OSError:  # not a picture, or incomplete
            continue
        steps.append(step)
        uris.append(data_uri(image, quality))
        shape = image.shape[:2]
    return Shown(each.name, each.kind, steps, uris, shape[1], shape[0]) if steps else None
