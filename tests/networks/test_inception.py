"""The network of FID against torch-fidelity's, with the same random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from latentgen.core.errors import BadInput
from latentgen.networks import inception

SIZES = [(32, 32), (40, 24)]
inception_jit = jax.jit(inception.inception)


def images(height: int, width: int) -> np.ndarray:
    """Noise, and a coloured blot that fades: 0 ... 255."""
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3))
    away = np.hypot(*np.meshgrid(np.linspace(-1, 1, width), np.linspace(-0.5, 2, height)))
    blot = 255 * np.exp(-away)[:, :, None] * np.array([[[1.0, 0.6, 0.2]]])
    return np.stack([noise, blot]).astype(np.uint8)


@pytest.fixture(scope="module")
def theirs():
    """Their network with random weights.

    Each batch norm remembers the statistics of other images under these very weights, so that
    features neither vanish nor explode through the layers. A tenth of the channels has a small
    variance, which makes the norm's epsilon show.
    """
    torch = reference.torch()
    module = reference.fidelity("feature_extractor_inceptionv3")
    network_of = module.FeatureExtractorInceptionV3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "load_state_dict_from_url", lambda *args, **kwargs: {})
        patch.setattr(network_of, "load_state_dict", lambda *args, **kwargs: None)
        network = network_of("random", ["2048", "logits_unbiased"])
    rng = np.random.default_rng(0)
    blocks = [m for m in network.modules() if isinstance(m, module.BasicConv2d)]
    assert len(blocks) == 94
    with torch.no_grad():
        for block in blocks:
            count = len(block.bn.bias)
            kernel = rng.standard_normal(block.conv.weight.shape, np.float32)
            kernel *= rng.choice([1, 0.1], (count, 1, 1, 1), p=[0.9, 0.1]) / kernel[0].size ** 0.5
            block.conv.weight.copy_(torch.tensor(kernel))
            block.bn.weight.copy_(torch.tensor(rng.uniform(0.5, 1.5, count)))
            block.bn.bias.copy_(torch.tensor(rng.normal(0.5, 0.3, count)))
            block.bn.momentum = 1.0
        network.fc.weight.copy_(torch.tensor(rng.normal(0, 2048**-0.5, (1008, 2048))))
        network.train()
        some = images(48, 48)
        network(channels_first(np.concatenate([some, 255 - some])))
    return network.eval()


@pytest.fixture(scope="module")
def state(theirs):
    return {name: x.numpy() for name, x in theirs.state_dict().items()}


def channels_first(raw):
    return reference.torch().from_numpy(raw).permute(0, 3, 1, 2)


def assert_close(found, expected):
    """To 1e-4 of the numbers' size, which is of order 1, as is the difference of the two images."""
    size = np.sqrt(np.mean(expected**2))
    assert 0.3 < size < 3
    assert np.sqrt(np.mean((expected[0] - expected[1]) ** 2)) > 0.2 * size
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * min(size, 1))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.quick(1)
def test_features_are_theirs(theirs, state, size):
    raw = images(*size)
    pooled, logits = theirs(channels_first(raw))
    found = inception_jit(inception.from_torch(state), raw.astype(np.float32) / 255)
    assert_close(found.pooled, pooled.numpy())
    assert_close(found.logits, logits.numpy())


@pytest.mark.parametrize(
    ("before", "after"),
    [((32, 32), (299, 299)), ((13, 46), (299, 299)), ((1, 2), (7, 5)), ((640, 301), (299, 299))],
)
def test_the_interpolation_is_theirs(before, after):
    torch = reference.torch()
    theirs = reference.fidelity("interpolate_compat_tensorflow")
    x = np.random.default_rng(0).uniform(size=before).astype(np.float32)
    expected = theirs.interpolate_bilinear_2d_like_tensorflow1x(
        torch.from_numpy(x)[None, None], size=after, align_corners=False
    )
    rows, columns = (inception.resize_matrix(*pair) for pair in zip(before, after, strict=True))
    np.testing.assert_allclose(rows @ x @ columns.T, expected[0, 0], rtol=0, atol=1e-6)


def test_pixels_become_whole_numbers_as_in_a_file():
    params = inception.init(jax.random.key(0))
    raw = images(32, 32).astype(np.float32)
    off = np.random.default_rng(0).uniform(-0.4, 0.4, raw.shape).astype(np.float32)
    expected = inception_jit(params, raw / 255)
    np.testing.assert_array_equal(inception_jit(params, (raw + off) / 255).pooled, expected.pooled)
    beyond = np.where(raw < 9, -1, np.where(raw > 246, 2, raw / 255)).astype(np.float32)
    assert not np.array_equal(inception_jit(params, beyond).pooled, expected.pooled)
    clipped = inception_jit(params, beyond.clip(0, 1))
    np.testing.assert_array_equal(inception_jit(params, beyond).pooled, clipped.pooled)


def test_grey_is_three_equal_colours():
    params = inception.init(jax.random.key(0))
    grey = images(32, 32)[..., :1].astype(np.float32) / 255
    found, expected = inception_jit(params, grey), inception_jit(params, np.tile(grey, 3))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
        assert np.abs(b[0] - b[1]).max() > 1e-2


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(BadInput, match="1 or 3 channels; these have 2"):
        inception.inception({}, jnp.zeros((1, 8, 8, 2)))


def test_random_parameters_are_those_of_the_network(state):
    params = inception.init(jax.random.key(0))
    assert inception.checked(params) is params
    shapes = jax.tree.map(jnp.shape, params)
    assert shapes == jax.tree.map(jnp.shape, inception.from_torch(state))
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    again, other = inception.init(jax.random.key(0)), inception.init(jax.random.key(1))
    assert jax.tree.all(jax.tree.map(np.array_equal, params, again))
    different = jax.tree.map(lambda a, b: not np.array_equal(a, b), params, other)
    assert jax.tree.all(different)


@pytest.mark.parametrize(
    "name", ["Conv2d_1a_3x3.bn.running_var", "Mixed_7c.branch3x3_2b.conv.weight", "fc.weight"]
)
def test_a_wrong_tensor_is_refused_by_its_name(state, name):
    without = {key: x for key, x in state.items() if key != name}
    with pytest.raises(BadInput, match=f"lack '{name}'"):
        inception.from_torch(without)
    with pytest.raises(
        BadInput, match=rf"'{name}' must be \({len(state[name])},.*\), not \(2, 5\)"
    ):
        inception.from_torch(state | {name: np.zeros((2, 5), np.float32)})


def test_tensors_without_a_part_may_be_missing(state):
    few = {key: x for key, x in state.items() if "tracked" not in key and key != "fc.bias"}
    assert len(few) < len(state) - 90
    inception.from_torch(few)


def test_a_wrong_array_is_refused_by_its_path():
    params = inception.init(jax.random.key(0))
    params["batch_stats"]["Mixed_6b"]["branch_pool"]["bn"]["mean"] = jnp.zeros(7)
    path = "batch_stats/Mixed_6b/branch_pool/bn/mean"
    with pytest.raises(BadInput, match=rf"'{path}' must be \(192,\), not \(7,\)"):
        inception.checked(params)
    del params["batch_stats"]["Mixed_6b"]["branch_pool"]
    with pytest.raises(BadInput, match=f"lack '{path}'"):
        inception.checked(params)
