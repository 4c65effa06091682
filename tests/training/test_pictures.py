import numpy as np
import PIL.Image
import pytest

from latentgen.core.errors import BadInput
from latentgen.training import pictures


def test_grid_by_hand():
    """Three 28x28 images in two columns, each pixel doubled, one black line between."""
    x = np.zeros((3, 28, 28, 1), np.float32)
    x[0] = 1.0
    x[1] = 0.5
    x[2, 0, 0] = 0.2
    image = pictures.grid(x)
    expected = np.zeros((56 + 1 + 56, 56 + 1 + 56, 1), np.uint8)
    expected[:56, :56] = 255
    expected[:56, 57:] = 128  # 127.5 rounds to even
    expected[57:59, :2] = 51
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


def test_grid_of_tiny_colour_images_in_one_row():
    x = np.zeros((2, 8, 8, 3), np.float32)
    x[1, 7, 7] = (1, 0, 1)
    image = pictures.grid(x, columns=2, gap=3)
    expected = np.zeros((56, 56 + 3 + 56, 3), np.uint8)
    expected[-7:, -7:] = (255, 0, 255)
    np.testing.assert_array_equal(image, expected)


def test_grid_leaves_large_images_as_they_are_and_clips():
    x = np.full((1, 64, 60, 1), 7.0)
    x[0, 0, 0], x[0, 0, 1], x[0, 0, 2] = -3, np.nan, np.inf
    image = pictures.grid(x)
    assert image.shape == (64, 60, 1)
    assert image[0, :4, 0].tolist() == [0, 0, 0, 255]


@pytest.mark.parametrize(
    ("n", "side", "shown"),
    [
        (64, 64, 64),
        (64, 128, 128),
        (64, 256, 128),
        (64, 512, 128),
        (4, 256, 256),
        (1, 1024, 1024),
        (2, 1100, 367),
        (100, 128, 64),
        (400, 128, 64),
    ],
)
def test_a_grid_has_at_most_1024_pixels_a_side_unless_its_images_were_too_small(n, side, shown):
    columns = int(np.ceil(np.sqrt(n)))
    if n * side**2 > 2**22:  # the rule alone, without the arrays
        factor = pictures.reduction(columns * side, columns * side, side)
        assert -(-side // factor) == shown
    else:
        image = pictures.grid(np.zeros((n, side, side, 3)), gap=4)
        assert image.shape[1] == columns * (shown + 4) - 4
    assert columns * shown <= 1_024 or shown < 2 * pictures.CELL


def test_64_images_of_noise_are_a_small_png():
    x = np.random.default_rng(0).random((64, 256, 256, 3), np.float32)
    assert len(pictures.png(pictures.grid(x, gap=4))) < 4_000_000


def test_images_are_reduced_by_means_of_squares():
    x = np.random.default_rng(0).integers(0, 256, (2, 6, 9, 3)).astype(np.uint8)
    means = x.reshape(2, 2, 3, 3, 3, 3).mean(axis=(2, 4))
    np.testing.assert_array_equal(pictures.reduced(x, 3), np.floor(means + 0.5))
    ragged = pictures.reduced(x, 4)
    assert ragged.shape == (2, 2, 3, 3)
    np.testing.assert_array_equal(ragged[:, 0, 2], np.floor(x[:, :4, 8].mean(axis=1) + 0.5))
    np.testing.assert_array_equal(ragged[:, 1, 0], np.floor(x[:, 4:, :4].mean((1, 2)) + 0.5))


@pytest.mark.parametrize("channels", [1, 3])
def test_captions_stand_below_their_images(channels):
    x = np.random.default_rng(0).random((3, 56, 56, channels))
    bare = pictures.grid(x, columns=3)
    found = pictures.grid(x, columns=3, captions=("cat", "cat", "a name that is far too long"))
    assert found.shape == (56 + pictures.CAPTION, *bare.shape[1:])
    np.testing.assert_array_equal(found[:56], bare)
    first, second, third = (found[56:, i : i + 56] for i in (0, 57, 114))
    assert first.max() > 128
    np.testing.assert_array_equal(first, second)
    assert (third.max(axis=(0, 2)) > 0).sum() > 40  # shortened to its image's width
    assert not found[56:, 56].any()


def test_grid_refuses_two_channels():
    with pytest.raises(BadInput, match="channels=2"):
        pictures.grid(np.zeros((1, 4, 4, 2)))


def test_pairs():
    inputs = np.arange(3.0).reshape(3, 1, 1, 1)
    assert pictures.pairs(inputs, inputs + 10).ravel().tolist() == [0, 10, 1, 11, 2, 12]


def test_scatter_by_hand():
    """The reference spans [-1, 1]: a frame of 2.4 around 0; a point at (0.6, 0.6) is at 3/4."""
    reference = np.array([[-1.0, -1.0], [1.0, 1.0]])
    image = pictures.scatter(np.array([[0.6, 0.6]]), reference, size=126)
    expected = np.full((126, 126, 3), 255, np.uint8)
    expected[114:117, 9:12] = pictures.REAL  # 0.2 / 2.4 of 126 pixels from the corner: the 11th
    expected[9:12, 114:117] = pictures.REAL
    expected[30:33, 93:96] = pictures.SYNTHETIC
    np.testing.assert_array_equal(image, expected)


def test_scatter_keeps_its_frame_and_draws_synthetic_above_real():
    reference = np.random.default_rng(0).normal(size=(50, 2))
    empty = pictures.scatter(np.zeros((0, 2)), reference)
    far = np.array([[100.0, 0.0], [0.0, -100.0], [np.nan, 0.0], [np.inf, 0.0]])
    np.testing.assert_array_equal(pictures.scatter(far, reference), empty)
    assert (empty == pictures.REAL).all(-1).sum() > 9
    covered = pictures.scatter(reference, reference)
    assert not (covered == pictures.REAL).all(-1).any()
    assert ((covered == pictures.SYNTHETIC).all(-1) == (empty == pictures.REAL).all(-1)).all()


def test_scatter_without_a_reference_or_spread():
    image = pictures.scatter(np.ones((4, 2)))
    assert (image == pictures.SYNTHETIC).all(-1).sum() == 9


@pytest.mark.parametrize("channels", [1, 3])
def test_png_reads_back_equal_and_is_deterministic(tmp_path, channels):
    image = np.random.default_rng(1).integers(0, 256, (20, 30, channels), np.uint8)
    pictures.save_png(tmp_path / "a.png", image)
    pictures.save_png(tmp_path / "b.png", image)
    with PIL.Image.open(tmp_path / "a.png") as read:
        assert read.mode == {1: "L", 3: "RGB"}[channels]
        np.testing.assert_array_equal(np.asarray(read).reshape(image.shape), image)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]
