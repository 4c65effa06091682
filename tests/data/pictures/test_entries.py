"""Files of a folder or an archive that are read, refused and ignored."""

import gzip
import io
import os
import socket
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest
from made_pictures import encoded, noise, write

from latentgen.core.errors import BadInput
from latentgen.data.pictures import entries
from latentgen.data.pictures.prepare import Options, prepare

GOOD = encoded(noise(9, 9))
TAKEN, IGNORED = "", None


def bad_crc(content: bytes) -> bytes:
    """Damage the values of a PNG, whose check value no longer holds."""
    at = content.index(b"IDAT") + 20
    return content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]


FILES: dict[str, tuple[bytes, str | None]] = {
    "plain.png": (GOOD, TAKEN),
    "upper.PNG": (encoded(noise(9, 9, 1)), TAKEN),
    "jpeg named.png": (encoded(noise(9, 9, 2), "JPEG"), TAKEN),
    "deep/er/still.webp": (encoded(noise(9, 9, 3), "WEBP"), TAKEN),
    "a 'quoted' \"name\".gif": (encoded(noise(9, 9, 4), "GIF"), TAKEN),
    "new\nline.bmp": (encoded(noise(9, 9, 5), "BMP"), TAKEN),
    "\N{GRINNING FACE}.tiff": (encoded(noise(9, 9, 6), "TIFF"), TAKEN),
    "latin \udce9.png": (encoded(noise(9, 9, 7)), TAKEN),
    "grey.jpg": (encoded(noise(9, 9, 8, "L"), "JPEG"), TAKEN),
    "cmyk.jpg": (encoded(noise(9, 9, 9, "CMYK"), "JPEG"), TAKEN),
    "alpha.png": (encoded(noise(9, 9, 10, "RGBA")), TAKEN),
    "grey alpha.png": (encoded(noise(9, 9, 11, "LA")), TAKEN),
    "palette.png": (encoded(noise(9, 9, 12).convert("P")), TAKEN),
    "bits.png": (encoded(noise(9, 9, 13).convert("1")), TAKEN),
    "sixteen.png": (encoded(noise(9, 9, 14, "I;16")), TAKEN),
    "wide.png": (encoded(noise(30, 9, 15)), TAKEN),
    "-dash.png": (encoded(noise(9, 9, 16)), TAKEN),
    "%s {0} *.png": (encoded(noise(9, 9, 17)), TAKEN),
    "back\\slash.png": (encoded(noise(9, 9, 18)), TAKEN),
    "garbage after.png": (encoded(noise(9, 9, 19)) + b"garbage", TAKEN),
    "small.png": (encoded(noise(3, 9)), "smaller than the size"),
    "text.png": (b"words", "not a picture"),
    "html.jpg": (b"<html>404</html>", "not a picture"),
    "empty.png": (b"", "empty file"),
    "short.jpg": (encoded(noise(90, 90), "JPEG")[:2000], "truncated"),
    "short.png": (encoded(noise(90, 90))[:2000], "truncated"),
    "header.png": (GOOD[:20], "damaged"),
    "crc.png": (bad_crc(GOOD), "damaged"),
    "postscript.png": (encoded(noise(9, 9), "EPS"), "not a picture"),
    "float.tif": (encoded(noise(9, 9).convert("F"), "TIFF"), "32-bit values"),
    "long.tif": (encoded(noise(9, 9).convert("I"), "TIFF"), "32-bit values"),
    "phone.heic": (b"ftypheic", "format .heic is not read"),
    "drawing.svg": (b"<svg/>", "format .svg is not read"),
    "readme.txt": (b"words", IGNORED),
    "no suffix": (GOOD, IGNORED),
    ".hidden.png": (GOOD, IGNORED),
    "._plain.png": (b"fork", IGNORED),
    "Thumbs.db": (b"", IGNORED),
    ".git/x.png": (GOOD, IGNORED),
    "__MACOSX/plain.png": (GOOD, IGNORED),
    "deep/labels.csv": (b"a,b", IGNORED),
}
OUTCOMES = {name: outcome for name, (_, outcome) in FILES.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "pictures", {name: content for name, (content, _) in FILES.items()})


def refused(outcomes: dict[str, str | None]) -> dict[str, str]:
    return {name: reason for name, reason in outcomes.items() if reason}


def count(outcomes: dict[str, str | None], outcome: str | None) -> int:
    return list(outcomes.values()).count(outcome)


def test_each_file_of_a_folder_has_its_outcome(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(GOOD)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x.png").write_bytes(GOOD)
    (folder / "link out.png").symlink_to(tmp_path / "outside.png")
    (folder / "link in.png").symlink_to("plain.png")
    (folder / "link to nothing.png").symlink_to("nothing")
    (folder / "link to a folder").symlink_to(tmp_path / "elsewhere")
    (folder / "loop").symlink_to(folder)
    (folder / "itself.png").symlink_to("itself.png")
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)  # a socket's path is short
        server.bind("socket.png")
        os.chdir(here)
    (folder / "folder.png").mkdir()
    outcomes = OUTCOMES | {
        "link out.png": "a link out of the folder",
        "link in.png": TAKEN,
        **dict.fromkeys(("link to nothing.png", "itself.png"), "a link to nothing"),
        **dict.fromkeys(("link to a folder", "loop"), "a link to a folder"),
        **dict.fromkeys(("pipe.png", "socket.png"), IGNORED),
    }
    report = prepare(folder, Options(8), tmp_path / "sets").report
    assert report["refused"] == refused(outcomes)
    assert report["taken"] == count(outcomes, TAKEN)
    assert report["ignored"] == count(outcomes, IGNORED)
    assert report["seen"] == report["taken"] + len(report["refused"])
    assert report["duplicates"] == 1  # the link in the folder


