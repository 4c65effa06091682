"""Files of a folder, a .zip or an uncompressed .tar that may be pictures.

| file                                                          | becomes                      |
|---------------------------------------------------------------|------------------------------|
| hidden, __MACOSX, suffix of no picture, link to a folder,     | ignored, and counted         |
| pipe, device, a run's folder, latentgen_sets                  |                              |
| picture of a format that is not read, such as .heic           | refused                      |
| encrypted, larger than 512 MiB, link out of the folder        | refused                      |
| anything else                                                 | read, and decided by content |

Nothing is unpacked to disk. An archive whose files all lie in one folder is read as that folder.
"""

import contextlib
import os
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from latentgen.core.errors import BadInput
from latentgen.data.pictures.convert import Refused

READ = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".dib", ".gif"),
    *(".tif", ".tiff", ".avif"),
}
NOT_READ = {
    *(".heic", ".heif", ".jp2", ".j2k", ".jxl", ".svg", ".svgz", ".psd", ".tga", ".ppm", ".pgm"),
    *(".pbm", ".pnm", ".pcx", ".ico", ".eps", ".exr", ".hdr", ".dng", ".cr2", ".nef", ".arw"),
    *(".xcf", ".dds"),
}
LABEL_FILES = ("dataset.json", "labels.csv")
OWN = "latentgen_sets"
"""Folder of prepared sets, with a sheet of pictures in each."""
LARGEST = 512 * 2**20
COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ": "unxz",
    b"\x28\xb5\x2f\xfd": "unzstd",
}
"""First bytes -> command that decompresses."""


class Entry(NamedTuple):
    """A file.

    name: relative, with '/'; bytes that are not UTF-8 as surrogates
    at: its place in an archive, (offset,) in a tar; (offset, method, packed size, CRC) in a zip
    refused: why it is not read; '' if it is
    """

    name: str
    size: int
    mtime_ns: int
    at: tuple[int, ...] = ()
    refused: str = ""


class Listing(NamedTuple):
    """Files of a folder or an archive, sorted by name.

    kind: 'folder', 'zip' or 'tar'
    labels: files of `LABEL_FILES` at the root
    ignored: number of other files
    """

    where: Path
    kind: str
    entries: list[Entry]
    labels: dict[str, Entry]
    ignored: int


def shown(name: str) -> str:
    """Return a name in one line, with escapes for characters that cannot be printed."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def listed(where: Path) -> Listing:
    """List a folder, a .zip or a .tar.

    Raises:
        BadInput: it is none of them, is compressed or damaged, or has no picture.
    """
    where = Path(os.path.abspath(where))
    kind = _kind(where)
    files: dict[str, Callable[[Path], Iterator[Entry | None]]]
    files = {"folder": _folder, "zip": _zip, "tar": _tar}
    try:
        found = list(files[kind](where))
    except (zipfile.BadZipFile, tarfile.TarError, NotImplementedError, struct.error) as error:
        raise BadInput(f"{shown(str(where))} is damaged ({shown(str(error))}).") from None
    named = {e.name: e for e in found if e is not None}  # the last of equal names in an archive
    root = len(_root(named)) if kind != "folder" else 0
    entries = {name[root:]: entry._replace(name=name[root:]) for name, entry in named.items()}
    labels = {name: entries.pop(name) for name in LABEL_FILES if name in entries}
    kept = [e for e in entries.values() if posixpath.basename(e.name) not in LABEL_FILES]
    if not kept:
        raise BadInput(
            f"{shown(str(where))} has no picture; valid suffixes: {' '.join(sorted(READ))}."
        )
    ignored = len(found) - len(kept) - len(labels)
    return Listing(where, kind, sorted(kept, key=lambda e: e.name), labels, ignored)


def _kind(where: Path) -> str:
    if where.is_dir():
        return "folder"
    at = shown(str(where))
    if not where.exists():
        raise BadInput(f"{at} does not exist; name a folder, a .zip or a .tar of pictures.")
    if not where.is_file():
        raise BadInput(f"{at} is neither a folder nor a file.")
    with open(where, "rb") as file:
        start = file.read(8)
    for magic, command in COMPRESSED.items():
        if start.startswith(magic):
            raise BadInput(f"{at} is compressed as a whole; decompress it first, with {command}.")
    if start.startswith(b"PK"):
        return "zip"
    with contextlib.suppress(tarfile.TarError, EOFError), tarfile.open(where, "r:"):
        return "tar"
    raise BadInput(f"{at} is no folder, .zip or uncompressed .tar.")


def _root(entries: dict[str, Entry]) -> str:
    """Return 'folder/' if all files of an archive lie in one folder, else ''."""
    tops = {name.partition("/")[0] if "/" in name else "" for name in entries}
    return f"{tops.pop()}/" if len(tops) == 1 and "" not in tops else ""


def _selected(entry: Entry) -> Entry | None:
    """Refuse a file by its name and size; return None for one to ignore."""
    if any(part.startswith(".") or part == "__MACOSX" for part in entry.name.split("/")):
        return None
    suffix, file = posixpath.splitext(entry.name)[1].lower(), posixpath.basename(entry.name)
    if suffix not in READ | NOT_READ and file not in LABEL_FILES:
        return None
    if suffix in NOT_READ:
        return entry._replace(refused=f"format {suffix} is not read")
    if entry.size > LARGEST:
        return entry._replace(refused=f"larger than {LARGEST // 2**20} MiB")
    return entry


def _folder(root: Path, inside: str = "") -> Iterator[Entry | None]:
    """Yield the files of a folder; None for each that is ignored."""
    try:
        with os.scandir(root / inside) as scanned:
            found = list(scanned)
    except OSError as error:
        if not inside:
            raise BadInput(f"{shown(str(root))} cannot be listed ({error.strerror}).") from None
        yield Entry(inside, 0, 0, refused="a folder that cannot be listed")
        return
    for each in found:
        name = f"{inside}/{each.name}" if inside else each.name
        if not os.path.isdir(each.path):  # False for what cannot be read
            yield _file(root, name)
        elif each.name.startswith(".") or each.name in ("__MACOSX", OWN) or _is_run(each.path):
            yield None
        elif each.is_symlink():  # it may lead in a circle
            yield Entry(name, 0, 0, refused="a link to a folder")
        else:
            yield from _folder(root, name)


def _is_run(folder: str) -> bool:
    """Return whether a folder is a run's, with pictures of its samples."""
    names = ("config.json", "data.json", "samples")
    return all(os.path.exists(os.path.join(folder, name)) for name in names)


