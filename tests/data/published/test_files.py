import hashlib
import importlib.util
import os
from pathlib import Path

import pytest

from latentgen.core.errors import BadInput
from latentgen.data.published import PUBLISHED, File, celeba, files, find, verify

CONTENT = b"original" * 100


def _file(**changes):
    known = File(
        "a.bin",
        "http://example.invalid/a.bin",
        len(CONTENT),
        hashlib.sha256(CONTENT).hexdigest(),
        hashlib.md5(CONTENT, usedforsecurity=False).hexdigest(),
    )
    return known._replace(**changes)


def _written(tmp_path, content=CONTENT):
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    return path


def test_every_set_says_what_it_needs():
    for name, published in PUBLISHED.items():
        assert name == published.name
        assert set(published.splits) <= {"train", "validation", "test"}
        assert "train" in published.splits
        for file in (f for fs in (published.files, *published.alternatives) for f in fs):
            assert file.url.startswith(("http://", "https://"))
            for digest, digits in ((file.sha256, 64), (file.md5, 32)):
                assert digest is None or (len(digest) == digits and int(digest, 16))
            assert file.sha256 or file.md5


def test_classes_have_their_published_numbers():
    found = {name: len(p.classes) for name, p in PUBLISHED.items()}
    assert found == {
        **{"cifar10": 10, "cifar100": 100, "svhn": 10, "stl10": 10, "stl10_unlabeled": 0},
        **{"omniglot": 50, "dsprites": 3, "shapes3d": 4, "emnist": 47, "emnist/balanced": 47},
        **{"emnist/byclass": 62, "emnist/bymerge": 47, "emnist/digits": 10},
        **{"emnist/letters": 26, "emnist/mnist": 10},
    }


def test_sizes_and_sha256_are_those_that_tfds_registers():
    package = Path(importlib.util.find_spec("tensorflow_datasets").submodule_search_locations[0])
    lists = [
        *(package / "url_checksums" / f"{n}.txt" for n in ("cifar10", "cifar100", "omniglot")),
        package / "url_checksums" / "emnist.txt",
        *(package / "datasets" / n / "checksums.tsv" for n in ("svhn_cropped", "stl10")),
        *(package / "datasets" / n / "checksums.tsv" for n in ("shapes3d", "celeb_a")),
    ]
    lines = [line.split("\t") for path in lists for line in path.read_text().splitlines()]
    registered = {name: (int(size), sha256) for _, size, sha256, name in lines}
    ours = [f for p in PUBLISHED.values() for f in p.files] + list(celeba.FILES)
    found = {f.name: (f.size, f.sha256) for f in ours if f.sha256}
    assert found == {name: registered[name] for name in found}
    assert {f.name for f in ours} - set(found) == {f.name for f in PUBLISHED["dsprites"].files}


# verify


@pytest.mark.parametrize("unknown", [{}, {"sha256": None}, {"md5": None}, {"size": None}])
def test_an_original_is_accepted(tmp_path, unknown):
    seen = verify(_file(**unknown), _written(tmp_path))
    assert seen == hashlib.sha256(CONTENT).hexdigest()


def test_without_published_checksums_the_size_is_checked(tmp_path):
    file = _file(sha256=None, md5=None)
    assert verify(file, _written(tmp_path)) == hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(BadInput, match="is truncated: 799 bytes"):
        verify(file, _written(tmp_path, CONTENT[:-1]))


@pytest.mark.parametrize("unknown", [{}, {"sha256": None}, {"md5": None}])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (CONTENT[:-1], "is truncated"),
        (CONTENT + b"x", "is not the published file"),
        (b"O" + CONTENT[1:], "is not the published file"),
        (b"", "is truncated"),
    ],
)
def test_another_file_is_refused_in_a_line(tmp_path, unknown, content, problem):
    file, path = _file(**unknown), _written(tmp_path, content)
    with pytest.raises(BadInput) as info:
        verify(file, path)
    text = str(info.value)
    assert text.startswith(f"{path} {problem}: {len(content)} bytes")
    assert hashlib.sha256(content).hexdigest() in text
    assert file.url in text
    assert (file.sha256 or file.md5) in text
    assert "\n" not in text


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"a\.bin cannot be read .*http://example.invalid/a\.bin"):
        verify(_file(), tmp_path / "a.bin")


