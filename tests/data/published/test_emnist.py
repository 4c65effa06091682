import gzip

import numpy as np
import pytest
import tiny_set

from latentgen.data.published import PUBLISHED


def _images(n):
    return np.random.default_rng(0).integers(0, 256, (n, 28, 28), dtype=np.uint8)


def _members(variant, labels, n=None):
    """The pair of files of the split train, whose images are transposed."""
    images = np.stack([x.T for x in _images(n or len(labels))])
    kinds = {"images-idx3": images, "labels-idx1": np.array(labels)}
    return {
        f"gzip/emnist-{variant}-train-{kind}-ubyte.gz": gzip.compress(tiny_set.idx(a), mtime=0)
        for kind, a in kinds.items()
    }


def _files(pack, variant, *args):
    return {"gzip.zip": pack("gzip.zip", _members(variant, *args))}


@pytest.mark.parametrize(
    ("name", "variant", "labels", "expected"),
    [
        ("emnist", "balanced", [0, 10, 46], "0At"),
        ("emnist/balanced", "balanced", [36, 37, 38], "abd"),
        ("emnist/byclass", "byclass", [9, 35, 61], "9Zz"),
        ("emnist/bymerge", "bymerge", [41, 42, 43], "ghn"),
        ("emnist/letters", "letters", [1, 2, 26], "abz"),
        ("emnist/digits", "digits", [3, 0, 9], "309"),
        ("emnist/mnist", "mnist", [7, 2, 1], "721"),
    ],
)
def test_images_stand_upright_and_labels_have_names(pack, read, name, variant, labels, expected):
    found = read(name, _files(pack, variant, labels), "train")
    np.testing.assert_array_equal(found.x[..., 0], _images(3))
    assert "".join(PUBLISHED[name].classes[label] for label in found.label) == expected


def test_files_are_read_in_blocks(pack, read):
    labels = np.arange(1_001) % 10
    found = read("emnist/digits", _files(pack, "digits", labels), "train")
    np.testing.assert_array_equal(found.label, labels)
    np.testing.assert_array_equal(found.x[..., 0], _images(1_001))


@pytest.mark.parametrize(
    ("labels", "n", "problem"),
    [
        ([0, 1, 2], 2, "not as many labels"),
        ([0, 1], 3, "not as many labels"),
        ([0, 10], 2, "a label is 10, of 10 classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(pack, refused, labels, n, problem):
    assert problem in refused("emnist/digits", _files(pack, "digits", labels, n))


@pytest.mark.parametrize("kind", ["images-idx3", "labels-idx1"])
@pytest.mark.parametrize("change", [lambda c: c[:-1], lambda c: c + b"\0", lambda c: c[4:]])
def test_members_of_another_size_are_refused(pack, refused, kind, change):
    members = _members("digits", [0, 1, 2])
    name = f"gzip/emnist-digits-train-{kind}-ubyte.gz"
    members[name] = gzip.compress(change(gzip.decompress(members[name])))
    assert "gzip.zip" in refused("emnist/digits", {"gzip.zip": pack("gzip.zip", members)})


def test_a_truncated_member_is_refused(pack, refused):
    members = _members("digits", [0, 1, 2])
    name = "gzip/emnist-digits-train-images-idx3-ubyte.gz"
    members[name] = members[name][:-50]
    text = refused("emnist/digits", {"gzip.zip": pack("gzip.zip", members)})
    assert "end-of-stream marker" in text
