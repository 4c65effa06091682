"""A few picture files as an array, without preparing them as a data set."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from latentgen.core.errors import BadInput
from latentgen.data.pictures.convert import Options, Refused, convert
from latentgen.data.pictures.entries import LARGEST, Entry, Reader, listed, shown


def read(
    where: Path, shape: tuple[int, ...], most: int
) -> tuple[UInt8[np.ndarray, "n h w c"], list[str]]:
    """Read a picture, or those of a folder, a .zip or a .tar, by name; see `convert`.

    Args:
        where: the file or the folder.
        shape: of an image of the result; each picture is cut to the square around its centre.
        most: maximum number of pictures that are read; further ones are ignored.

    Returns:
        The images, and the name of the file of each.

    Raises:
        BadInput: there is no picture, one cannot be used, or the shape is no square's, grey or RGB.
    """
    height, width, channels = shape
    if height != width or channels not in (1, 3):
        raise BadInput(
            f"pictures are made square, grey or RGB; the run's images are of "
            f"{height}x{width}x{channels}."
        )
    options = Options(height, color="grey" if channels == 1 else "rgb", upscale=True)
    folder, kind, chosen = _entries(where)
    images, names = [], [shown(entry.name) for entry in chosen[:most]]
    with Reader(folder, kind) as reader:
        for entry, name in zip(chosen[:most], names, strict=True):
            try:
                images.append(convert(reader.read(entry), options).pixels)
            except Refused as error:
                raise BadInput(f"{shown(str(where))}: {name}: {error}.") from None
    return np.stack(images), names


def _entries(where: Path) -> tuple[Path, str, list[Entry]]:
    """Return the folder or archive, its kind, and its pictures by name."""
    if where.is_file():
        with open(where, "rb") as file:
            is_archive = file.read(2) == b"PK" or where.suffix == ".tar"
        if not is_archive:
            size = where.stat().st_size
            why = f"larger than {LARGEST // 2**20} MiB" if size > LARGEST else ""
            return where.parent, "folder", [Entry(where.name, size, 0, refused=why)]
    found = listed(where)
    return found.where, found.kind, found.entries
