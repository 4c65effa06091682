"""SVHN: cropped digits of house numbers, 32 x 32 pixels; the split "extra" is left out.

Reference: Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning",
NIPS Workshop on Deep Learning and Unsupervised Feature Learning 2011.

A MATLAB file has X (32, 32, 3, n) and y (n, 1), in which 10 is the digit 0.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from latentgen.core.errors import choose
from latentgen.data.published.files import damaged, labels, path_of
from latentgen.data.published.types import BLOCK, Block, File, Files, Published

HOME = "http://ufldl.stanford.edu/housenumbers/"

# The SHA-256 and sizes are TFDS's, the MD5 torchvision's.
FILES = {
    "train": File(
        "train_32x32.mat",
        HOME + "train_32x32.mat",
        182040794,
        "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        "e26dedcc434d2e4c54c9b2d4a06d8373",
    ),
    "test": File(
        "test_32x32.mat",
        HOME + "test_32x32.mat",
        64275384,
        "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
        "eb5a983be6a315427106f1b164d9cef3",
    ),
}


def _blocks(files: Files, split: str) -> Iterator[Block]:
    """Read a split; scipy holds its file in memory as a whole: at most 225 MB of images."""
    path = path_of(files, choose("split", split, FILES))
    content = _load(path)
    x, y = content.get("X"), content.get("y")
    if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.shape[:-1] != (32, 32, 3):
        raise damaged(path, "it has no X of 32 x 32 x 3 x n bytes")
    n = x.shape[-1]
    if not isinstance(y, np.ndarray) or y.shape != (n, 1) or y.dtype.kind not in "ui":
        raise damaged(path, f"it has no y of {n} integers")
    digit = labels(path, y[:, 0] - (y[:, 0] == 10) * y.dtype.type(10), 10)
    for start in range(0, n, BLOCK):
        rest = slice(start, start + BLOCK)
        images = np.ascontiguousarray(x[..., rest].transpose(3, 0, 1, 2))
        yield Block(images, digit[rest])


def _load(path: Path) -> dict[str, Any]:
    """Load X and y of a MATLAB file."""
    from scipy.io import loadmat

    try:
        return loadmat(path, variable_names=["X", "y"])
    except Exception as error:  # damaged files raise any error
        raise damaged(path, error) from None


SVHN = Published(
    name="svhn",
    version="1.0.0",
    files=tuple(FILES.values()),
    shape=(32, 32, 3),
    splits={"train": 73_257, "test": 26_032},
    classes=tuple("0123456789"),
    factors={},
    blocks=_blocks,
)
