"""STL-10: photographs of 96 x 96 pixels, few of them with labels.

Reference: Coates, Ng & Lee, "An Analysis of Single-Layer Networks in Unsupervised Feature
Learning", AISTATS 2011.

`STL10` has the images with labels, `UNLABELED` the 100,000 without. An image is stored as planes
of red, green and blue, each of them column by column. Labels count from 1.
"""

import functools
from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import UInt8

from latentgen.core.errors import choose
from latentgen.data.published.files import damaged, labels, member, path_of, records
from latentgen.data.published.types import Block, File, Files, Published

HOME = "http://ai.stanford.edu/~acoates/stl10/"
SIDE = 96
PIXELS = 3 * SIDE * SIDE
FOLDER = "stl10_binary"


def _member(name: str, size: int, md5: str) -> File:
    return File(f"{FOLDER}/{name}", HOME, size, None, md5)


# The SHA-256 and size are TFDS's, the MD5 torchvision's.
FILE = File(
    name="stl10_binary.tar.gz",
    url=HOME + "stl10_binary.tar.gz",
    size=2640397119,
    sha256="f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
    md5="91f7769df0f17e558f3565bffb0c7dfb",
    folder=FOLDER,
    contents=(
        _member("train_X.bin", 5_000 * PIXELS, "918c2871b30a85fa023e0c44e0bee87f"),
        _member("train_y.bin", 5_000, "5a34089d4802c674881badbb80307741"),
        _member("test_X.bin", 8_000 * PIXELS, "7f263ba9f9e0b06b93213547f721ac82"),
        _member("test_y.bin", 8_000, "36f9794fa4beb8a2c72628de14fa638e"),
    ),
)
UNLABELED_FILE = FILE._replace(
    contents=(_member("unlabeled_X.bin", 100_000 * PIXELS, "5242ba1fed5e4be9e1e742405eb56ca4"),),
)
CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


def _blocks(prefixes: Mapping[str, str], files: Files, split: str) -> Iterator[Block]:
    """Read a split, with labels if there are classes."""
    prefix, path = choose("split", split, prefixes), path_of(files, FILE)
    label = None
    if prefix != "unlabeled":
        with member(path, f"{FOLDER}/{prefix}_y.bin") as stream:
            counted = np.frombuffer(stream.read(), np.uint8).astype(np.int32)
        label = labels(path, counted - 1, len(CLASSES))
    start = 0
    differ = damaged(path, f"{prefix} has not as many labels as images")
    with member(path, f"{FOLDER}/{prefix}_X.bin") as stream:
        for rows in records(path, stream, PIXELS):
            stop = start + len(rows)
            y = np.zeros(len(rows), np.int32) if label is None else label[start:stop]
            if len(y) != len(rows):
                raise differ
            yield Block(_images(rows), y)
            start = stop
    if label is not None and len(label) != start:
        raise differ


def _images(rows: UInt8[np.ndarray, "n 27648"]) -> UInt8[np.ndarray, "n 96 96 3"]:
    """Convert planes stored column by column to pixels."""
    return np.ascontiguousarray(rows.reshape(-1, 3, SIDE, SIDE).transpose(0, 3, 2, 1))


STL10 = Published(
    name="stl10",
    version="1.0.0",
    files=(FILE,),
    shape=(SIDE, SIDE, 3),
    splits={"train": 5_000, "test": 8_000},
    classes=CLASSES,
    factors={},
    blocks=functools.partial(_blocks, {"train": "train", "test": "test"}),
)
UNLABELED = STL10._replace(
    name="stl10_unlabeled",
    files=(UNLABELED_FILE,),
    splits={"train": 100_000},
    classes=(),
    blocks=functools.partial(_blocks, {"train": "unlabeled"}),
)
