"""Measures of samples, against the published formula and the classifiers' own cards."""

import hashlib
import json
import runpy
from importlib import resources
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from untrained import frechet

from latentgen.core.errors import BadInput
from latentgen.core.keys import run_key
from latentgen.data import sources
from latentgen.evaluation import features
from latentgen.evaluation.measures import modes, samples
from latentgen.evaluation.measures.subject import Options, Subject
from latentgen.training import setup

OPTIONS = Options(0, None, 1, 1, 2, 1, None, None, None, None)
CLASSIFIERS = Path(str(resources.files("latentgen.evaluation"))) / "classifiers"
ROOT = Path(__file__).parents[2]


def subject(config: str, variant: str, *, seed: int = 0) -> Subject:
    """A run that has not been trained."""
    found = runpy.run_path(str(ROOT / "experiments" / f"{config}.py"))["get_config"](variant)
    run = setup.load(Path("nowhere"), json.loads(json.dumps(found.to_dict())), None, None)
    return Subject(run, 0, jax.jit(run.method.init)(run_key(seed)), "test", {})


def through(seen: features.Extractor, x: np.ndarray) -> np.ndarray:
    return np.concatenate([np.asarray(seen.features(jnp.asarray(x[i : i + 77]))) for i in
                           range(0, len(x), 77)])  # fmt: skip


def test_frechet_distance_and_floor_are_the_formulas_of_the_features_of_pixels() -> None:
    one = subject("gan", "nonsaturating")
    result = samples.frechet(one, OPTIONS._replace(samples=150))
    splits = one.run.dataset.splits
    seen = features.extractor("digits", (8, 8, 1), None)
    real, train = (through(seen, splits[s].x[:n] / np.float32(255)) for s, n in
                   (("test", None), ("train", 150)))  # fmt: skip
    synthetic = through(seen, samples.synthetic(one, OPTIONS, 150))
    np.testing.assert_allclose(
        result.values["frechet_distance"], frechet(real, synthetic), rtol=1e-5
    )
    np.testing.assert_allclose(result.values["floor"], frechet(real, train), rtol=1e-5)
    assert result.protocol["real"] == 200
    assert result.protocol["synthetic"] == 150
    assert result.protocol["floor_of"] == "150 training examples"
    assert result.protocol["features"] == "digits"
    # Noise from a generator that has not learned is far from digits, and digits are near.
    assert result.values["frechet_distance"] > 10 * result.values["floor"]


def test_what_one_measure_computed_serves_the_next() -> None:
    one, shown = subject("gan", "nonsaturating"), []
    options = OPTIONS._replace(samples=120)
    extractor = samples.shown_by(one, options)

    def counted(x: jax.Array) -> jax.Array:
        shown.append(len(x))
        return extractor.features(x)

    one.memory["extractor", "digits"] = extractor._replace(features=counted)
    first = samples.frechet(one, options)
    before = len(shown)
    assert samples.kernel(one, options).protocol.items() > first.protocol.items()
    assert samples.prdc(one, options).values["precision"] <= 1
    assert len(shown) == before > 0
    samples.frechet(one, options._replace(samples=130))
    assert len(shown) > before


def test_images_of_the_data_have_all_modes_and_noise_has_few() -> None:
    one = subject("gan", "nonsaturating")
    real = one.run.dataset.splits["train"].x[:1_000] / np.float32(255)
    shown = samples.shown_by(one, OPTIONS)
    one.memory["logits", "synthetic", 1_000] = np.asarray(shown.logits(jnp.asarray(real)))
    found = modes.modes(one, OPTIONS._replace(samples=1_000)).values
    assert (found["captured"], found["of"]) == (10, 10)
    assert found["captured_corrected"] == 10
    assert found["reverse_kl"] < 0.02
    # What stands beside it: real test images, the same without a class, noise.
    assert found["real_captured_corrected"] == 10
    assert found["removed_captured_corrected"] == 9
    np.testing.assert_allclose(found["removed_reverse_kl_corrected"], np.log(10 / 9), atol=0.03)
    assert found["noise_confident"] < 0.5 < 0.9 < found["real_confident"]
    noise = modes.modes(subject("gan", "nonsaturating"), OPTIONS._replace(samples=500)).values
    assert noise["reverse_kl"] > 0.5


