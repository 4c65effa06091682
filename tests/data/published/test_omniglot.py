import io

import numpy as np
import pytest
from PIL import Image

from latentgen.data.published import PUBLISHED

TRAIN, TEST = "images_background.zip", "images_evaluation.zip"


def _ink(seed):
    return np.random.default_rng(seed).random((105, 105)) < 0.1


def _png(ink):
    """Black ink on white, in one bit."""
    buffer = io.BytesIO()
    Image.fromarray(~ink).save(buffer, "PNG")
    content = buffer.getvalue()
    assert Image.open(io.BytesIO(content)).mode == "1"
    return content


def test_strokes_are_white_and_labels_are_alphabets(pack, read):
    train = {
        "images_background/": b"",
        "images_background/Greek/character01/0394_01.png": _png(_ink(2)),
        "images_background/Arcadian/character02/0051_02.png": _png(_ink(1)),
        "images_background/Arcadian/character01/0050_20.png": _png(_ink(0)),
        "__MACOSX/images_background/Greek/character01/._0394_01.png": b"no image",
    }
    test = {"images_evaluation/ULOG/character26/1623_20.png": _png(_ink(3))}
    files = {TRAIN: pack(TRAIN, train), TEST: pack(TEST, test)}
    classes = PUBLISHED["omniglot"].classes
    for split, seeds, names in (
        ("train", [0, 1, 2], ["Arcadian", "Arcadian", "Greek"]),
        ("test", [3], ["ULOG"]),
    ):
        found = read("omniglot", files, split)
        np.testing.assert_array_equal(found.x[..., 0], [255 * _ink(seed) for seed in seeds])
        assert [classes[label] for label in found.label] == names


def test_classes_are_the_fifty_alphabets_in_order():
    classes = PUBLISHED["omniglot"].classes
    assert list(classes) == sorted(set(classes))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("images_background/Klingon/character01/1.png", _png(_ink(0)), "is not folder/alphabet"),
        ("images_background/Greek/1.png", _png(_ink(0)), "is not folder/alphabet"),
        ("images_background/Greek/character01/1.png", b"no image", "no image of 105 x 105"),
        ("images_background/Greek/character01/1.png", _png(_ink(0)[1:]), "105 x 104 pixels"),
    ],
)
def test_other_members_are_refused(pack, refused, name, content, problem):
    assert problem in refused("omniglot", {TRAIN: pack(TRAIN, {name: content})})


def test_a_truncated_archive_is_refused(pack, refused):
    path = pack(TRAIN, {"images_background/Greek/character01/1.png": _png(_ink(0))})
    path.write_bytes(path.read_bytes()[:-30])
    assert str(path) in refused("omniglot", {TRAIN: path})
