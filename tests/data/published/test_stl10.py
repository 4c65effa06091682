import numpy as np
import pytest

NAME = "stl10_binary.tar.gz"


def _images(n, seed):
    return np.random.default_rng(seed).integers(0, 256, (n, 96, 96, 3), dtype=np.uint8)


def _stored(images):
    """Plane by plane, and in a plane column by column."""
    columns = (x[:, j, c].tobytes() for x in images for c in range(3) for j in range(96))
    return b"".join(columns)


def _members():
    return {
        "stl10_binary/test_X.bin": _stored(_images(2, 0)),
        "stl10_binary/test_y.bin": bytes([10, 1]),
        "stl10_binary/train_X.bin": _stored(_images(3, 1)),
        "stl10_binary/train_y.bin": bytes([2, 3, 4]),
        "stl10_binary/unlabeled_X.bin": _stored(_images(4, 2)),
    }


@pytest.mark.parametrize("unpacked", [False, True])
def test_images_stand_upright_and_labels_count_from_zero(tmp_path, pack, read, unpacked):
    if unpacked:
        path = tmp_path / "stl10_binary"
        path.mkdir()
        for name, content in _members().items():
            (tmp_path / name).write_bytes(content)
    else:
        path = pack(NAME, _members())
    for split, seed, label in (("train", 1, [1, 2, 3]), ("test", 0, [9, 0])):
        found = read("stl10", {NAME: path}, split)
        np.testing.assert_array_equal(found.x, _images(len(label), seed))
        np.testing.assert_array_equal(found.label, label)
    found = read("stl10_unlabeled", {NAME: path}, "train")
    np.testing.assert_array_equal(found.x, _images(4, 2))
    np.testing.assert_array_equal(found.label, np.zeros(4))


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        ([1, 2], "not as many labels"),
        ([1, 2, 3, 4], "not as many labels"),
        ([0, 1, 2], "a label is -1"),
        ([1, 2, 11], "a label is 10, of 10 classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(pack, refused, labels, problem):
    path = pack(NAME, _members() | {"stl10_binary/train_y.bin": bytes(labels)})
    assert problem in refused("stl10", {NAME: path})


def test_only_the_large_set_is_without_labels(refused):
    assert "split='test' is unknown" in refused("stl10_unlabeled", {}, "test")
