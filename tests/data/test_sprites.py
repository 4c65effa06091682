"""Sprites against a rendering by counting points, and their factors against itertools."""

import colorsys
import hashlib
import itertools

import numpy as np
import pytest

from latentgen.core.errors import BadInput
from latentgen.data import sources, sprites

MIDDLE = (8, 8)


def inside(shape: str, x: np.ndarray, y: np.ndarray, r: float, angle: float) -> np.ndarray:
    """True for points in a figure of circumscribed radius r around 0, with y upwards."""
    z = (x + 1j * y) * np.exp(-1j * angle)
    if shape == "ellipse":
        return z.real**2 + (2 * z.imag) ** 2 < r**2
    if shape == "heart":
        s, z = 0.56 * r, z + 0.26 * 0.56 * r * np.sqrt(2) * 1j
        lobes = [abs(z - s * np.exp(1j * np.pi * k / 4)) < s for k in (1, 3)]
        return (abs(z.real) + abs(z.imag) < np.sqrt(2) * s) | lobes[0] | lobes[1]
    if shape == "square":
        corners = 0.7 * r * np.array([1 + 1j, -1 + 1j, -1 - 1j, 1 - 1j])
    else:
        corners = r * np.exp(2j * np.pi * (np.arange(3) / 3 + 1 / 4))
    edges = zip(corners, np.roll(corners, -1), strict=True)
    return np.all([((b - a).conjugate() * (z - a)).imag > 0 for a, b in edges], axis=0)


PERIODS = {"square": 90, "ellipse": 180, "heart": 360, "triangle": 120}


def counted(factors: np.ndarray, size: int, points: int = 16) -> np.ndarray:
    """The share of points x points in each pixel that lie in the figure."""
    shape, scale, orientation, column, row = factors
    at = (np.arange(size * points) + 0.5) / points
    x = at - size * (0.25 + column / 30)
    y = size * (0.25 + row / 30) - at[:, None]
    name = sprites.SHAPES[shape]
    angle = np.deg2rad(PERIODS[name] * orientation / 24)
    found = inside(name, x, y, size * (0.12 + 0.024 * scale), angle)
    return found.reshape(size, points, size, points).mean(axis=(1, 3))


@pytest.mark.parametrize("shape", range(4), ids=sprites.SHAPES)
def test_pixels_are_the_covered_share(shape: int) -> None:
    rows = [(5, 0, 8, 8), (5, 7, 0, 15), (0, 13, 3, 5), (2, 23, 15, 0)]
    factors = np.array([(shape, *row) for row in rows], np.int32)
    x = sprites.render(factors, 48)[..., 0] / 255
    for picture, row in zip(x, factors, strict=True):
        expected = counted(row, 48)
        assert abs(picture - expected).max() < 0.35  # a corner within a pixel
        assert abs(picture - expected).sum() < 0.04 * expected.sum()
        assert abs(picture.sum() / expected.sum() - 1) < 0.02


def test_no_two_pictures_of_32_pixels_are_the_same() -> None:
    """Check grey sets; the next test extends it to coloured ones."""
    found = set()
    for part in np.split(np.arange(sprites.count(False)), 64):
        pictures = sprites.render(sprites.factors_of(part, False), 32)
        found |= {hashlib.blake2b(x.tobytes(), digest_size=16).digest() for x in pictures}
    assert len(found) == sprites.count(False)


def test_colours_are_those_of_hsv_and_show_the_grey_picture() -> None:
    grey = sprites.factors_of(np.arange(0, 147_456, 9_999), False)
    expected = sprites.render(grey, 16).astype(float)
    pictures = []
    for k in range(8):
        hue = np.full((len(grey), 1), k, np.int32)
        x = sprites.render(np.hstack([grey, hue]), 16)
        np.testing.assert_array_equal(x.max(axis=-1, keepdims=True), expected)
        rgb = 255 * np.array(colorsys.hsv_to_rgb(k / 8, 1, 1))
        np.testing.assert_allclose(x, expected * rgb / 255, atol=1)
        pictures.append(x)
    assert len(np.unique(pictures, axis=0)) == 8


@pytest.mark.parametrize("color", [False, True])
def test_factors_are_the_digits_of_the_index(color: bool) -> None:
    names = sprites.factor_names(color)
    assert names == ("shape", "scale", "orientation", "x", "y", "hue")[: 5 + color]
    values = [range(sprites.FACTORS[name]) for name in names]
    assert sprites.count(color) == np.prod([len(v) for v in values])
    first = np.array(list(itertools.islice(itertools.product(*values), 3_000)))
    np.testing.assert_array_equal(sprites.factors_of(np.arange(3_000), color), first)
    last = sprites.factors_of(np.array([sprites.count(color) - 1]), color)
    np.testing.assert_array_equal(last[0], [len(v) - 1 for v in values])


