"""Resampling by [1, 3, 3, 1] against SciPy's upfirdn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import upfirdn

from latentgen.networks.resample import blur, downsample, upsample

TAPS = np.array([1.0, 3.0, 3.0, 1.0])
X = np.random.default_rng(0).normal(size=(2, 6, 4, 3))


def both_ways(x, taps, up=1, down=1, first=0, size=lambda n: n):
    """Rows and columns, from the output `first` of the zero-padded filter on."""
    for axis in (1, 2):
        n = size(x.shape[axis])
        y = upfirdn(taps, x, up, 1, axis=axis)
        x = np.take(y, first + down * np.arange(n), axis=axis)
    return x


@pytest.mark.parametrize("pad", [1, 2])
def test_blur(pad):
    found = blur(jnp.asarray(X, jnp.float32), pad, gain=4.0)
    expected = both_ways(X, TAPS / 4, first=3 - pad, size=lambda n: n + 2 * pad - 3)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_twice_and_half_the_size():
    x = jnp.asarray(X, jnp.float32)
    twice = both_ways(X, TAPS / 4, up=2, first=1, size=lambda n: 2 * n)
    half = both_ways(X, TAPS / 8, down=2, first=2, size=lambda n: n // 2)
    np.testing.assert_allclose(upsample(x), twice, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(downsample(x), half, rtol=1e-5, atol=1e-6)


def test_each_is_a_quarter_or_four_times_the_others_transpose():
    x, y = jnp.ones((1, 4, 4, 1)), jnp.asarray(X[:1, :2, :2, :1], jnp.float32)
    (back,) = jax.linear_transpose(downsample, x)(y)
    np.testing.assert_allclose(4 * back, upsample(y), rtol=1e-6)