def test_contents_of_an_unpacked_folder_are_checked(tmp_path):
    path = _written(tmp_path)
    archive = _file(name="a.zip", folder=tmp_path.name, contents=(_file(name="in/a.bin"),))
    inner = hashlib.sha256(CONTENT).hexdigest()
    assert verify(archive, tmp_path) == hashlib.sha256(inner.encode()).hexdigest()
    path.write_bytes(CONTENT[1:])
    with pytest.raises(BadInput, match=r"a\.bin is truncated"):
        verify(archive, tmp_path)


def test_a_failing_disk_is_no_bad_input(tmp_path, monkeypatch):
    def fail(path):
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(files, "_digests", fail)
    with pytest.raises(OSError, match="Input/output error"):
        verify(_file(), _written(tmp_path))
    with pytest.raises(OSError, match="Input/output error"), files.reading(tmp_path):
        fail(tmp_path)


# find


def test_files_are_found_in_the_folder_or_the_sets_own(tmp_path):
    assert find(PUBLISHED["svhn"], tmp_path) == ({}, ["train_32x32.mat", "test_32x32.mat"])
    (tmp_path / "svhn").mkdir()
    paths = [tmp_path / "train_32x32.mat", tmp_path / "svhn" / "test_32x32.mat"]
    for path in paths:
        path.touch()
    assert find(PUBLISHED["svhn"], tmp_path) == ({p.name: p for p in paths}, [])


def test_variants_share_a_folder(tmp_path):
    (tmp_path / "emnist").mkdir()
    path = tmp_path / "emnist" / "gzip.zip"
    path.touch()
    assert find(PUBLISHED["emnist/letters"], tmp_path) == ({"gzip.zip": path}, [])


@pytest.mark.parametrize(
    ("made", "key"),
    [
        ("cifar-10-binary.tar.gz", "cifar-10-binary.tar.gz"),
        ("cifar-10-python.tar.gz", "cifar-10-python.tar.gz"),
        ("cifar-10-batches-bin/", "cifar-10-binary.tar.gz"),
        ("cifar-10-batches-py/", "cifar-10-python.tar.gz"),
    ],
)
def test_any_of_the_accepted_files_is_found(tmp_path, made, key):
    path = tmp_path / made
    path.mkdir() if made.endswith("/") else path.touch()
    assert find(PUBLISHED["cifar10"], tmp_path) == ({key: path}, [])


# members


@pytest.mark.parametrize("archive", ["a.tar.gz", "a.zip"])
def test_a_member_that_points_outside_is_not_extracted(tmp_path, pack, archive):
    path = pack(archive, {"../x": b"outside", "/y": b"outside", "in/z": b"inside"})
    before = {str(p) for p in tmp_path.rglob("*")}
    with files.member(path, "in/z") as stream:
        assert stream.read() == b"inside"
    assert {str(p) for p in tmp_path.rglob("*")} == before
    assert not (tmp_path / "x").exists()
    assert not Path("/y").exists()


@pytest.mark.parametrize("archive", ["a.tar.gz", "a.zip"])
def test_a_missing_member_is_named(pack, archive):
    path = pack(archive, {"in/z": b"inside"})
    with pytest.raises(BadInput, match=r"a\..*: it has no member in/y"), files.member(path, "in/y"):
        pass


def test_a_link_is_no_member(tmp_path):
    import tarfile

    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("in/z")
        info.type, info.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(info)
    with (
        pytest.raises(BadInput, match="no member in/z"),
        files.member(tmp_path / "a.tar.gz", "in/z"),
    ):
        pass


@pytest.mark.parametrize("archive", ["a.tar.gz", "a.zip"])
@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.9])
def test_a_truncated_archive_is_refused_in_a_line(pack, archive, kept):
    noise = hashlib.shake_128(b"seed").digest(20_000)
    path = pack(archive, {"in/y": noise, "in/z": noise})
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(BadInput) as info, files.member(path, "in/z") as stream:
        stream.read()
    assert str(info.value).startswith(f"{path} is truncated, damaged or another file: ")
    assert "\n" not in str(info.value)


def test_a_flipped_byte_in_a_zip_is_noticed(pack):
    path = pack("a.zip", {"in/z": hashlib.shake_128(b"seed").digest(1_000)})
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadInput, match="damaged"), files.member(path, "in/z") as stream:
        stream.read()
