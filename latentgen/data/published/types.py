"""Types of the readers: an original file and a published data set."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from latentgen.data.store import Block

BLOCK = 1_000
"""Most examples in a block."""


class File(NamedTuple):
    """An original file.

    name: file name, or the path of a member in its archive
    size: in bytes; None: not published
    sha256, md5: as published by the authors or registered by TFDS or torchvision; None: neither
    folder: name of the folder that the archive unpacks to, if that folder is accepted in its place
    contents: files of that folder that are read
    """

    name: str
    url: str
    size: int | None
    sha256: str | None
    md5: str | None
    folder: str = ""
    contents: tuple["File", ...] = ()


Files = Mapping[str, Path]
"""Name of an original file -> its path, or that of its unpacked folder."""


class Published(NamedTuple):
    """A published data set and its reader.

    files: all files that reading needs
    shape: (h, w, c) of an image
    splits: split -> number of examples
    classes: names of the labels; () without labels
    factors: factor -> number of its values, in the order of `Block.factors`
    blocks: (files, split) -> blocks of at most `BLOCK` examples in the original order
    alternatives: other sets of files, each of which is accepted in place of `files`
    """

    name: str
    version: str
    files: tuple[File, ...]
    shape: tuple[int, int, int]
    splits: Mapping[str, int]
    classes: tuple[str, ...]
    factors: Mapping[str, int]
    blocks: Callable[[Files, str], Iterator[Block]]
    alternatives: tuple[tuple[File, ...], ...] = ()