@pytest.mark.parametrize("color", [False, True])
def test_splits_are_disjoint_and_look_like_the_whole(color: bool) -> None:
    found = {split: sprites.sample_indices(split, color) for split in ("train", "test")}
    assert {s: len(i) for s, i in found.items()} == {"train": 50_000, "test": 10_000}
    assert len(np.unique(np.concatenate(list(found.values())))) == 60_000
    for indices in found.values():
        for values in sprites.factors_of(indices, color).T:
            share = np.bincount(values) / len(values)
            k = len(share)
            assert abs(share - 1 / k).max() < 5 * np.sqrt((1 - 1 / k) / k / len(values))


def test_a_split_is_rendered_from_its_factors() -> None:
    x, factors = sprites.sprites("test", 16, True)
    assert x.shape == (10_000, 16, 16, 3)
    assert x.dtype == np.uint8
    assert factors.dtype == np.int32
    expected = sprites.factors_of(sprites.sample_indices("test", True), True)
    np.testing.assert_array_equal(factors, expected)
    for i in (0, 4_321, 9_999):  # alone as in a block of many
        np.testing.assert_array_equal(sprites.render(factors[i : i + 1], 16)[0], x[i])


def test_pictures_are_the_same_on_every_machine() -> None:
    """The digest was computed on x86-64; no cosine is so near a rounding that machines differ."""
    picked = np.arange(0, sprites.count(True), 99_991)
    x = sprites.render(sprites.factors_of(picked, True), 32)
    assert hashlib.sha256(x.tobytes()).hexdigest()[:16] == "37496d33fa74a359"
    angles = 2 * np.pi * np.arange(288) / 288
    for values in (np.cos(angles), np.sin(angles)):
        rest = np.abs(values * 1e6) % 1
        assert abs(rest - 0.5).min() > 1e-6


def test_the_largest_picture_fits_a_block() -> None:
    x = sprites.render(np.array([[1, 5, 0, *MIDDLE]] * 3, np.int32), 256)
    assert x.shape == (3, 256, 256, 1)
    assert (x == x[:1]).all()
    area = np.pi * (0.24 * 256) ** 2 / 2
    assert abs(x[0].sum() / 255 / area - 1) < 1e-3


def test_no_pictures() -> None:
    assert sprites.render(np.zeros((0, 6), np.int32), 16).shape == (0, 16, 16, 3)
    assert sprites.factors_of(np.zeros(0, np.int64), True).shape == (0, 6)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: sprites.render(np.zeros((1, 5), np.int32), 15), "15, must be 16 to 256 pixels"),
        (lambda: sprites.render(np.zeros((1, 5), np.int32), 257), "257, must be 16 to 256 pixels"),
        (lambda: sprites.render(np.zeros((1, 4), np.int32), 16), "5 factors, or 6"),
        (lambda: sprites.render(np.full((1, 5), 4, np.int32), 16), "'shape' .* must be 0 to 3"),
        (lambda: sprites.render(-np.eye(5, dtype=np.int32), 16), "'shape' .* must be 0 to 3"),
        (lambda: sprites.factors_of(np.array([147_456]), False), "must be within 0 to 147455"),
        (lambda: sprites.factors_of(np.array([-1]), True), "from -1 to -1"),
        (lambda: sprites.sample_indices("validation", True), "'validation' is unknown"),
    ],
)
def test_bad_input_is_refused_in_a_line(call, match) -> None:
    with pytest.raises(BadInput, match=match) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_labels_are_combinations_of_factors() -> None:
    plain = sources.load("sprites", size=16)
    both = sources.relabelled(plain, ("shape", "hue"))
    factors = plain.splits["test"].factors
    assert factors is not None
    expected = factors[:, 0] * 8 + factors[:, 5]
    np.testing.assert_array_equal(both.splits["test"].label, expected)
    assert both.classes[9] == "shape 1, hue 1"
    assert len(both.classes) == 32
    assert sources.identity(both, "unit")["sha256"] != sources.identity(plain, "unit")["sha256"]
    assert sources.relabelled(plain, ()) is plain
    with pytest.raises(
        BadInput, match=r"config.data.labels=\('colour',\): 'colour' must be in shape"
    ):
        sources.relabelled(plain, ("colour",))
