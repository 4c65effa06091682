"""CIFAR-10 and CIFAR-100: 60,000 photographs of 32 x 32 pixels, as binary or Python files.

Reference: Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.

A binary file has a record for each image: a label (CIFAR-100: the coarse and the fine label), then
1,024 bytes each of red, green and blue, row by row. A Python file is a pickle of the same numbers.
"""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from latentgen.core.errors import choose
from latentgen.data.published.files import damaged, labels, member, path_of, records
from latentgen.data.published.pickles import load
from latentgen.data.published.types import BLOCK, Block, File, Files, Published

HOME = "https://www.cs.toronto.edu/~kriz/"
PIXELS = 3 * 32 * 32


class _Kind(NamedTuple):
    """Two archives of the same images: split -> members of each.

    label: position of the label in a binary record
    key: of the labels in a pickle
    """

    binary: File
    python: File
    binary_members: Mapping[str, tuple[str, ...]]
    python_members: Mapping[str, tuple[str, ...]]
    label: int
    key: str


def _contents(folder: str, size: int | None, **md5: str | None) -> tuple[File, ...]:
    """Return the members of an archive."""
    return tuple(File(f"{folder}/{n}", HOME + "cifar.html", size, None, m) for n, m in md5.items())


# The MD5 of archives are on the authors' page. The SHA-256 are those of TFDS (binary) and Keras
# (Python), the MD5 of members those of torchvision; there are none for members of the binary ones.
CIFAR10_BINARY = File(
    name="cifar-10-binary.tar.gz",
    url=HOME + "cifar-10-binary.tar.gz",
    size=170052171,
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    md5="c32a1d4ab5d03f1284b67883e8d87530",
    folder="cifar-10-batches-bin",
    contents=_contents(
        "cifar-10-batches-bin",
        10_000 * (1 + PIXELS),
        **{f"data_batch_{i}.bin": None for i in range(1, 6)},
        **{"test_batch.bin": None},
    ),
)
CIFAR10_PYTHON = File(
    name="cifar-10-python.tar.gz",
    url=HOME + "cifar-10-python.tar.gz",
    size=170498071,
    sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    md5="c58f30108f718f92721af3b95e74349a",
    folder="cifar-10-batches-py",
    contents=_contents(
        "cifar-10-batches-py",
        None,
        data_batch_1="c99cafc152244af753f735de768cd75f",
        data_batch_2="d4bba439e000b95fd0a9bffe97cbabec",
        data_batch_3="54ebc095f3ab1f0389bbae665268c751",
        data_batch_4="634d18415352ddfa80567beed471001a",
        data_batch_5="482c414d41f54cd18b22e5b47cb7c3cb",
        test_batch="40351d587109b95175f43aff81a1287e",
    ),
)
CIFAR100_BINARY = File(
    name="cifar-100-binary.tar.gz",
    url=HOME + "cifar-100-binary.tar.gz",
    size=168513733,
    sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    md5="03b5dce01913d631647c71ecec9e9cb8",
    folder="cifar-100-binary",
    contents=_contents("cifar-100-binary", 50_000 * (2 + PIXELS), **{"train.bin": None})
    + _contents("cifar-100-binary", 10_000 * (2 + PIXELS), **{"test.bin": None}),
)
CIFAR100_PYTHON = File(
    name="cifar-100-python.tar.gz",
    url=HOME + "cifar-100-python.tar.gz",
    size=169001437,
    sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
    folder="cifar-100-python",
    contents=_contents(
        "cifar-100-python",
        None,
        train="16019d7e3df5f24257cddd939b257f8d",
        test="f0ef6b0ae62326f3e7ffdfab6717acfc",
    ),
)

_CIFAR10 = _Kind(
    CIFAR10_BINARY,
    CIFAR10_PYTHON,
    {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)},
    {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
    label=0,
    key="labels",
)
_CIFAR100 = _Kind(
    CIFAR100_BINARY,
    CIFAR100_PYTHON,
    {"train": ("train.bin",), "test": ("test.bin",)},
    {"train": ("train",), "test": ("test",)},
    label=1,
    key="fine_labels",
)


def _blocks(kind: _Kind, classes: int, files: Files, split: str) -> Iterator[Block]:
    """Read a split from the binary files if they are given, else from the Python ones."""
    if kind.python.name in files and kind.binary.name not in files:
        path, folder = files[kind.python.name], kind.python.folder
        for name in choose("split", split, kind.python_members):
            yield from _pickled(kind, classes, path, f"{folder}/{name}")
        return
    path, folder = path_of(files, kind.binary), kind.binary.folder
    for name in choose("split", split, kind.binary_members):
        yield from _binary(kind, classes, path, f"{folder}/{name}")


def _binary(kind: _Kind, classes: int, path: Path, name: str) -> Iterator[Block]:
    """Read a binary member."""
    first = kind.label + 1
    with member(path, name) as stream:
        for rows in records(path, stream, first + PIXELS):
            yield Block(_images(rows[:, first:]), labels(path, rows[:, kind.label], classes))


def _pickled(kind: _Kind, classes: int, path: Path, name: str) -> Iterator[Block]:
    """Read a pickled member, which is in memory as a whole: at most 154 MB."""
    with member(path, name) as stream:
        content = load(path, stream)
    rows, label = content.get("data"), content.get(kind.key)
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != PIXELS:
        raise damaged(path, f"{name} has no images of {PIXELS} bytes")
    if not isinstance(label, list) or [type(y) for y in label] != [int] * len(rows):
        raise damaged(path, f"{name} has no {kind.key} of {len(rows)} integers")
    for start in range(0, len(rows), BLOCK):
        rest = slice(start, start + BLOCK)
        yield Block(_images(rows[rest]), labels(path, np.array(label[rest]), classes))


def _images(rows: UInt8[np.ndarray, "n 3072"]) -> UInt8[np.ndarray, "n 32 32 3"]:
    """Convert planes of red, green and blue to pixels."""
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _published(name: str, kind: _Kind, classes: str) -> Published:
    names = tuple(classes.split())
    return Published(
        name=name,
        version="1.0.0",
        files=(kind.binary,),
        shape=(32, 32, 3),
        splits={"train": 50_000, "test": 10_000},
        classes=names,
        factors={},
        blocks=functools.partial(_blocks, kind, len(names)),
        alternatives=((kind.python,),),
    )


CIFAR10 = _published(
    "cifar10", _CIFAR10, "airplane automobile bird cat deer dog frog horse ship truck"
)
CIFAR100 = _published(
    "cifar100",
    _CIFAR100,
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
    butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab
    crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
    lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
    oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
    possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
    spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
    train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """,
)
