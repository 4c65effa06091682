"""Original files of the data sets with own builders: their URLs and digests.

Files are identified by the SHA-256 of the published file, or of its decompressed content, because
gzips of the same content may differ. The former are those that TFDS registers for its builders. The
latter agree in several public sources, for Fashion-MNIST also with Debian's files. For KMNIST there
are none, so that only the published gzips are accepted.
"""

import gzip
import hashlib
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8

from latentgen.core.errors import BadInput

VERSION = "1.0.0"
DEBIAN = {"fashion_mnist": Path("/usr/share/datasets/fashion-mnist")}
"""Folders of the Debian packages that carry originals (dataset-fashion-mnist)."""


class Original(NamedTuple):
    """An original file: URL, size, SHA-256, and SHA-256 of its decompressed content."""

    url: str
    size: int
    sha256: str
    content: str | None

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


def _idx(base: str, *known: tuple[int, str, str | None]) -> dict[str, tuple[Original, ...]]:
    """Return the files of a set in the format of MNIST: images and labels of train and test."""
    names = [f"{s}-{k}-ubyte.gz" for s in ("train", "t10k") for k in ("images-idx3", "labels-idx1")]
    files = [Original(base + n, *k) for n, k in zip(names, known, strict=True)]
    return {"train": (files[0], files[1]), "test": (files[2], files[3])}


def _amat(base: str, **known: tuple[int, str]) -> dict[str, tuple[Original, ...]]:
    """Return the files of binarized MNIST: a text file of 0 and 1 for each split."""
    names = {"train": "train", "validation": "valid", "test": "test"}
    return {
        split: (Original(f"{base}binarized_mnist_{names[split]}.amat", size, sha, sha),)
        for split, (size, sha) in known.items()
    }


ORIGINALS: dict[str, dict[str, tuple[Original, ...]]] = {
    "mnist": _idx(
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        (
            9912422,
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        (
            28881,
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        (
            1648877,
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        (
            4542,
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "fashion_mnist": _idx(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            26421880,
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        (
            29515,
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        (
            4422102,
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        (
            5148,
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    "kmnist": _idx(
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        (18165135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4", None),
        (29497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17", None),
        (3041136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5", None),
        (5120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c", None),
    ),
    "binarized_mnist": _amat(
        "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",
        train=(78400000, "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d"),
        validation=(15680000, "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"),
        test=(15680000, "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"),
    ),
}
"""name -> split -> its files: (images, labels), or images alone."""

Files = Mapping[str, Sequence[Path]]


def find(name: str, folder: Path) -> tuple[dict[str, list[Path]], list[str]]:
    """Find a set's original files in a folder, or in its subfolder with the set's name.

    Returns:
        (split -> paths of its files, names of missing files).
    """
    found: dict[str, list[Path]] = {}
    missing = []
    for split, originals in ORIGINALS[name].items():
        for original in originals:
            names = (original.file, original.file.removesuffix(".gz"))
            candidates = (d / f for d in (folder, folder / name) for f in names)
            path = next((p for p in candidates if p.is_file()), None)
            if path is None:
                missing.append(original.file)
            else:
                found.setdefault(split, []).append(path)
    return found, missing


def read(original: Original, path: Path) -> bytes:
    """Read an original file, decompressed.

    Raises:
        BadInput: it is not the published file: truncated, damaged, or another one.
    """
    expected = f"wanted {original.sha256}" + (
        f" or, decompressed, {original.content}" if original.content else " (the publisher's file)"
    )
    raw = path.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    try:
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (EOFError, OSError, zlib.error) as error:
        raise BadInput(
            f"{path} is truncated or damaged ({error}): sha256 {found}, {expected}. "
            f"Get it anew from {original.url}."
        ) from None
    content_sha256 = hashlib.sha256(content).hexdigest()
    if found != original.sha256 and content_sha256 != original.content:
        raise BadInput(
            f"{path} has the wrong checksum: sha256 {content_sha256} inside, {expected}. It is "
            f"{_describe(found, content_sha256, content)}. Get it anew from {original.url}."
        )
    return content


def _describe(found: str, content_sha256: str, content: bytes) -> str:
    """Describe a file that is not the expected original."""
    for name, splits in ORIGINALS.items():
        for original in (o for split in splits.values() for o in split):
            if found == original.sha256 or content_sha256 == original.content:
                return f"the {original.file} of {name}"
    if len(content) < 4 or content[:3] != b"\0\0\x08" or content[3] not in (1, 3):
        return f"no IDX file of bytes (it begins with {content[:4].hex() or 'nothing'})"
    rank = content[3]
    sizes = [int.from_bytes(content[4 * i : 4 * i + 4], "big") for i in range(1, rank + 1)]
    present = len(content) - 4 - 4 * rank
    return f"an IDX file of {'x'.join(map(str, sizes))} bytes, of which {max(present, 0)} are there"


def _parse_idx(content: bytes) -> UInt8[np.ndarray, "..."]:
    """Parse unsigned bytes in the IDX format of MNIST: magic, big-endian sizes, data."""
    rank = content[3]
    shape = np.frombuffer(content, ">i4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _parse_amat(content: bytes) -> UInt8[np.ndarray, "n 28 28"]:
    """Parse lines of 784 digits 0 or 1, each followed by a blank or newline; map 1 to 255."""
    digits = np.frombuffer(content, np.uint8)[::2] - ord("0")
    return (digits * np.uint8(255)).reshape(-1, 28, 28)


def arrays(
    name: str, split: str, paths: Sequence[Path]
) -> tuple[UInt8[np.ndarray, "n h w 1"], Int32[np.ndarray, " n"]]:
    """Load images and labels of a split from its verified files; missing labels are zeros.

    Raises:
        BadInput: a file is not the original.
    """
    contents = [read(o, p) for o, p in zip(ORIGINALS[name][split], paths, strict=True)]
    if len(contents) == 2:
        x, label = map(_parse_idx, contents)
    else:
        x = _parse_amat(contents[0])
        label = np.zeros(len(x))
    return x[..., None], label.astype(np.int32)
