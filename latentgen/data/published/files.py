"""Original files: finding them, their checksums, and members of archives as streams.

Nothing is extracted: a member is read from its archive, so that its path cannot lead anywhere.
"""

import contextlib
import gzip
import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import cast

import numpy as np
from jaxtyping import Int32, UInt8

from latentgen.core.errors import BadInput, is_transient, printable, shortened
from latentgen.data.published.types import BLOCK, File, Files, Published

CHUNK = 2**20


def find(published: Published, folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Find the files of a data set in a folder, or in its subfolder with the set's name.

    Args:
        published: the data set.
        folder: where to look. "emnist/letters" is also looked for in the subfolder "emnist".

    Returns:
        (file name -> path of the file or of its unpacked folder, names of missing files). Of
        several accepted sets of files it is the first that is complete, else `published.files`.
    """
    found = [_find(files, published.name, folder) for files in _accepted(published)]
    return next((f for f in found if not f[1]), found[0])


def _accepted(published: Published) -> tuple[tuple[File, ...], ...]:
    return (published.files, *published.alternatives)


def _find(files: tuple[File, ...], name: str, folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Find these files."""
    folders = (folder, folder / name.partition("/")[0])
    paths, missing = {}, []
    for file in files:
        candidates = [d / file.name for d in folders if (d / file.name).is_file()]
        candidates += [
            d / file.folder for d in folders if file.folder and (d / file.folder).is_dir()
        ]
        if candidates:
            paths[file.name] = candidates[0]
        else:
            missing.append(file.name)
    return paths, missing


def verify(file: File, path: Path) -> str:
    """Check a file against its published size and checksums.

    Args:
        file: what is expected.
        path: the file, or its unpacked folder, of which `file.contents` are checked.

    Returns:
        The SHA-256 of the file, as hex digits; of a folder: of the SHA-256 of its contents.

    Raises:
        BadInput: it is missing, truncated, damaged, or another file.
    """
    if path.is_dir() and file.contents:
        seen = [verify(f, path / PurePosixPath(f.name).name) for f in file.contents]
        return hashlib.sha256("".join(seen).encode()).hexdigest()
    try:
        size, sha256, md5 = _digests(path)
    except OSError as error:
        if is_transient(error):
            raise
        raise BadInput(f"{path} cannot be read ({error.strerror}): {_advice(file)}") from None
    sizes, known = (file.size, size), [(file.sha256, sha256), (file.md5, md5)]
    if any(wanted not in (None, found) for wanted, found in (sizes, *known)):
        problem = "is truncated" if size < (file.size or 0) else "is not the published file"
        raise BadInput(
            f"{path} {problem}: {size} bytes, sha256 {sha256}, md5 {md5}; {_advice(file)}"
        )
    return sha256


def _digests(path: Path) -> tuple[int, str, str]:
    """Return the size, SHA-256 and MD5 of a file."""
    size, sha256, md5 = 0, hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            size += len(chunk)
            sha256.update(chunk)
            md5.update(chunk)
    return size, sha256.hexdigest(), md5.hexdigest()


def _advice(file: File) -> str:
    """Describe the expected file, and where to get it."""
    known = {"size": file.size, "sha256": file.sha256, "md5": file.md5}
    wanted = ", ".join(f"{key} {value}" for key, value in known.items() if value is not None)
    return f"wanted {wanted or 'the original (no checksum is published)'}. Get it from {file.url}."


def path_of(files: Files, file: File) -> Path:
    """Return the path of a file.

    Raises:
        BadInput: it is not among `files`.
    """
    if file.name in files:
        return files[file.name]
    raise BadInput(f"{file.name} is missing. Get it from {file.url}.")


def damaged(path: Path, why: object) -> BadInput:
    """Return the error for a file that cannot be read."""
    reason = shortened(printable(str(why))) or type(why).__name__
    return BadInput(f"{path} is truncated, damaged or another file: {reason}.")


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Convert the errors of damaged archives to a BadInput that names the file."""
    try:
        yield
    except (
        *(EOFError, OSError, NotImplementedError, RuntimeError, zlib.error),
        *(tarfile.TarError, zipfile.BadZipFile),
    ) as error:
        if is_transient(error):  # the disk, not the file
            raise
        raise damaged(path, error) from None


@contextlib.contextmanager
def member(path: Path, name: str) -> Iterator[BufferedIOBase]:
    """Open a member of an archive as a stream.

    Args:
        path: a .tar.gz or .zip file, or the folder that it unpacks to.
        name: path in the archive; in a folder only its last part counts.

    Raises:
        BadInput: the archive is damaged, or has no such member.
    """
    with contextlib.ExitStack() as stack, reading(path):
        yield stack.enter_context(_opened(path, name))


@contextlib.contextmanager
def _opened(path: Path, name: str) -> Iterator[BufferedIOBase]:
    """Open a member; errors are those of the archive."""
    if path.is_dir():
        with open(path / PurePosixPath(name).name, "rb") as file:
            yield file
        return
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if name not in archive.namelist():
                raise damaged(path, f"it has no member {name}")
            with archive.open(name) as unzipped:
                yield cast(BufferedIOBase, unzipped)
        return
    with tarfile.open(path, "r|gz") as tar:
        found = next((info for info in tar if info.name == name and info.isfile()), None)
        stream = tar.extractfile(found) if found else None
        if stream is None:
            raise damaged(path, f"it has no member {name}")
        yield cast(BufferedIOBase, stream)


def records(path: Path, stream: BufferedIOBase, size: int) -> Iterator[UInt8[np.ndarray, "n size"]]:
    """Read records of `size` bytes, in arrays of at most `BLOCK`.

    Raises:
        BadInput: the last record is incomplete.
    """
    while raw := stream.read(size * BLOCK):
        if len(raw) % size:
            raise damaged(path, f"it ends within a record of {size} bytes")
        yield np.frombuffer(raw, np.uint8).reshape(-1, size)


def labels(path: Path, values: np.ndarray, classes: int) -> Int32[np.ndarray, " n"]:
    """Convert labels to int32.

    Raises:
        BadInput: a label is outside 0 .. classes - 1.
    """
    wrong = values[(values < 0) | (values >= classes)]
    if len(wrong):
        raise damaged(path, f"a label is {wrong[0]}, of {classes} classes")
    return values.astype(np.int32)


def gunzipped(stream: BufferedIOBase) -> BufferedIOBase:
    """Decompress a stream."""
    return gzip.GzipFile(fileobj=stream)
