"""The Frechet distance against torch-fidelity, SciPy's matrix root and exact constructions."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
import scipy.linalg

from latentgen.core.errors import BadInput
from latentgen.metrics.frechet import Moments, frechet_distance, merge, moments

PRECISIONS = [(np.float32, 1e-4), (np.float64, 1e-8)]


def features(n, d, seed, rank=None, space=None):
    """Correlated, of many scales, away from 0, as float32 holds them; of `rank` if asked.

    Features of one `space` have one population covariance, and one null space.
    """
    mixing = np.random.default_rng(seed if space is None else space).normal(size=(rank or d, d))
    mixing *= np.logspace(0, -1, d)
    rng = np.random.default_rng(seed + 100)
    x = rng.normal(size=(n, rank or d)) @ mixing + rng.uniform(0, 2, size=d)
    return x.astype(np.float32).astype(np.float64)


def distance(real, synthetic, dtype):
    """Under jit, in `dtype` alone."""
    with jax.enable_x64(dtype == np.float64):
        sides = (jax.jit(moments)(jnp.asarray(x, dtype)) for x in (real, synthetic))
        found = jax.jit(frechet_distance)(*sides)
        assert found.dtype == dtype
        return float(found)


def exact(mean, covariance, n=10):
    """The moments of n examples of exactly this mean and covariance."""
    return Moments(jnp.asarray(n), jnp.asarray(mean), (n - 1) * jnp.asarray(covariance))


def by_data(x, y):
    """The distance without a root: C_1 = U^T U, C_2 = V^T V, tr (C_1 C_2)^(1/2) = |U V^T|_*."""
    u, v = ((z - z.mean(axis=0)) / np.sqrt(len(z) - 1) for z in (x, y))
    root = np.linalg.svd(u @ v.T, compute_uv=False).sum()
    shift = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    return shift + (u**2).sum() + (v**2).sum() - 2 * root


@pytest.mark.parametrize(("dtype", "rtol"), PRECISIONS)
@pytest.mark.parametrize(("n", "m", "d"), [(200, 300, 8), (120, 90, 50)])
def test_it_is_torch_fidelitys(n, m, d, dtype, rtol) -> None:
    torch, fid = reference.torch(), reference.fidelity("metric_fid")
    x, y = features(n, d, 0), features(m, d, 1)
    statistics = (fid.fid_features_to_statistics(torch.from_numpy(z)) for z in (x, y))
    expected = fid.fid_statistics_to_metric(*statistics, verbose=False)[fid.KEY_METRIC_FID]
    np.testing.assert_allclose(distance(x, y, dtype), expected, rtol=rtol)


@pytest.mark.parametrize(("dtype", "rtol"), PRECISIONS)
def test_it_is_the_formula_with_scipys_root(dtype, rtol) -> None:
    x, y = features(120, 50, 0), features(90, 50, 1)
    c, e = np.cov(x.T), np.cov(y.T)
    shift = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    expected = shift + np.trace(c + e - 2 * scipy.linalg.sqrtm(c @ e).real)
    np.testing.assert_allclose(distance(x, y, dtype), expected, rtol=rtol)


@pytest.mark.usefixtures("x64")
def test_moments_are_numpys() -> None:
    x = features(50, 6, 0)
    found = moments(jnp.asarray(x))
    assert found.n == 50
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.scatter, 49 * np.cov(x.T), rtol=1e-10)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-5), (np.float64, 1e-12)])
@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_batches_change_nothing(batch, dtype, rtol) -> None:
    """1,100 examples: all but the first size leave an uneven last batch."""
    x, y = features(1100, 5, 0), features(300, 5, 1)
    with jax.enable_x64(dtype == np.float64):
        whole, other = moments(jnp.asarray(x, dtype)), moments(jnp.asarray(y, dtype))
        parts = [moments(jnp.asarray(x[i : i + batch], dtype)) for i in range(0, 1100, batch)]
        found = functools.reduce(jax.jit(merge), parts)
        assert found.n == 1100
        assert found.scatter.dtype == dtype
        np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=rtol)
        np.testing.assert_allclose(found.scatter, 1099 * np.cov(x.T), rtol=50 * rtol)
        expected = frechet_distance(whole, other)
        np.testing.assert_allclose(frechet_distance(found, other), expected, rtol=rtol)


@pytest.mark.usefixtures("x64")
def test_the_order_of_merging_changes_nothing() -> None:
    x = features(60, 4, 0)
    parts = [moments(jnp.asarray(part)) for part in np.split(x, [3, 4, 30])]
    expected = moments(jnp.asarray(x))
    for order in itertools.permutations(parts):
        first, second, third, fourth = order
        chain = merge(merge(merge(first, second), third), fourth)
        tree = merge(merge(first, second), merge(third, fourth))
        for found in (chain, tree):
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), found, expected)


def test_no_examples_merge_into_others_unseen() -> None:
    some, none = moments(jnp.asarray(features(9, 3, 0), jnp.float32)), moments(jnp.ones((0, 3)))
    for found in (merge(some, none), merge(none, some), merge(merge(none, none), some)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, some)


def test_many_examples_merge_without_overflow() -> None:
    """n_a n_b = 10^10 is more than an int32 holds. Half at 0, half at 2: variance 1."""
    sides = [
        exact(np.full(1, at, np.float32), np.zeros((1, 1), np.float32), 10**5) for at in (0, 2)
    ]
    found = merge(*sides)
    np.testing.assert_allclose(found.mean, 1.0, rtol=1e-6)
    np.testing.assert_allclose(found.scatter, 2e5, rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_commuting_covariances_have_a_closed_form() -> None:
    """|m_1 - m_2|^2 + sum_j (s_1j - s_2j)^2, in any basis that both share."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    means, stds = rng.normal(size=(2, 6)), rng.uniform(0, 2, size=(2, 6))
    sides = [exact(m, basis * s**2 @ basis.T) for m, s in zip(means, stds, strict=True)]
    expected = ((means[0] - means[1]) ** 2).sum() + ((stds[0] - stds[1]) ** 2).sum()
    np.testing.assert_allclose(frechet_distance(*sides), expected, rtol=1e-12)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-3), (np.float64, 1e-6)])
