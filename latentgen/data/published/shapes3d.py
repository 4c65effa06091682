"""3D Shapes: rendered rooms of 64 x 64 pixels, one for each combination of six factors.

Reference: Burgess & Kim, "3D Shapes Dataset", 2018, https://github.com/google-deepmind/3d-shapes.

The HDF5 file has images (n, 64, 64, 3) and labels (n, 6), which are the values of the factors.
The label is the shape, for which the authors publish numbers and no names.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from latentgen.core.errors import BadInput, choose
from latentgen.data.published.files import damaged, path_of, reading
from latentgen.data.published.types import BLOCK, Block, File, Files, Published

# The SHA-256 and size are TFDS's; no MD5 is published.
FILE = File(
    "3dshapes.h5",
    "https://storage.googleapis.com/3d-shapes/3dshapes.h5",
    267573662,
    "0a0f6ed98baff276a50f3a081a7434d788da63cb135a98189b2a5b5769be1785",
    None,
)
RANGES = {
    "floor_hue": (10, 0.0, 0.9),
    "wall_hue": (10, 0.0, 0.9),
    "object_hue": (10, 0.0, 0.9),
    "scale": (8, 0.75, 1.25),
    "shape": (4, 0.0, 3.0),
    "orientation": (15, -30.0, 30.0),
}
"""Factor -> (number of values, first, last), evenly spaced; the orientation is in degrees."""
SHAPE = list(RANGES).index("shape")


def _blocks(files: Files, split: str) -> Iterator[Block]:
    """Read images and factors in blocks."""
    choose("split", split, {"train": None})
    path, h5py = path_of(files, FILE), _h5py()
    with reading(path), h5py.File(path, "r") as content:
        images, values = _arrays(h5py, path, content)
        for start in range(0, len(images), BLOCK):
            rest = slice(start, start + BLOCK)
            factors = _factors(path, values[rest])
            yield Block(images[rest], factors[:, SHAPE].copy(), factors)


def _h5py() -> Any:
    """Import h5py."""
    try:
        return importlib.import_module("h5py")
    except ImportError:
        raise BadInput("shapes3d needs h5py: pip install latentgen[shapes3d].") from None


def _arrays(h5py: Any, path: Path, content: Any) -> tuple[Any, Any]:
    """Return the images and factors' values of a file, not read yet."""
    images, values = content.get("images"), content.get("labels")
    if not isinstance(images, h5py.Dataset) or not isinstance(values, h5py.Dataset):
        raise damaged(path, "it has no images and labels")
    if images.dtype != np.uint8 or images.shape[1:] != (64, 64, 3):
        raise damaged(path, f"its images are {images.dtype} {images.shape}")
    if values.dtype.kind != "f" or values.shape != (len(images), len(RANGES)):
        raise damaged(path, f"its labels are {values.dtype} {values.shape}")
    return images, values


def _factors(path: Path, values: np.ndarray) -> Int32[np.ndarray, "n 6"]:
    """Convert the values of factors to indices."""
    count, first, last = (np.array(c) for c in zip(*RANGES.values(), strict=True))
    position = (values - first) / (last - first) * (count - 1)
    index = np.rint(position)
    near = np.abs(position - index) < 1e-3
    if not (near & (index >= 0) & (index < count)).all():
        raise damaged(path, "a label is none of its factor's values")
    return index.astype(np.int32)


SHAPES3D = Published(
    name="shapes3d",
    version="1.0.0",
    files=(FILE,),
    shape=(64, 64, 3),
    splits={"train": 480_000},
    classes=("0", "1", "2", "3"),
    factors={name: count for name, (count, _, _) in RANGES.items()},
    blocks=_blocks,
)
