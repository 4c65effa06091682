"""Omniglot: characters of 50 alphabets, each drawn by 20 people, 105 x 105 pixels.

Reference: Lake, Salakhutdinov & Tenenbaum, "Human-level concept learning through probabilistic
program induction", Science 2015.

"train" is the background set of 30 alphabets, "test" the evaluation set of 20 others. Images are
in the order of their names. The files have black ink on white; here strokes are 255 on 0.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from latentgen.core.errors import choose
from latentgen.data import images
from latentgen.data.published.files import damaged, path_of, reading
from latentgen.data.published.types import BLOCK, Block, File, Files, Published

HOME = "https://github.com/brendenlake/omniglot/raw/master/python/"
SHAPE = (105, 105, 1)

# The SHA-256 and sizes are TFDS's, the MD5 torchvision's.
FILES = {
    "train": File(
        "images_background.zip",
        HOME + "images_background.zip",
        9464212,
        "ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
        "68d2efa1b9178cc56df9314c21c6e718",
    ),
    "test": File(
        "images_evaluation.zip",
        HOME + "images_evaluation.zip",
        6462886,
        "1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
        "6b91aef0f799c5bb55b94e3f2daec811",
    ),
}

_NAMES = """
Alphabet_of_the_Magi Angelic Anglo-Saxon_Futhorc Arcadian Armenian Asomtavruli_(Georgian)
Atemayar_Qelisayer Atlantean Aurek-Besh Avesta Balinese Bengali
Blackfoot_(Canadian_Aboriginal_Syllabics) Braille Burmese_(Myanmar) Cyrillic Early_Aramaic
Futurama Ge_ez Glagolitic Grantha Greek Gujarati Gurmukhi Hebrew
Inuktitut_(Canadian_Aboriginal_Syllabics) Japanese_(hiragana) Japanese_(katakana) Kannada Keble
Korean Latin Malay_(Jawi_-_Arabic) Malayalam Manipuri Mkhedruli_(Georgian) Mongolian N_Ko
Ojibwe_(Canadian_Aboriginal_Syllabics) Old_Church_Slavonic_(Cyrillic) Oriya Sanskrit Sylheti
Syriac_(Estrangelo) Syriac_(Serto) Tagalog Tengwar Tibetan Tifinagh ULOG
"""
ALPHABETS = tuple(_NAMES.split())


def _blocks(files: Files, split: str) -> Iterator[Block]:
    """Read a split."""
    path = path_of(files, choose("split", split, FILES))
    with reading(path), zipfile.ZipFile(path) as archive:
        # Archives made by macOS have files of the same ending in the folder __MACOSX.
        names = sorted(n for n in archive.namelist() if n[:7] == "images_" and n[-4:] == ".png")
        for start in range(0, len(names), BLOCK):
            part = names[start : start + BLOCK]
            label = np.array([_alphabet(path, name) for name in part], np.int32)
            yield Block(np.stack([_image(path, archive, name) for name in part]), label)


def _alphabet(path: Path, name: str) -> int:
    """Return the index of a member's alphabet."""
    parts = name.split("/")
    if len(parts) != 4 or parts[1] not in ALPHABETS:
        raise damaged(path, f"{name} is not folder/alphabet/character/image.png")
    return ALPHABETS.index(parts[1])


def _image(path: Path, archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Decode a member, and invert it."""
    try:
        return 255 - images.decode(archive.read(name), SHAPE)
    except ValueError as error:
        raise damaged(path, f"{name}: {error}") from None


OMNIGLOT = Published(
    name="omniglot",
    version="1.0.0",
    files=tuple(FILES.values()),
    shape=SHAPE,
    splits={"train": 19_280, "test": 13_180},
    classes=ALPHABETS,
    factors={},
    blocks=_blocks,
)
