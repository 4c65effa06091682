"""dSprites: white shapes of 64 x 64 pixels, one for each combination of five factors.

Reference: Matthey et al., "dSprites: Disentanglement testing Sprites dataset", 2017,
https://github.com/google-deepmind/dsprites-dataset.

The archive has imgs (n, 64, 64) of 0 and 1, read as 0 and 255, and latents_classes (n, 6), whose
first column, the colour, is always 0 and left out. The label is the shape.
"""

from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from latentgen.core.errors import choose
from latentgen.data.published.files import damaged, member, path_of
from latentgen.data.published.types import BLOCK, Block, File, Files, Published

# The MD5 agrees in several public loaders; the authors, TFDS and torchvision publish none for this
# file, nor is there a SHA-256 or a size.
FILE = File(
    "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
    "https://github.com/google-deepmind/dsprites-dataset/raw/master/"
    "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
    None,
    None,
    "7da33b31b13a06f4b04a70402ce90c2e",
)
FACTORS = {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}


def _blocks(files: Files, split: str) -> Iterator[Block]:
    """Read the images and factors as two streams."""
    choose("split", split, {"train": None})
    path = path_of(files, FILE)
    with member(path, "imgs.npy") as images, member(path, "latents_classes.npy") as latents:
        n, image, pixel = _header(path, images)
        as_many, row, integer = _header(path, latents)
        if (image, row, pixel.str, integer.kind) != ((64, 64), (6,), "|u1", "i"):
            raise damaged(path, "it has no bytes (n, 64, 64) and integers (n, 6)")
        if n != as_many:
            raise damaged(path, f"it has {n} images and {as_many} rows of factors")
        for start in range(0, n, BLOCK):
            size = min(BLOCK, n - start)
            x = _read(path, images, (size, 64, 64, 1), pixel)
            if x.max() > 1:
                raise damaged(path, f"a pixel is {x.max()}, not 0 or 1")
            factors = _factors(path, _read(path, latents, (size, 6), integer))
            yield Block(x * np.uint8(255), factors[:, 0].copy(), factors)


def _header(path: Path, stream: BufferedIOBase) -> tuple[int, tuple[int, ...], np.dtype]:
    """Read the header of an array in numpy's format: (n, shape of a row, dtype)."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        shape, in_columns, dtype = readers[np.lib.format.read_magic(stream)](stream)
        if in_columns or dtype.hasobject or not shape:
            raise ValueError(f"an array of {dtype} {shape} is not supported")
    except (KeyError, ValueError) as error:
        raise damaged(path, error) from None
    return shape[0], shape[1:], dtype


def _read(
    path: Path, stream: BufferedIOBase, shape: tuple[int, ...], dtype: np.dtype
) -> np.ndarray:
    """Read rows of an array."""
    size = int(np.prod(shape)) * dtype.itemsize
    raw = stream.read(size)
    if len(raw) != size:
        raise damaged(path, "it has fewer rows than its header says")
    return np.frombuffer(raw, dtype).reshape(shape)


def _factors(path: Path, latents: np.ndarray) -> Int32[np.ndarray, "n 5"]:
    """Check factors, and leave out the colour."""
    sizes = np.array([1, *FACTORS.values()])
    if ((latents < 0) | (latents >= sizes)).any():
        raise damaged(path, f"a factor is not below its number of values, {sizes.tolist()}")
    return latents[:, 1:].astype(np.int32)


DSPRITES = Published(
    name="dsprites",
    version="1.0.0",
    files=(FILE,),
    shape=(64, 64, 1),
    splits={"train": 737_280},
    classes=("square", "ellipse", "heart"),
    factors=FACTORS,
    blocks=_blocks,
)
