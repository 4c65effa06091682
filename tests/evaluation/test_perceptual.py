"""Features of networks of ImageNet and LPIPS of reconstructions, by a network of two stages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from untrained import OPTIONS, subject

from latentgen.core.errors import BadInput
from latentgen.core.keys import named_key
from latentgen.evaluation import features
from latentgen.evaluation.features import imagenet as imagenet_features
from latentgen.evaluation.measures import MEASURES, perceptual
from latentgen.evaluation.measures.results import lines
from latentgen.evaluation.measures.subject import Subject, evaluation_key
from latentgen.metrics.lpips import lpips
from latentgen.networks import imagenet, pretrained
from latentgen.networks.imagenet import Network, Stage

TINY = Network("alexnet", (Stage(4, stride=2), Stage(3, pool=2)), least=12)


def weights(name: str) -> pretrained.Pretrained:
    rng, params = np.random.default_rng(0), {}
    for key, shape in imagenet.shapes(TINY).items():
        layer, _, kind = key.partition("/")
        params.setdefault(layer, {})[kind] = rng.normal(size=shape).astype(np.float32)
    linear = [np.linspace(0, 1, s.features).astype(np.float32) for s in TINY.stages]
    return pretrained.Pretrained(params, linear, f"{name}-sha256-of-the-file")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two-stage network under both names, and batches smaller than a split."""
    for name in imagenet.NETWORKS:
        monkeypatch.setitem(imagenet.NETWORKS, name, TINY._replace(name=name))
    monkeypatch.setattr(pretrained, "load", weights)
    monkeypatch.setattr(perceptual, "AT_ONCE", 3)
    monkeypatch.setattr(imagenet_features, "AT_ONCE", 3)


@pytest.fixture(scope="module")
def vae() -> Subject:
    return subject("vae", "digits")


def layers(x: np.ndarray) -> list[jax.Array]:
    return imagenet.activations(TINY, weights("alexnet").params, jnp.asarray(x, jnp.float32))


def test_features_are_the_last_layers_averages_whatever_the_batch() -> None:
    x = np.random.default_rng(1).uniform(size=(5, 8, 8, 1)).astype(np.float32)
    found = features.extractor("vgg16", (8, 8, 1), None)
    expected = layers(np.tile(x, 3))[-1].mean(axis=(1, 2))
    np.testing.assert_allclose(found.features(jnp.asarray(x)), expected, rtol=1e-5)
    assert found.logits is None
    assert found.stamp == {
        "features": "vgg16",
        "features_sha256": "vgg16-sha256-of-",
        "images_are": "clipped to [0, 1], enlarged to 12x12 by bilinear interpolation, "
        "grey repeated to RGB, normalized by ImageNet's mean and std",
    }
    assert features.extractor("alexnet", (12, 16, 3), None).images == (
        "clipped to [0, 1], normalized by ImageNet's mean and std"
    )


def test_images_of_other_channels_and_points_are_refused() -> None:
    with pytest.raises(BadInput, match="vgg16 takes images of 1 or 3 channels; these have 2"):
        features.extractor("vgg16", (8, 8, 2), None)
    with pytest.raises(BadInput, match="must be 'pixels' for points"):
        features.extractor("alexnet", (2,), None)


@pytest.mark.parametrize(
    ("data", "shape", "there", "expected"),
    [
        ("digits", (8, 8, 1), True, "digits"),
        ("stacked_fashion_mnist", (28, 28, 3), True, "fashion_mnist"),
        ("cifar10", (32, 32, 3), True, "vgg16"),
        ("cifar10", (32, 32, 3), False, "sprites"),
        ("icons", (7, 40, 3), False, "pixels"),
        ("stacked_mnist", (28, 28, 3), False, "pixels"),
        ("stacked_mnist", (28, 28, 3), True, "vgg16"),
        ("sprites", (64, 64, 3), True, "sprites"),
        ("sprites", (16, 16, 1), False, "sprites"),
        ("mnist", (28, 28, 1), True, "pixels"),
        ("ring", (2,), True, "pixels"),
    ],
)
def test_the_default_fits_the_data(
    data: str, shape: tuple, there: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "installed", lambda: there)
    assert features.default(data, shape) == expected


def test_lpips_is_the_mean_over_images_and_over_pairs_of_images(vae: Subject) -> None:
    """Use 7 images in batches of 3: the last one is padded, and the padding does not count."""
    options = OPTIONS._replace(images=7)
    result = perceptual.lpips(vae, options)
    run, examples = vae.run, vae.examples
    x = np.asarray(examples.x[:7]) / np.float32(255)
    codes = run.method.probes["encode"](vae.state, jnp.asarray(x), jnp.asarray(examples.label[:7]))
    y = run.experiment.data.preprocess.pixels(run.method.probes["decode"](vae.state, codes))
    linear = weights("alexnet").linear
    expected = np.asarray(lpips(layers(x), layers(y), linear))
    found = result.values["lpips"]
    np.testing.assert_allclose(found["mean"], expected.mean(), rtol=1e-4)
    np.testing.assert_allclose(
        found["standard_error"], expected.std(ddof=1) / np.sqrt(7), rtol=1e-3
    )
    order = np.asarray(jax.random.permutation(named_key(evaluation_key(options), "pairs"), 7))
    pairs = lpips(layers(x[order]), layers(x[np.roll(order, -1)]), linear)
    np.testing.assert_allclose(result.values["another_lpips"], pairs.mean(), rtol=1e-4)
    assert "another real image" in lines(result.values)[0]
    assert result.protocol["images"] == 7
    assert result.protocol["network"] == "alexnet"
    assert "enlarged to 12x12" in result.protocol["images_are"]


def test_perfect_reconstructions_are_at_0_and_other_images_are_not(vae: Subject) -> None:
    fns = vae.run.eval_fns._replace(reconstruct=lambda state, batch: batch.x)
    perfect = vae._replace(run=vae.run._replace(eval_fns=fns))
    found = perceptual.lpips(perfect, OPTIONS._replace(images=4, features="vgg16"))
    assert found.values["lpips"]["mean"] == 0
    assert found.values["another_lpips"] > 0.01
    assert found.protocol["network"] == "vgg16"


def test_runs_without_reconstructions_and_single_images_are_refused(vae: Subject) -> None:
    check = MEASURES["lpips"].check
    check(vae, OPTIONS)
    with pytest.raises(BadInput, match="no 'encode'"):
        check(subject("gan", "nonsaturating"), OPTIONS)
    with pytest.raises(BadInput, match="--images=1 must be at least 2"):
        check(vae, OPTIONS._replace(images=1))


def test_diverged_reconstructions_are_no_distance(vae: Subject) -> None:
    fns = vae.run.eval_fns._replace(reconstruct=lambda state, batch: batch.x * jnp.nan)
    diverged = vae._replace(run=vae.run._replace(eval_fns=fns))
    with pytest.raises(BadInput, match="the run has diverged"):
        perceptual.lpips(diverged, OPTIONS._replace(images=4))


@pytest.mark.long
def test_by_the_published_weights_dimmed_digits_are_nearer_than_others(
    vae: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference.lpips()
    monkeypatch.undo()
    dimmed = vae.run.eval_fns._replace(reconstruct=lambda state, batch: 0.9 * batch.x)
    found = perceptual.lpips(
        vae._replace(run=vae.run._replace(eval_fns=dimmed)), OPTIONS._replace(images=20)
    )
    assert 0 < found.values["lpips"]["mean"] < 0.5 * found.values["another_lpips"]