def _file(root: Path, name: str) -> Entry | None:
    path = root / name
    if _selected(Entry(name, 0, 0)) is None:
        return None
    try:
        status = path.stat()
    except OSError as error:
        why = "a link to nothing" if path.is_symlink() else _unreadable(error)
        return Entry(name, 0, 0, refused=why)
    if not stat.S_ISREG(status.st_mode):
        return None
    if path.is_symlink() and not _leads_into(path, root):
        return Entry(name, 0, 0, refused="a link out of the folder")
    return _selected(Entry(name, status.st_size, status.st_mtime_ns))


def _leads_into(path: Path, root: Path) -> bool:
    real = os.path.realpath(root)
    return os.path.commonpath([os.path.realpath(path), real]) == real


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({error.strerror})"


def _zip(where: Path) -> Iterator[Entry | None]:
    with zipfile.ZipFile(where) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            place = (info.header_offset, info.compress_type, info.compress_size, info.CRC)
            time = int("{:04}{:02}{:02}{:02}{:02}{:02}".format(*info.date_time))
            entry = _selected(Entry(_normal(info.filename), info.file_size, time, place))
            if entry is not None and not entry.refused:
                entry = entry._replace(refused=_refused_in_zip(info))
            yield entry


def _refused_in_zip(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 1:
        return "encrypted"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "a link"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return f"compression method {info.compress_type} of the zip is not read"
    return f"larger than {LARGEST // 2**20} MiB" if info.compress_size > LARGEST else ""


def _tar(where: Path) -> Iterator[Entry | None]:
    with tarfile.open(where, "r:", errors="surrogateescape") as archive:
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # else they fill the memory
            if info.isdir():
                continue
            if not (info.isreg() or info.issym() or info.islnk()):
                yield None
                continue
            at, time = (info.offset_data,), int(info.mtime * 10**9)
            entry = _selected(Entry(_normal(info.name), info.size, time, at))
            if entry is not None and (not info.isreg() or info.issparse()):
                entry = entry._replace(refused="a link" if not info.isreg() else "a sparse file")
            yield entry


def _normal(name: str) -> str:
    """Return a relative name with '/', which some tools on Windows write as a backslash."""
    name = name if "/" in name else name.replace("\\", "/")
    return posixpath.normpath(name).lstrip("/")


class Reader:
    """Reads the content of entries; to be used in a `with` statement."""

    def __init__(self, where: Path, kind: str) -> None:
        self._where, self._kind = where, kind
        self._archive: BinaryIO | None = None

    def __enter__(self) -> "Reader":
        if self._kind != "folder":
            self._archive = open(self._where, "rb")
        return self

    def __exit__(self, *error: object) -> None:
        if self._archive is not None:
            self._archive.close()

    def read(self, entry: Entry) -> bytes:
        """Return the content of an entry.

        Raises:
            Refused: it cannot be read, or is not what was listed.
        """
        if entry.refused:
            raise Refused(entry.refused)
        try:
            content = self._content(entry)
        except OSError as error:
            raise Refused(_unreadable(error)) from None
        if len(content) != entry.size:
            raise Refused("not of the size that is declared")
        return content

    def _content(self, entry: Entry) -> bytes:
        if self._archive is None:
            with open(self._where / entry.name, "rb", opener=_no_pipe) as file:
                return file.read(entry.size + 1)
        self._archive.seek(entry.at[0])
        if self._kind == "tar":
            return self._archive.read(entry.size)
        return _member(self._archive, entry)


def _no_pipe(path: str, flags: int) -> int:
    """Open without waiting for the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def _member(archive: BinaryIO, entry: Entry) -> bytes:
    """Read a member of a zip whose local header is next."""
    _, method, packed, crc = entry.at
    header = archive.read(30)
    if header[:4] != b"PK\3\4" or len(header) != 30:
        raise Refused("damaged in the zip")
    archive.seek(sum(struct.unpack("<HH", header[26:])), os.SEEK_CUR)
    content = archive.read(packed)
    if method == zipfile.ZIP_DEFLATED:
        try:  # no more than declared, and a byte to notice that there is more
            content = zlib.decompressobj(-15).decompress(content, entry.size + 1)
        except zlib.error:
            raise Refused("damaged in the zip") from None
    if len(content) == entry.size and zlib.crc32(content) != crc:
        raise Refused("damaged in the zip")
    return content