@pytest.mark.parametrize("root", ["", "pictures/"])
def test_a_zip_and_a_tar_are_as_the_folder(folder: Path, tmp_path: Path, root: str) -> None:
    sets = tmp_path / "sets"
    expected = prepare(folder, Options(8), sets)
    files = {name: content for name, (content, _) in FILES.items() if name.isascii()}
    whole = {name: content for name, (content, _) in FILES.items()}
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i, (name, content) in enumerate(files.items()):
            how = zipfile.ZIP_STORED if i % 2 else zipfile.ZIP_DEFLATED
            archive.writestr(f"{root}{name}", content, how)
        for name in whole.keys() - files.keys():  # a zip's names are Unicode
            archive.writestr(f"{root}{name!a}.png", whole[name])
    with tarfile.open(tmp_path / "a.tar", "w", errors="surrogateescape") as archive:
        for name, content in whole.items():
            info = tarfile.TarInfo(f"{root}{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    for name in ("a.zip", "a.tar"):
        found = prepare(tmp_path / name, Options(8), sets)
        assert {k: v for k, v in found.report.items() if k != "refused"} == {
            k: v for k, v in expected.report.items() if k != "refused"
        }
        assert found.report["refused"].keys() == expected.report["refused"].keys()
        assert digests(found.folder) == digests(expected.folder)


def digests(folder: Path) -> str:
    return (folder / "latentgen_sha256.json").read_text()


def test_a_zip_with_backslashes_has_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("in\\cat\\1.png", "in\\dog\\2.png"):
            archive.writestr(name, GOOD)
    found = entries.listed(tmp_path / "a.zip")
    assert [entry.name for entry in found.entries] == ["cat/1.png", "dog/2.png"]


def test_members_of_a_zip_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("good", "bomb", "secret", "huge", "damaged"):
            archive.writestr(f"{name}.png", GOOD + bytes(100_000 if name == "bomb" else 0))
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "good.png")
        archive.writestr("lzma.png", GOOD, zipfile.ZIP_LZMA)
    content = bytearray(path.read_bytes())
    for name, at, value in (
        ("bomb", 24, len(GOOD)),  # declares less than there is
        ("huge", 24, 2**30),
        ("damaged", 16, 1),  # the CRC
    ):
        start = content.rindex(f"{name}.png".encode()) - 46
        content[start + at : start + at + 4] = struct.pack("<I", value)
    start = content.rindex(b"secret.png") - 46
    content[start + 8] |= 1
    path.write_bytes(content)
    assert prepare(path, Options(8), tmp_path / "sets").report["refused"] == {
        "bomb.png": "not of the size that is declared",
        "damaged.png": "damaged in the zip",
        "huge.png": "larger than 512 MiB",
        "link.png": "a link",
        "lzma.png": "compression method 14 of the zip is not read",
        "secret.png": "encrypted",
    }


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "in", {"a.png": GOOD, "b.png": GOOD})

    def opened(path: str, flags: int) -> int:
        if path.endswith("a.png"):
            raise PermissionError(13, "Permission denied", path)
        return os.open(path, flags)

    monkeypatch.setattr(entries, "_no_pipe", opened)
    report = prepare(tmp_path / "in", Options(8), tmp_path / "sets").report
    assert report["refused"] == {"a.png": "cannot be read (Permission denied)"}


@pytest.mark.parametrize(
    ("files", "name", "said"),
    [
        ({}, "nothing", "nothing does not exist; name a folder, a .zip or a .tar"),
        ({"in/readme.txt": b""}, "in", "in has no picture; valid suffixes: .apng"),
        ({"a.tgz": gzip.compress(b"")}, "a.tgz", "decompress it first, with gunzip"),
        ({"a.tar.bz2": b"BZh9"}, "a.tar.bz2", "decompress it first, with bunzip2"),
        ({"a.rar": b"Rar!"}, "a.rar", "a.rar is no folder, .zip or uncompressed .tar"),
        ({"a.zip": b"PK\3\4 cut"}, "a.zip", "a.zip is damaged"),
        ({"in/a\n.png": b"words"}, "in", r"no picture can be used; 'a\\\\n.png': not a picture"),
    ],
)
def test_nothing_to_prepare(tmp_path: Path, files: dict[str, bytes], name: str, said: str) -> None:
    write(tmp_path, files)
    with pytest.raises(BadInput, match=said) as caught:
        prepare(tmp_path / name, Options(8), tmp_path / "sets")
    assert "\n" not in str(caught.value)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has no picture"):
        entries.listed(tmp_path)


def test_names_are_shown_in_one_line() -> None:
    assert entries.shown("a\nb \udce9\x1b[0m") == r"a\nb \udce9\x1b[0m"
    assert entries.shown("\N{GRINNING FACE} 'x'") == "\N{GRINNING FACE} 'x'"