@pytest.mark.long
@pytest.mark.parametrize("planes", [1, 3])
def test_modes_of_fashion_without_classes_are_those_that_are_left(
    planes: int, fashion_mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real test images in place of samples; raw counts give ten and nearly a thousand."""
    monkeypatch.setattr(modes, "IMAGES", 4_000)
    config = runpy.run_path(str(ROOT / "experiments" / "gan.py"))["get_config"]("stacked").to_dict()
    config["data"] |= {"name": "stacked_fashion_mnist" if planes == 3 else "fashion_mnist"}
    run = setup.load(Path("nowhere"), json.loads(json.dumps(config)), None, str(fashion_mnist))
    one = Subject(run, 0, None, "test", {})
    plain = sources.load("fashion_mnist", manual_dir=fashion_mnist).splits["test"]
    seen = features.extractor("fashion_mnist", plain.x.shape[1:], None)
    blocks = (plain.x[i : i + 500] / np.float32(255) for i in range(0, 10_000, 500))
    logits = np.concatenate([np.asarray(seen.logits(jnp.asarray(x)))[:, 0] for x in blocks])
    rng, number = np.random.default_rng(0), 26_000 if planes == 3 else 10_000
    for removed in ((6,), (0, 2, 4, 6, 9)) if planes == 1 else ((6,),):
        those = np.flatnonzero(~np.isin(plain.label, removed))
        one.memory["logits", "synthetic", number] = logits[rng.choice(those, (number, planes))]
        values = modes.modes(one, OPTIONS._replace(samples=number)).values
        left = (10 - len(removed)) ** planes
        assert values["captured"] == 10 if planes == 1 else values["captured"] > 1.3 * left
        low, high = (values[f"captured_corrected_{end}"] for end in ("low", "high"))
        assert low - 0.01 * left <= left <= high + 0.01 * left
        assert abs(values["captured_corrected"] - left) <= 0.05 * left
        true = planes * np.log(10 / (10 - len(removed)))
        assert abs(values["reverse_kl_corrected"] - true) < (0.05 if planes == 1 else 0.15)


def test_points_of_the_ring_have_modes_quality_and_a_picture() -> None:
    one = subject("gan", "ring")
    one.memory["synthetic", 2_000] = one.run.dataset.splits["validation"].x[:2_000]
    found = modes.modes(one, OPTIONS._replace(samples=2_000))
    assert (found.values["captured"], found.values["of"]) == (8, 8)
    assert abs(found.values["high_quality"] - (1 - np.exp(-4.5))) < 0.01
    assert found.values["reverse_kl"] < 0.01
    assert found.picture is not None
    assert found.picture.shape == (400, 400, 3)
    one.memory["synthetic", 2_000] = np.zeros((2_000, 2), np.float32)  # the middle of the ring
    nothing = modes.modes(one, OPTIONS._replace(samples=2_000)).values
    assert (nothing["captured"], nothing["high_quality"]) == (0, 0.0)


def test_stacked_digits_are_told_plane_by_plane() -> None:
    test = sources.load("stacked_digits").splits["test"]
    seen = features.extractor("digits", (8, 8, 3), None)
    logits = np.asarray(seen.logits(jnp.asarray(test.x / np.float32(255))))
    assert logits.shape == (200, 3, 10)
    mode = logits.argmax(axis=-1) @ np.array([100, 10, 1])
    assert (mode == test.label).mean() > 0.95
    assert seen.features(jnp.asarray(test.x[:5] / np.float32(255))).shape == (5, 3 * 64)


def test_images_with_black_around_them_are_cut_back() -> None:
    plain = sources.load("digits").splits["test"].x[:20] / np.float32(255)
    wide = np.pad(plain, ((0, 0), (2, 2), (2, 2), (0, 0)))
    a, b = (features.extractor("digits", x.shape[1:], None) for x in (plain, wide))
    np.testing.assert_array_equal(a.features(jnp.asarray(plain)), b.features(jnp.asarray(wide)))
    assert "cut to 8x8" in b.stamp["images_are"]


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n == "digits" else [pytest.mark.long]) for n in features.SHIPPED],
)
def test_a_shipped_classifier_is_what_its_card_says(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    where = {}
    if name == "fashion_mnist":
        manual = request.getfixturevalue("fashion_mnist")
        where = {"manual_dir": manual, "data_dir": tmp_path}
    card = json.loads((CLASSIFIERS / name / features.CARD).read_text())
    weights = (CLASSIFIERS / name / features.WEIGHTS).read_bytes()
    assert hashlib.sha256(weights).hexdigest() == card["sha256"]
    assert len(weights) < 2**20
    labels = card["config"]["data"].get("labels", ())
    dataset = sources.relabelled(sources.load(name, **where), labels)
    assert sources.identity(dataset, "unit")["sha256"] == card["data"]["sha256"]
    # The folder's own classes: of sprites, `--features=sprites` sums over hues.
    seen = features.extractor(str(CLASSIFIERS / name), dataset.shape, None)
    test = dataset.splits["test"]
    blocks = range(0, len(test.label), 500)
    assert seen.logits is not None
    logits = [seen.logits(jnp.asarray(test.x[i : i + 500] / np.float32(255))) for i in blocks]
    found = np.concatenate([np.asarray(each[:, 0].argmax(axis=1)) for each in logits])
    np.testing.assert_allclose((found == test.label).mean(), card["test_accuracy"], atol=5e-4)


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("digit", (8, 8, 1), "digits"),
        ("inception", (8, 8, 1), "--inception_weights"),
        ("fashion_mnist", (8, 8, 1), "28x28x1"),
        ("digits", (2,), "pixels"),
        ("sprites", (7, 40, 3), "from 8x8; these are of 7x40x3"),
        ("sprites", (8, 8, 2), "1 or 3 channels"),
    ],
)
def test_features_that_do_not_fit_are_refused(name: str, shape: tuple, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        features.extractor(name, shape, None)


def test_pixels_tell_no_modes_and_no_score() -> None:
    one = subject("gan", "nonsaturating")
    options = OPTIONS._replace(features="pixels")
    for check in (samples.check_classes, modes.check):
        with pytest.raises(BadInput, match="pixels"):
            check(one, options)
