"""Features of sprites: what is done to images, what they tell apart, and what they do not."""

import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from untrained import OPTIONS, frechet, subject

from latentgen.core.errors import BadInput
from latentgen.data import sprites
from latentgen.evaluation import features
from latentgen.evaluation.features.sprites import resized
from latentgen.evaluation.measures import modes, samples
from latentgen.networks import pretrained

N = 1_000


def images(split: str, *, size: int = 32, color: bool = True, n: int = N) -> np.ndarray:
    index = sprites.sample_indices(split, color)[:n]
    return sprites.render(sprites.factors_of(index, color), size) / np.float32(255)


def blurred(x: np.ndarray) -> np.ndarray:
    """Means of 3x3 pixels, padded with black."""
    wide, side = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), x.shape[1]
    parts = [wide[:, i : i + side, j : j + side] for i in range(3) for j in range(3)]
    return np.mean(parts, axis=0, dtype=np.float32)


def of(x: np.ndarray) -> np.ndarray:
    return np.asarray(features.extractor("sprites", x.shape[1:], None).features(jnp.asarray(x)))


@pytest.mark.long
def test_noise_blur_other_colours_and_a_missing_shape_are_seen_and_mirror_images_are_not() -> None:
    real, train = of(images("test")), images("train")
    shape = sprites.factors_of(sprites.sample_indices("train", True)[:N], True)[:, 0]
    floor = frechet(real, of(train))
    noise = np.random.default_rng(0).random(train.shape, np.float32)
    assert frechet(real, of(noise)) > 100 * floor
    assert frechet(real, of(blurred(train))) > 3 * floor
    assert frechet(real, of(np.resize(train[shape != 3], train.shape))) > 3 * floor
    hue = sprites.factors_of(sprites.sample_indices("train", True)[:N], True)[:, 5]
    assert frechet(real, of(np.resize(train[hue != 3], train.shape))) > 3 * floor
    assert frechet(real, of(train[:, ::-1])) < 1.5 * floor


@pytest.mark.parametrize("side", [9, 50])
def test_images_are_resized_as_pillow_resizes_floats(side: int) -> None:
    x = np.random.default_rng(1).random((1, side, side + 4, 1), np.float32)
    picture = PIL.Image.fromarray(x[0, ..., 0]).resize((32, 32), PIL.Image.Resampling.BILINEAR)
    found = np.asarray(resized(jnp.asarray(x)))
    np.testing.assert_allclose(found[0, ..., 0], np.asarray(picture), atol=1e-5)
    assert not found[..., 1:].any()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((32, 32, 3), "as they are"),
        ((32, 32, 1), "grey shown in red"),
        ((8, 40, 3), "resized to 32x32 by antialiased bilinear interpolation"),
        (
            (64, 64, 1),
            "resized to 32x32 by antialiased bilinear interpolation, grey shown in red",
        ),
    ],
)
def test_what_is_done_to_images_is_told(shape: tuple, words: str) -> None:
    assert features.extractor("sprites", shape, None).stamp["images_are"] == words


@pytest.mark.parametrize(("size", "color"), [(32, True), (64, False)])
def test_shapes_are_told_at_other_sizes_and_in_grey(size: int, color: bool) -> None:
    x = images("test", size=size, color=color, n=400)
    label = sprites.factors_of(sprites.sample_indices("test", color)[:400], color)[:, 0]
    logits = features.extractor("sprites", x.shape[1:], None).logits
    assert logits is not None
    found = np.asarray(logits(jnp.asarray(x)))
    assert found.shape == (400, 1, 4)
    assert (found[:, 0].argmax(axis=1) == label).mean() > 0.97


def test_modes_of_sprites_are_their_four_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real images without a shape, in place of samples."""
    monkeypatch.setattr(modes, "IMAGES", 300)
    one = subject("gan", "nonsaturating", data__name="sprites")
    options = OPTIONS._replace(samples=300)
    modes.check(one, options)
    train = one.run.dataset.splits["train"]
    kept = train.x[np.flatnonzero(train.label != 2)[:300]] / np.float32(255)
    shown = samples.shown_by(one, options)
    one.memory["logits", "synthetic", 300] = np.asarray(shown.logits(jnp.asarray(kept)))
    found = modes.modes(one, options).values
    assert (found["captured_corrected"], found["of"]) == (3, 4)
    assert (found["real_captured_corrected"], found["removed_captured_corrected"]) == (4, 3)
    np.testing.assert_allclose(found["reverse_kl_corrected"], np.log(4 / 3), atol=0.03)
    with pytest.raises(BadInput, match="tells 10 classes of 3 planes; modes of sprites need 4"):
        modes.check(one, options._replace(features="digits"))


def test_of_other_data_the_default_tells_no_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "installed", lambda: False)
    one = subject("gan", "nonsaturating", data__name="sprites", data__size=16)
    run = one.run
    one = one._replace(run=run._replace(dataset=run.dataset._replace(name="icons")))
    assert samples.shown_by(one, OPTIONS).name == "sprites"
    for check in (samples.check_classes, modes.check):
        with pytest.raises(BadInput, match="'sprites' tells no"):
            check(one, OPTIONS)
    named = samples.shown_by(one._replace(memory={}), OPTIONS._replace(features="sprites"))
    assert named.logits is not None
