"""The Frechet distance by the nuclear norm, against SciPy's matrix root and the d x d form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from latentgen.core.errors import BadInput
from latentgen.metrics.frechet import frechet_distance, frechet_distance_of_examples, moments

distance = jax.jit(frechet_distance_of_examples)


def features(n: int, d: int, seed: int, rank: int | None = None) -> np.ndarray:
    """Correlated features away from 0, of `rank` if given."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, rank or d)) @ rng.normal(size=(rank or d, d)) + rng.normal(size=d)


def by_scipy(x: np.ndarray, y: np.ndarray) -> float:
    """The published formula; a little on the diagonal, as SciPy's root of a singular matrix."""
    c, e = (np.cov(z.T) + 1e-9 * np.eye(z.shape[1]) for z in (x, y))
    shift = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    return float(shift + np.trace(c + e - 2 * scipy.linalg.sqrtm(c @ e).real))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("n", "m"), [(7, 7), (5, 9), (9, 5), (2, 9)])
def test_it_is_the_distance_of_moments(n: int, m: int) -> None:
    x, y = features(n, 12, 0), features(m, 12, 1)
    expected = frechet_distance(moments(jnp.asarray(x)), moments(jnp.asarray(y)))
    np.testing.assert_allclose(distance(x, y), expected, rtol=1e-7)
    np.testing.assert_allclose(distance(x, y), by_scipy(x, y), rtol=1e-3)


@pytest.mark.usefixtures("x64")
def test_more_examples_than_features_and_low_rank_are_no_special_case() -> None:
    for n, m, rank in ((30, 20, None), (30, 8, None), (9, 7, 3)):
        x, y = features(n, 12, 0, rank), features(m, 12, 1, rank)
        expected = frechet_distance(moments(jnp.asarray(x)), moments(jnp.asarray(y)))
        np.testing.assert_allclose(distance(x, y), expected, rtol=1e-7)


@pytest.mark.usefixtures("x64")
def test_examples_left_out_count_for_nothing() -> None:
    x, y = features(7, 12, 0), features(9, 12, 1)
    keep_x, keep_y = np.arange(7) % 3 > 0, np.arange(9) > 1
    found = distance(x, y, keep_x.astype(float), keep_y.astype(float))
    np.testing.assert_allclose(found, distance(x[keep_x], y[keep_y]), rtol=1e-12)
    assert np.isnan(distance(x, y, jnp.eye(7)[0], jnp.ones(9)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_set_is_at_0_from_itself_and_a_shift_away_from_its_copy(dtype: type) -> None:
    x = np.round(64 * features(9, 12, 0)) / 64
    with jax.enable_x64(dtype == np.float64):
        x = jnp.asarray(x, dtype)
        assert 0 <= distance(x, x[::-1]) < 100 * np.finfo(dtype).eps * x.var(axis=0).sum()
        np.testing.assert_allclose(distance(x, x + 2), 4 * 12, rtol=1e-5)


@pytest.mark.usefixtures("x64")
def test_a_scaled_set_keeps_its_digits() -> None:
    """C_2 = (1 + e)^2 C_1 is at e^2 tr C_1: 1e-12 of the traces, all of it left."""
    x = features(9, 12, 0)
    x -= x.mean(axis=0)
    expected = 1e-12 * np.trace(np.cov(x.T))
    np.testing.assert_allclose(distance(x, (1 + 1e-6) * x), expected, rtol=1e-6)


def test_no_array_is_of_d_by_d() -> None:
    shapes = [jax.ShapeDtypeStruct((n, 1000), jnp.float32) for n in (5, 7)]
    text = distance.lower(*shapes).as_text()
    assert "7x1000xf32" in text
    assert "1000x1000" not in text


def test_fewer_than_two_examples_are_refused() -> None:
    with pytest.raises(BadInput, match=r"real.n=1 must be at least 2"):
        frechet_distance_of_examples(jnp.ones((1, 3)), jnp.ones((5, 3)))
    with pytest.raises(BadInput, match=r"synthetic.n=1 must be at least 2"):
        frechet_distance_of_examples(jnp.ones((5, 3)), jnp.ones((1, 3)))
