import struct

import numpy as np
import pytest

from latentgen.data.published import PUBLISHED

KINDS = {
    "cifar10": ("cifar-10-binary.tar.gz", "cifar-10-batches-bin", "cifar-10-batches-py"),
    "cifar100": ("cifar-100-binary.tar.gz", "cifar-100-binary", "cifar-100-python"),
}


def _examples(name, n=3):
    """Members without their ending -> (images (n, 32, 32, 3), labels, coarse labels)."""
    rng = np.random.default_rng(0)
    batches = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    classes = len(PUBLISHED[name].classes)
    return {
        member: (
            rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8),
            rng.integers(0, classes, n),
            rng.integers(0, 20, n),
        )
        for member in (batches if name == "cifar10" else ["train", "test"])
    }


def _planes(x):
    """Bytes of an image: all of red, all of green, all of blue."""
    return b"".join(x[:, :, c].tobytes() for c in range(3))


def _binary(name):
    folder, members = KINDS[name][1], {}
    for member, rows in _examples(name).items():
        content = b""
        for x, label, coarse in zip(*rows, strict=True):
            labels = [label] if name == "cifar10" else [coarse, label]
            content += bytes(int(y) for y in labels) + _planes(x)
        members[f"{folder}/{member}.bin"] = content
    # The archive has its members in no order, and a page of text among them.
    names = sorted(members, reverse=True)
    return {f"{folder}/readme.html": b"<html>"} | {n: members[n] for n in names}


def _string(text):
    return b"U" + bytes([len(text)]) + text


def _array(raw, shape):
    """An array as Python 2 pickles it, opcode by opcode."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        + _string(b"b")
        + b"\x87R(K\x01"
        + b"".join(b"M" + struct.pack("<H", s) for s in shape)
        + b"\x86cnumpy\ndtype\n"
        + _string(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + _string(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<i", len(raw))
        + raw
        + b"tb"
    )


def _pickled(name):
    folder, members = KINDS[name][2], {}
    key = b"labels" if name == "cifar10" else b"fine_labels"
    for member, (x, label, coarse) in _examples(name).items():
        lists = {key: label, b"coarse_labels": coarse}
        items = _string(b"data") + _array(b"".join(map(_planes, x)), (len(x), 3072))
        for k, values in lists.items():
            items += _string(k) + b"](" + b"".join(b"K" + bytes([int(v)]) for v in values) + b"e"
        members[f"{folder}/{member}"] = b"\x80\x02}(" + items + b"u."
    return members


def _expected(name, split):
    found = [v for k, v in _examples(name).items() if k.startswith("test") == (split == "test")]
    return [np.concatenate(parts) for parts in zip(*found, strict=True)][:2]


def _unpack(path, members):
    for member, content in members.items():
        target = path / member
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
    return target.parent


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("kind", ["binary", "python"])
@pytest.mark.parametrize("name", list(KINDS))
def test_images_and_fine_labels_come_in_the_original_order(
    tmp_path, pack, read, name, kind, unpacked
):
    members = _binary(name) if kind == "binary" else _pickled(name)
    archive = KINDS[name][0].replace("binary", kind)
    path = _unpack(tmp_path, members) if unpacked else pack(archive, members)
    for split in ("train", "test"):
        found = read(name, {archive: path}, split)
        x, label = _expected(name, split)
        np.testing.assert_array_equal(found.x, x)
        np.testing.assert_array_equal(found.label, label)


def test_a_member_is_read_in_blocks(pack, read):
    content = b"".join(bytes([i % 10]) + bytes([i % 256]) * 3072 for i in range(1_001))
    members = {f"cifar-10-batches-bin/data_batch_{i}.bin": b"" for i in range(2, 6)}
    members["cifar-10-batches-bin/data_batch_1.bin"] = content
    archive = KINDS["cifar10"][0]
    found = read("cifar10", {archive: pack(archive, members)}, "train")
    np.testing.assert_array_equal(found.label, np.arange(1_001) % 10)
    np.testing.assert_array_equal(found.x[:, 5, 6, 2], np.arange(1_001) % 256)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (b"\x00" * 3072, "ends within a record of 3073 bytes"),
        (b"\x0a" + b"\x00" * 3072, "a label is 10, of 10 classes"),
    ],
)
def test_damaged_records_are_refused(pack, refused, record, problem):
    archive = KINDS["cifar10"][0]
    path = pack(archive, {"cifar-10-batches-bin/test_batch.bin": record})
    assert problem in refused("cifar10", {archive: path}, "test")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "asks for os.system"),
        (b"\x80\x02}.", "has no images of 3072 bytes"),
        (b"\x80\x02}" + _string(b"data") + _array(b"\0" * 3072, (1, 3072)) + b"s.", "no labels"),
        (_pickled("cifar10")["cifar-10-batches-py/test_batch"][:-9], "damaged"),
    ],
)
def test_damaged_pickles_are_refused(pack, refused, content, problem):
    archive = "cifar-10-python.tar.gz"
    path = pack(archive, {"cifar-10-batches-py/test_batch": content})
    assert problem in refused("cifar10", {archive: path}, "test")


def test_a_truncated_archive_is_refused(pack, refused):
    archive = KINDS["cifar100"][0]
    path = pack(archive, _binary("cifar100"))
    path.write_bytes(path.read_bytes()[:-2_000])
    assert str(path) in refused("cifar100", {archive: path}, "test")


def test_missing_files_and_splits_are_named(tmp_path, refused):
    assert "cifar-10-binary.tar.gz is missing" in refused("cifar10", {})
    assert "'validation' is unknown" in refused(
        "cifar10", {KINDS["cifar10"][0]: tmp_path}, "validation"
    )
