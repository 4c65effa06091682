"""The inception score against torch-fidelity, the published formula and exact cases."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.special
import scipy.stats

from latentgen.core.errors import BadInput
from latentgen.metrics.inception_score import inception_score, merge, score_sums

PRECISIONS = [(np.float32, 1e-5), (np.float64, 1e-12)]


def logits(n, c, scale):
    x = scale * np.random.default_rng(0).normal(size=(n, c))
    return x.astype(np.float32).astype(np.float64)


def score(x, dtype, batch=None):
    """Under jit, in `dtype` alone, gathered in batches."""
    with jax.enable_x64(dtype == np.float64):
        x = jnp.asarray(x, dtype)
        batch = batch or len(x)
        parts = [jax.jit(score_sums)(x[i : i + batch]) for i in range(0, len(x), batch)]
        found = jax.jit(inception_score)(functools.reduce(jax.jit(merge), parts))
        assert found.dtype == dtype
        return float(found)


@pytest.mark.parametrize(("dtype", "rtol"), PRECISIONS)
@pytest.mark.parametrize("scale", [0.1, 2.0, 20.0])
@pytest.mark.parametrize(("n", "c"), [(700, 10), (300, 1008)])
def test_it_is_torch_fidelitys(n, c, scale, dtype, rtol) -> None:
    torch, isc = reference.torch(), reference.fidelity("metric_isc")
    x = logits(n, c, scale)
    expected = isc.isc_features_to_metric(torch.from_numpy(x), splits=1, shuffle=False)
    np.testing.assert_allclose(score(x, dtype), expected[isc.KEY_METRIC_ISC_MEAN], rtol=rtol)


@pytest.mark.parametrize(("dtype", "rtol"), PRECISIONS)
def test_it_is_the_published_formula(dtype, rtol) -> None:
    """exp of the mean of SciPy's KL(p(y|x) || p(y))."""
    x = logits(200, 12, 3.0)
    p = scipy.special.softmax(x, axis=1)
    divergence = [scipy.stats.entropy(one, p.mean(axis=0)) for one in p]
    np.testing.assert_allclose(score(x, dtype), np.exp(np.mean(divergence)), rtol=rtol)


@pytest.mark.parametrize(("dtype", "rtol"), PRECISIONS)
@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_batches_change_nothing(batch, dtype, rtol) -> None:
    """1,100 samples: all but the first size leave an uneven last batch."""
    x = logits(1100, 10, 2.0)
    np.testing.assert_allclose(score(x, dtype, batch), score(x, np.float64), rtol=rtol)


@pytest.mark.usefixtures("x64")
def test_the_order_of_merging_changes_nothing() -> None:
    x = logits(60, 5, 2.0)
    parts = [score_sums(jnp.asarray(part)) for part in np.split(x, [3, 3, 30])]
    expected = score_sums(jnp.asarray(x))
    assert expected.n == 60
    for first, second, third, fourth in itertools.permutations(parts):
        for found in (
            merge(merge(merge(first, second), third), fourth),
            merge(merge(first, second), merge(third, fourth)),
        ):
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), found, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sure", [100.0, 1e4, 3e38])
@pytest.mark.parametrize("sign", [0, -1])
def test_sure_of_each_class_equally_often_is_the_number_of_classes(sign, sure, dtype) -> None:
    """Logits up to the largest that float32 holds, of 0 and more or of both signs."""
    x = np.tile(np.where(np.eye(7) == 1, sure, sign * sure), (30, 1))
    np.testing.assert_allclose(score(x, dtype), 7, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_of_unequal_classes_it_is_the_exponential_of_their_entropy(dtype) -> None:
    """One class of four never occurs."""
    x = 1e4 * np.eye(4)[np.repeat([0, 1, 3], [50, 30, 20])]
    expected = np.exp(scipy.stats.entropy([0.5, 0.3, 0.2]))
    np.testing.assert_allclose(score(x, dtype), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("at", [0.0, 1e6, -1e6])
def test_samples_all_alike_score_1(at, dtype) -> None:
    x = np.tile(at + np.array([0.0, 1.0, -2.0, 0.5]), (50, 1))
    np.testing.assert_allclose(score(x, dtype), 1, rtol=1e-6)
    np.testing.assert_allclose(score(np.full((50, 9), at), dtype), 1, rtol=1e-5)


def test_no_samples_are_refused() -> None:
    none = score_sums(jnp.ones((0, 5)))
    with pytest.raises(BadInput, match="n=0 must be at least 1"):
        inception_score(none)
    assert np.isnan(jax.jit(inception_score)(none))
