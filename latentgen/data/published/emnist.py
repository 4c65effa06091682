"""EMNIST: handwritten digits and letters of NIST's Special Database 19, 28 x 28 pixels.

Reference: Cohen et al., "EMNIST: an extension of MNIST to handwritten letters", IJCNN 2017.

The archive has a pair of gzipped files in the format of MNIST for each split. The files have each
image transposed; here they are upright. "emnist" is the variant "balanced". Sizes are those of the
files, which have more letters than Table II of the paper.
"""

import functools
import string
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from latentgen.core.errors import choose
from latentgen.data.published.files import (
    damaged,
    gunzipped,
    labels,
    member,
    path_of,
    records,
)
from latentgen.data.published.types import Block, File, Files, Published

# The SHA-256 and size are TFDS's, the MD5 torchvision's.
FILE = File(
    "gzip.zip",
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    561753746,
    "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
    "58c8d27c78d21e728a6bc7b3cc06412e",
)

ALL = string.digits + string.ascii_uppercase + string.ascii_lowercase
MERGED = string.digits + string.ascii_uppercase + "abdefghnqrt"
"""Classes where letters that look alike in both cases are one."""

VARIANTS = {
    "balanced": (MERGED, 112_800, 18_800),
    "byclass": (ALL, 697_932, 116_323),
    "bymerge": (MERGED, 697_932, 116_323),
    "digits": (string.digits, 240_000, 40_000),
    "letters": (string.ascii_lowercase, 124_800, 20_800),
    "mnist": (string.digits, 60_000, 10_000),
}
"""Variant -> (classes, examples in train, in test); letters are of either case."""


def _blocks(variant: str, files: Files, split: str) -> Iterator[Block]:
    """Read a split."""
    prefix = f"emnist-{variant}-{choose('split', split, {'train': 'train', 'test': 'test'})}"
    path, classes = path_of(files, FILE), len(VARIANTS[variant][0])
    first = 1 if variant == "letters" else 0  # its labels count from 1
    with (
        member(path, f"gzip/{prefix}-images-idx3-ubyte.gz") as images,
        member(path, f"gzip/{prefix}-labels-idx1-ubyte.gz") as names,
    ):
        x, y = gunzipped(images), gunzipped(names)
        n, *sides = _header(path, x, 3)
        differ = damaged(path, f"{prefix} has not as many labels as images of 28 x 28 pixels")
        if sides != [28, 28] or _header(path, y, 1) != [n]:
            raise differ
        for rows in records(path, x, 28 * 28):
            label = np.frombuffer(y.read(len(rows)), np.uint8)
            n -= len(rows)
            if len(label) != len(rows):
                raise differ
            upright = rows.reshape(-1, 28, 28).transpose(0, 2, 1)[..., None]
            value = labels(path, label.astype(np.int32) - first, classes)
            yield Block(np.ascontiguousarray(upright), value)
        if n or y.read(1):
            raise damaged(path, f"{prefix} has not the size that its headers say")


def _header(path: Path, stream: BufferedIOBase, rank: int) -> list[int]:
    """Read the header of bytes in the IDX format of MNIST; return the sizes."""
    raw = stream.read(4 + 4 * rank)
    if len(raw) != 4 + 4 * rank or raw[:4] != bytes([0, 0, 8, rank]):
        raise damaged(path, f"a member is no IDX file of bytes of rank {rank}")
    return np.frombuffer(raw, ">i4", rank, offset=4).tolist()


def _published(name: str, variant: str) -> Published:
    classes, train, test = VARIANTS[variant]
    return Published(
        name=name,
        version="1.0.0",
        files=(FILE,),
        shape=(28, 28, 1),
        splits={"train": train, "test": test},
        classes=tuple(classes),
        factors={},
        blocks=functools.partial(_blocks, variant),
    )


EMNIST = (
    _published("emnist", "balanced"),
    *(_published(f"emnist/{variant}", variant) for variant in VARIANTS),
)
