import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from latentgen.core.errors import BadInput
from latentgen.data.preprocess import PREPROCESS, SQUEEZE, preprocess_for

KEY = jax.random.key(1)
RAMP = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)


def test_closed_forms():
    v = np.arange(256).reshape(RAMP.shape)
    expected = {"unit": v / 255, "signed": 2 * v / 255 - 1, "threshold": v / 255 > 0.5}
    for name, x in expected.items():
        got = PREPROCESS[name].forward(RAMP, KEY)
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, x, atol=1e-6)


def test_binarize_draws_anew_with_the_right_means():
    n = 4000
    keys = jax.random.split(KEY, n)
    x = np.asarray(jax.jit(jax.vmap(lambda k: PREPROCESS["binarize"].forward(RAMP, k)))(keys))
    assert set(np.unique(x)) == {0.0, 1.0}
    p = np.arange(256) / 255
    mean = x.reshape(n, 256).mean(axis=0)
    assert mean[0] == 0
    assert mean[255] == 1
    z = (mean - p)[1:255] / np.sqrt(p * (1 - p) / n)[1:255]
    assert np.abs(z).max() < 4.5
    assert 0.8 < z.std() < 1.2


def test_dequantize_is_uniform_within_each_grey_value():
    raw = jnp.full((50, 20, 20, 1), 255, jnp.uint8)
    x = np.asarray(PREPROCESS["dequantize"].forward(raw, KEY), np.float64)
    u = (256 * x - 255).ravel()
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-4
    ramp = np.asarray(PREPROCESS["dequantize"].forward(RAMP, KEY), np.float64)
    np.testing.assert_array_equal(np.floor(256 * ramp), np.asarray(RAMP))


def test_logit_is_the_logit_of_the_squeezed_dequantized():
    y = np.asarray(PREPROCESS["dequantize"].forward(RAMP, KEY), np.float64)
    p = SQUEEZE + (1 - 2 * SQUEEZE) * y
    got = PREPROCESS["logit"].forward(RAMP, KEY)
    np.testing.assert_allclose(got, np.log(p / (1 - p)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(PREPROCESS) - {"none"}))
def test_pixels_invert_forward(name):
    preprocess = PREPROCESS[name]
    x = preprocess.forward(RAMP, KEY)
    pixels = preprocess.pixels(x)
    assert x.dtype == pixels.dtype == jnp.float32
    assert x.shape == pixels.shape == RAMP.shape
    # binary ones lose grey values; dequantized ones are off by the noise of 1/256
    tolerance = {"binarize": 1, "threshold": 0.5}.get(name, 1 / 256 + 1e-6)
    assert jnp.abs(pixels - RAMP / 255).max() <= tolerance
    wild = preprocess.pixels(jnp.linspace(-20, 20, 9))
    assert wild.min() == 0
    assert wild.max() == 1
    if preprocess.range:
        low, high = preprocess.range
        assert x.min() >= low
        assert x.max() <= high


@pytest.mark.parametrize("name", sorted(PREPROCESS))
def test_pure_and_traceable(name):
    rows = jnp.ones((3, 5, 2)) if name == "none" else jnp.stack([RAMP, 255 - RAMP, RAMP])
    raw = rows[0]
    forward = PREPROCESS[name].forward
    once = forward(raw, KEY)
    np.testing.assert_array_equal(once, forward(raw, KEY))
    # fused arithmetic may round once less
    jitted = jax.jit(forward)
    np.testing.assert_allclose(once, jitted(raw, KEY), rtol=1e-4, atol=2e-6)
    keys = jax.random.split(KEY, len(rows))
    each = np.stack([jitted(r, k) for r, k in zip(rows, keys, strict=True)])
    np.testing.assert_array_equal(jax.jit(jax.vmap(forward))(rows, keys), each)
    random = name in ("binarize", "dequantize", "signed_dequantize", "logit")
    assert random == bool((once != forward(raw, jax.random.key(2))).any())


@pytest.mark.parametrize(
    ("name", "dtype", "match"),
    [
        ("none", np.uint8, "does not fit images"),
        ("unit", np.float32, "does not fit points. Valid: none"),
        ("binarise", np.uint8, "did you mean 'binarize'"),
    ],
)
def test_a_preprocessing_that_does_not_fit(name, dtype, match):
    with pytest.raises(BadInput, match=match) as caught:
        preprocess_for(name, np.dtype(dtype))
    assert "config.data.preprocess" in str(caught.value)
    assert "\n" not in str(caught.value)
