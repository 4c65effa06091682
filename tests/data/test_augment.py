"""Augmentation against NumPy on the same draws, and its draws against their distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from latentgen.core.errors import BadInput
from latentgen.data.augment import AUGMENT, augmentation
from latentgen.data.preprocess import PREPROCESS

KEY = jax.random.key(3)
UNIT, SIGNED = (PREPROCESS[name].range for name in ("unit", "signed"))
N = 400
ENTRIES = ("flip", "vflip", "rotate90", "crop:2", "color:0.3", "grey:0.5", "zoom:0.4")


def batch(n: int = 6, channels: int = 3, low: float = 0.0) -> jax.Array:
    """Images of 6 x 6 pixels in [low, 1], all different."""
    return jax.random.uniform(jax.random.key(7), (n, 6, 6, channels), minval=low)


def ramps(n: int = N) -> np.ndarray:
    """Copies of one image of 5 x 5 different values."""
    ramp = np.arange(25, dtype=np.float32).reshape(1, 5, 5, 1) / 25
    return np.repeat(ramp, n, axis=0)


def applied(*names: str, x, range=UNIT, key=KEY) -> np.ndarray:
    return np.asarray(jax.jit(augmentation(names, range))(x, key))


def draw_key(i: int, position: int = 0) -> jax.Array:
    """The key of image i for the entry at this position."""
    return jax.random.fold_in(jax.random.fold_in(KEY, i), position)


def counted(found: np.ndarray, outcomes: list[np.ndarray]) -> np.ndarray:
    """Count each outcome; every image is one of them."""
    hits = np.array([(found == outcome).all(axis=(1, 2, 3)) for outcome in outcomes])
    assert (hits.sum(axis=0) == 1).all()
    return hits.sum(axis=1)


OUTCOMES = {
    "flip": lambda x: [x, x[:, ::-1]],
    "vflip": lambda x: [x, x[::-1]],
    "rotate90": lambda x: [np.rot90(x, k) for k in range(4)],
    "crop:1": lambda x: [
        np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="reflect")[i : i + 5, j : j + 5]
        for i in range(3)
        for j in range(3)
    ],
}


@pytest.mark.parametrize("name", sorted(OUTCOMES))
def test_all_outcomes_are_equally_likely(name: str) -> None:
    x = ramps()
    counts = counted(applied(name, x=x), OUTCOMES[name](x[0]))
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("names", [("flip",), ("vflip", "rotate90"), ("rotate90", "flip")])
def test_mirrors_and_turns_keep_the_pixels(names: tuple[str, ...]) -> None:
    x = np.asarray(batch())
    found = applied(*names, x=x)
    assert (found != x).any()
    for before, after in zip(x, found, strict=True):
        pixels = [sorted(map(tuple, image.reshape(-1, 3).tolist())) for image in (before, after)]
        assert pixels[0] == pixels[1]


@pytest.mark.parametrize("interval", [UNIT, SIGNED])
@pytest.mark.parametrize("channels", [1, 3])
def test_colours_are_those_of_the_definition(interval, channels: int) -> None:
    low, high = interval
    x = np.asarray(batch(channels=channels, low=low))
    found = applied("color:0.8", x=x, range=interval)
    weights = np.array([0.299, 0.587, 0.114]) if channels == 3 else np.ones(1)
    for i, image in enumerate(x):
        y = (image - low) / (high - low)  # in [0, 1], as torchvision has it
        draws = jax.random.uniform(draw_key(i), (3,), minval=0.2, maxval=1.8)
        brightness, contrast, saturation = map(float, draws)
        y = np.clip(brightness * y, 0, 1)
        y = np.clip(contrast * y + (1 - contrast) * (y @ weights).mean(), 0, 1)
        y = np.clip(saturation * y + (1 - saturation) * (y @ weights)[..., None], 0, 1)
        np.testing.assert_allclose(found[i], low + (high - low) * y, atol=2e-6)
    assert found.min() >= low
    assert found.max() <= high


def test_factors_of_colour_are_uniform() -> None:
    x = np.full((N, 1, 1, 1), 0.25, np.float32)
    found = applied("color:0.5", x=x)  # of one pixel all but the brightness stays
    assert stats.kstest(found.ravel() / 0.25, stats.uniform(0.5, 1).cdf).pvalue > 1e-4


def test_a_zoom_is_a_window_enlarged() -> None:
    x = np.asarray(batch(channels=2))
    found = applied("zoom:0.5", x=x)
    for i, image in enumerate(x):
        side_key, place_key = jax.random.split(draw_key(i))
        side = float(jax.random.uniform(side_key, minval=0.5, maxval=1.0))
        corner = np.asarray(jax.random.uniform(place_key, (2,))) * (1 - side) * 6
        # pixel k has its centre at k + 1/2; beyond the outermost centres values stay
        rows, columns = (c + side * (np.arange(6) + 0.5) - 0.5 for c in corner)
        at = np.meshgrid(rows, columns, indexing="ij")
        for channel in range(2):
            expected = ndimage.map_coordinates(image[..., channel], at, order=1, mode="nearest")
            np.testing.assert_allclose(found[i, ..., channel], expected, atol=1e-5)


def test_windows_of_a_zoom_are_uniform() -> None:
    column = np.arange(5, dtype=np.float32) / 5
    x = np.broadcast_to(column.reshape(1, 1, 5, 1), (N, 5, 5, 1))
    found = applied("zoom:0.4", x=x)[:, 0, 1:4, 0].astype(float) * 5  # linear in the middle
    side = found[:, 2] - found[:, 1]
    assert stats.kstest(side, stats.uniform(0.6, 0.4).cdf).pvalue > 1e-4
    middle = found[:, 1] + 0.5
    place = (middle - 2.5 * side) / (5 * (1 - side))
    assert stats.kstest(place, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("interval", [UNIT, SIGNED])
def test_no_strength_changes_nothing(interval) -> None:
    x = batch(low=interval[0])
    for names in ((), ("color:0",), ("zoom:0",)):
        found = applied(*names, x=x, range=interval)
        np.testing.assert_allclose(found, x, atol=1e-6)
    np.testing.assert_array_equal(applied("color:0", x=x, range=interval), x)


def test_an_image_depends_on_the_key_and_its_index_alone() -> None:
    x = batch(8)
    whole = applied(*ENTRIES, x=x)
    np.testing.assert_array_equal(applied(*ENTRIES, x=x[:3]), whole[:3])
    others = x.at[1:].set(0.5)
    np.testing.assert_array_equal(applied(*ENTRIES, x=others)[0], whole[0])
    assert (applied(*ENTRIES, x=x, key=jax.random.key(4)) != whole).any(axis=(1, 2, 3)).all()


def test_entries_are_applied_from_left_to_right() -> None:
    """A mirrored ramp, padded, is not a padded ramp, mirrored, at the same offsets."""
    x = ramps(8)
    flipped = np.array(
        [
            image[:, ::-1] if jax.random.bernoulli(draw_key(i)) else image
            for i, image in enumerate(x)
        ]
    )
    expected = []
    for i, image in enumerate(flipped):
        top, left = jax.random.randint(draw_key(i, 1), (2,), 0, 5)
        wide = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        expected.append(wide[top : top + 5, left : left + 5])
    np.testing.assert_array_equal(applied("flip", "crop:2", x=x), expected)


def test_jit_vmap_and_scan_agree() -> None:
    x = jnp.stack([batch(), batch()[::-1]])
    keys = jax.random.split(KEY, 2)
    augment = augmentation(ENTRIES, UNIT)
    each = np.stack([jax.jit(augment)(*pair) for pair in zip(x, keys, strict=True)])
    mapped = jax.jit(jax.vmap(augment))(x, keys)
    _, scanned = jax.jit(lambda *a: jax.lax.scan(lambda c, a: (c, augment(*a)), 0, a))(x, keys)
    np.testing.assert_allclose(mapped, each, atol=1e-6)
    np.testing.assert_allclose(scanned, each, atol=1e-6)
    assert mapped.dtype == x.dtype


@pytest.mark.parametrize("name", ["flip:2", "crop", "crop:0", "crop:-1", "crop:1.5", "crop:x"])
def test_an_invalid_entry_is_refused_with_the_valid_forms(name: str) -> None:
    refused(
        (name,), UNIT, [f"({name!r},)", "invalid argument", *(a.form for a in AUGMENT.values())]
    )


def test_grey_is_luma_of_the_share_that_was_asked_for() -> None:
    x = np.random.default_rng(3).random((400, 1, 1, 3), np.float32)
    found = np.asarray(applied("grey:0.3", x=x))
    grey = np.repeat((x * np.array([0.299, 0.587, 0.114])).sum(-1, keepdims=True), 3, -1)
    is_grey = np.isclose(found, grey, atol=1e-6).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(found[~is_grey], x[~is_grey])
    assert abs(is_grey.mean() - 0.3) < 0.1  # four standard deviations


@pytest.mark.parametrize("name", ["color", "color:", "color:1.1", "color:nan", "zoom:1", "zoom:-1"])
def test_an_invalid_strength_is_refused(name: str) -> None:
    refused(("flip", name), UNIT, [repr(name), "S from 0 to"])


def test_an_unknown_entry_is_refused_with_the_closest() -> None:
    refused(("flip", "colour:0.1"), UNIT, ["'colour:0.1'", "did you mean 'color'?"])


def test_unbounded_data_are_refused() -> None:
    refused(("flip",), None, ["('flip',)", "bounded range", "Valid here: ()"])
    x = jnp.zeros((3, 2))
    assert augmentation((), None)(x, KEY) is x


def refused(names, range, words: list[str], shape: tuple[int, ...] = (2, 6, 6, 3)) -> None:
    with pytest.raises(BadInput, match=r"config\.data\.augment") as caught:
        jax.eval_shape(augmentation(names, range), jnp.zeros(shape), KEY)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("names", "shape", "words"),
    [
        (("flip",), (3, 2), ["('flip',)", "(n, h, w, c)", "(2,)"]),
        (("flip", "rotate90"), (2, 5, 6, 1), ["'rotate90'", "5 x 6"]),
        (("crop:5",), (2, 9, 5, 1), ["'crop:5'", "fewer than 5"]),
        (("color:0.1",), (2, 4, 4, 2), ["'color'", "1 or 3 channels, not 2"]),
    ],
)
def test_images_that_do_not_fit_are_refused_when_traced(names, shape, words) -> None:
    refused(names, UNIT, words, shape)


def test_a_crop_may_be_as_wide_as_a_reflection() -> None:
    assert applied("crop:4", x=ramps(2)).shape == (2, 5, 5, 1)
