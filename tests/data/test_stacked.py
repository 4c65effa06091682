"""Stacked images plane by plane, and images with black around them."""

import numpy as np
import pytest

from latentgen.core.errors import BadInput
from latentgen.data import sources
from latentgen.data.stacked import stacked


def test_planes_are_images_and_the_mode_is_their_classes() -> None:
    x = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
    label = np.array([7, 0, 3, 9, 1], np.int32)
    planes, mode = stacked(x, label, 200, 3)
    assert planes.shape == (200, 4, 4, 3)
    assert (planes == planes[:, :1, :1]).all()  # each plane is one image
    classes = label[planes[:, 0, 0]]  # the value of image i is i
    words = ["".join(map(str, row)) for row in classes]
    np.testing.assert_array_equal(mode, [int(word) for word in words])
    again, _ = stacked(x, label, 200, 3)
    np.testing.assert_array_equal(planes, again)
    other, _ = stacked(x, label, 200, 4)
    assert (planes != other).any()


def test_a_stacked_set_has_splits_of_its_own_images() -> None:
    plain, found = sources.load("digits"), sources.load("stacked_digits")
    assert found.name == "stacked_digits"
    sizes = {split: len(examples.label) for split, examples in found.splits.items()}
    assert sizes == {"train": 128_000, "validation": 200, "test": 200}
    for split, examples in found.splits.items():
        images = {image.tobytes() for image in plain.splits[split].x}
        some = np.asarray(examples.x[:100])
        assert all(plane.tobytes() in images for x in some for plane in np.moveaxis(x, -1, 0))
    assert len(np.unique(found.splits["train"].label)) == 1_000


def test_padding_keeps_the_image_in_the_middle() -> None:
    plain = sources.load("digits")
    found = sources.padded(plain, 11)
    assert found.shape == (11, 11, 1)
    np.testing.assert_array_equal(found.splits["test"].x[:, 1:9, 1:9], plain.splits["test"].x)
    assert found.splits["test"].x.sum() == plain.splits["test"].x.sum()
    assert sources.padded(plain, 0) is plain
    assert sources.identity(found, "unit")["sha256"] != sources.identity(plain, "unit")["sha256"]


@pytest.mark.parametrize(("name", "side"), [("digits", 7), ("ring", 8)])
def test_a_side_that_does_not_fit_is_refused(name: str, side: int) -> None:
    with pytest.raises(BadInput, match=f"config.data.pad_to={side}"):
        sources.padded(sources.load(name), side)
