"""Fashion-MNIST shrunk to 60 and 10 examples of noise."""

import gzip
import hashlib
from pathlib import Path

import numpy as np

from latentgen.data import originals
from latentgen.data.originals import Original

SIZES = {"train": ("train", 60), "test": ("t10k", 10)}
KINDS = ("images-idx3", "labels-idx1")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def idx(array: np.ndarray) -> bytes:
    """The IDX format, from its definition."""
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def write(folder: Path, changed: bool = False) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Writes the original files; returns what is in them.

    changed: one pixel of one image has another grey.
    """
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    data = {}
    for split, (prefix, n) in SIZES.items():
        x = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        label = rng.integers(0, 10, n, dtype=np.uint8)
        if changed and split == "train":
            x[31, 14, 14] ^= 1
        data[split] = (x[..., None], label)
        for kind, array in zip(KINDS, (x, label), strict=True):
            (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array), mtime=0))
    return data


def known(folder: Path, base: str = "http://example.invalid/") -> dict[str, tuple[Original, ...]]:
    """The files in the folder as the set's originals."""

    def original(path: Path) -> Original:
        packed = path.read_bytes()
        inside = sha256(gzip.decompress(packed))
        return Original(base + path.name, len(packed), sha256(packed), inside)

    return {
        split: tuple(original(folder / f"{prefix}-{kind}-ubyte.gz") for kind in KINDS)
        for split, (prefix, _) in SIZES.items()
    }


def put_in_place(folder: Path) -> None:
    """For a process of its own: Fashion-MNIST is what the folder holds."""
    originals.ORIGINALS["fashion_mnist"] = known(folder)
    originals.DEBIAN.clear()


def everything(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}