@pytest.mark.parametrize("angle", [0.3, 0.8, np.pi / 2])
@pytest.mark.parametrize("least", [0.5, 1e-6, 1e-12, 0.0])
def test_turned_covariances_of_two_features_have_a_closed_form(least, angle, dtype, rtol) -> None:
    """tr M^(1/2) = (tr M + 2 det(M)^(1/2))^(1/2), 2 x 2: full rank, nearly singular, singular."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    c = np.diag([2.0, least])
    e = turn @ np.diag([1.0, 3 * least]) @ turn.T
    root = np.sqrt(np.trace(c @ e) + 2 * np.sqrt(2 * least * 3 * least))
    expected = 0.5**2 + np.trace(c) + np.trace(e) - 2 * root
    with jax.enable_x64(dtype == np.float64):
        real, synthetic = (
            exact(np.array(m, dtype), k.astype(dtype))
            for m, k in (((0.0, 1.0), c), ((0.5, 1.0), e))
        )
        np.testing.assert_allclose(frechet_distance(real, synthetic), expected, rtol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [20, 120])
def test_a_set_is_at_0_from_itself_and_a_shift_away_from_its_copy(n, dtype) -> None:
    """Fewer examples than features or more. A shift of whole numbers, which rounds nothing."""
    x = np.round(1024 * features(n, 50, 0)) / 1024
    shift = np.arange(50) % 3
    assert 0 <= distance(x, x, dtype) < 2 * np.finfo(dtype).eps * x.var(axis=0).sum()
    np.testing.assert_allclose(distance(x, x + shift, dtype), (shift**2).sum(), rtol=1e-5)
    np.testing.assert_allclose(distance(x + shift, x, dtype), (shift**2).sum(), rtol=1e-5)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-3), (np.float64, 1e-6)])
@pytest.mark.parametrize("stretch", [1 / 256, 1 / 32, 0.5])
def test_close_covariances_keep_their_digits(stretch, dtype, rtol) -> None:
    """C_2 = (1 + e)^2 C_1: e^2 tr C_1, 1/130,000 of the traces for e = 1/256."""
    c = np.cov(features(100, 10, 0).T)
    with jax.enable_x64(dtype == np.float64):
        sides = [exact(np.zeros(10, dtype), (a * c).astype(dtype)) for a in (1, (1 + stretch) ** 2)]
        found = frechet_distance(*sides)
    np.testing.assert_allclose(found, stretch**2 * np.trace(c), rtol=rtol)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-3), (np.float64, 1e-6)])
@pytest.mark.parametrize("space", [None, 2])
@pytest.mark.parametrize(("n", "m", "rank"), [(20, 30, None), (20, 90, None), (120, 90, 5)])
def test_rank_deficient_covariances(n, m, rank, space, dtype, rtol) -> None:
    """Fewer examples than features, on one side or both, and features of rank 5."""
    x, y = features(n, 50, 0, rank, space), features(m, 50, 1, rank, space)
    np.testing.assert_allclose(distance(x, y, dtype), by_data(x, y), rtol=rtol)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-3), (np.float64, 1e-6)])
def test_duplicated_and_constant_features(dtype, rtol) -> None:
    """Each feature twice is the square root of 2 times an isometry; a constant adds its shift."""
    x, y = features(120, 25, 0), features(90, 25, 1)
    twice = distance(np.tile(x, 2), np.tile(y, 2), dtype)
    np.testing.assert_allclose(twice, 2 * by_data(x, y), rtol=rtol)
    x, y = features(120, 49, 0), features(90, 49, 1)
    expected = by_data(x, y) + 4
    x, y = np.insert(x, 4, 3.0, axis=1), np.insert(y, 4, 1.0, axis=1)
    np.testing.assert_allclose(distance(x, y, dtype), expected, rtol=rtol)


def test_fewer_than_two_examples_are_refused() -> None:
    some, one = moments(jnp.ones((5, 3))), moments(jnp.ones((1, 3)))
    with pytest.raises(BadInput, match=r"real.n=1 must be at least 2"):
        frechet_distance(one, some)
    with pytest.raises(BadInput, match=r"synthetic.n=1 must be at least 2"):
        frechet_distance(some, one)
    assert np.isnan(jax.jit(frechet_distance)(some, one))


def test_different_features_are_refused() -> None:
    with pytest.raises(BadInput, match=r"synthetic.d=1 must be real.d=3"):
        frechet_distance(moments(jnp.ones((5, 3))), moments(jnp.ones((5, 1))))
