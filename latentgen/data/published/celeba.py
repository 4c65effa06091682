"""CelebA: the lists of 202,599 aligned photographs of faces, their splits and attributes.

Reference: Liu et al., "Deep Learning Face Attributes in the Wild", ICCV 2015.

Images are not decoded here.
"""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int8

from latentgen.data.published.files import damaged, path_of, reading
from latentgen.data.published.types import File, Files

DRIVE = "https://drive.google.com/uc?export=download&id="

# The SHA-256 and sizes are TFDS's, the MD5 torchvision's.
IMAGES = File(
    "img_align_celeba.zip",
    DRIVE + "0B7EVK8r0v71pZjFTYXZWM3FlRnM",
    1443490838,
    "46fb89443c578308acf364d7d379fe1b9efb793042c0af734b6112e4fd3a8c74",
    "00d2c5bc6d35e252742224ab0c1e8fcb",
)
PARTITION = File(
    "list_eval_partition.txt",
    DRIVE + "0B7EVK8r0v71pY0NSMzRuSXJEVkk",
    2836386,
    "fc955bcb3ef8fbdf7d5640d9a8693a8431b5f2ee291a5c1449a1549e7e073fe7",
    "d32c9cbf5e040fd4025c592c306e6668",
)
ATTRIBUTE_LIST = File(
    "list_attr_celeba.txt",
    DRIVE + "0B7EVK8r0v71pblRyaVFSWGxPY0U",
    26721026,
    "f0e5da289d5ccf75ffe8811132694922b60f2af59256ed362afa03fefba324d0",
    "75e246fa4810816ffd6ee81facbd244c",
)
FILES = (IMAGES, PARTITION, ATTRIBUTE_LIST)

SPLITS = {"train": 162_770, "validation": 19_867, "test": 19_962}
"""Split -> number of images, in the order of the numbers 0, 1, 2 in the partition's file."""

_NAMES = """
5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose
Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee
Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard
Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair
Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young
"""
ATTRIBUTES = tuple(_NAMES.split())
"""Attributes in the order of the file's header."""


class Row(NamedTuple):
    """An image: path in the archive, split, and attributes of 1 (present) and -1."""

    member: str
    split: str
    attributes: Int8[np.ndarray, "40"]


def rows(files: Files) -> list[Row]:
    """List all images.

    Args:
        files: paths of `FILES` by name.

    Returns:
        Rows, sorted by member.

    Raises:
        BadInput: a file is missing or damaged, or the three do not have the same images.
    """
    members = _members(path_of(files, IMAGES))
    splits = _partition(path_of(files, PARTITION))
    attributes = _attributes(path_of(files, ATTRIBUTE_LIST))
    for file, listed in ((PARTITION, splits), (ATTRIBUTE_LIST, attributes)):
        if odd := members.keys() ^ listed.keys():
            where = file.name if min(odd) in members else IMAGES.name
            raise damaged(files[where], f"it has no {min(odd)}, of {len(odd)} that are missing")
    return [Row(members[name], splits[name], attributes[name]) for name in sorted(members)]


def _members(path: Path) -> dict[str, str]:
    """Read the archive's list of members: file name -> member."""
    with reading(path), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return {
        n.removeprefix("img_align_celeba/"): n
        for n in names
        if n.startswith("img_align_celeba/") and n.endswith(".jpg")
    }


def _partition(path: Path) -> dict[str, str]:
    """Read lines of a file name and 0, 1 or 2: file name -> split."""
    splits = dict(zip("012", SPLITS, strict=True))
    found = {}
    for line in _lines(path):
        words = line.split()
        if len(words) != 2 or words[1] not in splits:
            raise damaged(path, f"{line!r} is not a file name and 0, 1 or 2")
        found[words[0]] = splits[words[1]]
    return found


def _attributes(path: Path) -> dict[str, Int8[np.ndarray, "40"]]:
    """Read the count, the header, and lines of a file name and 40 values of -1 or 1."""
    lines = _lines(path)
    n = len(lines) - 2
    if n < 0 or tuple(lines[1].split()) != ATTRIBUTES or lines[0].strip() != str(n):
        raise damaged(path, f"its first lines are not {n} and the 40 attributes")
    values = {"1": 1, "-1": -1}
    found = {}
    for line in lines[2:]:
        name, *words = line.split()
        if len(words) != len(ATTRIBUTES) or not set(words) <= values.keys():
            raise damaged(path, f"{name} has not {len(ATTRIBUTES)} attributes of -1 or 1")
        found[name] = np.array([values[w] for w in words], np.int8)
    return found


def _lines(path: Path) -> list[str]:
    """Read the lines of a text file that are not blank."""
    with reading(path):
        text = path.read_bytes().decode("latin1")
    return [line for line in text.splitlines() if line.strip()]
