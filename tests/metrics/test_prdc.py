"""Precision, recall, density and coverage against torch-fidelity, naive loops and exact sets."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from latentgen.core.errors import BadInput
from latentgen.metrics.prdc import density_coverage, precision_recall, radii

DTYPES = [np.float32, np.float64]


def sets(n, m, d, shift=0.5, scale=0.8):
    """Real examples, and synthetic ones moved by `shift` and of another spread."""
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(n, d)), shift + scale * rng.normal(size=(m, d))
    return (x.astype(np.float32).astype(np.float64) for x in (real, synthetic))


def away(x, y):
    return np.linalg.norm(x[:, None] - y[None], axis=2)


def naive_radii(x, k):
    """Distance of each example to its k-th neighbour; itself comes first."""
    return np.sort(away(x, x), axis=1)[:, k]


def naive(real, synthetic, k):
    """Precision, recall, density and coverage as the papers write them, rows for the real."""
    in_real = away(real, synthetic) <= naive_radii(real, k)[:, None]
    in_synthetic = away(real, synthetic) <= naive_radii(synthetic, k)[None, :]
    return (
        in_real.any(axis=0).mean(),
        in_synthetic.any(axis=1).mean(),
        in_real.sum() / (k * len(synthetic)),
        in_real.any(axis=1).mean(),
    )


def all_four(real, synthetic, k, dtype, block=1000):
    """Under jit, in `dtype` alone."""
    with jax.enable_x64(dtype == np.float64):
        found = []
        for function in (precision_recall, density_coverage):
            jitted = jax.jit(function, static_argnames=("k", "block"))
            found += jitted(jnp.asarray(real, dtype), jnp.asarray(synthetic, dtype), k, block)
        assert all(value.dtype == dtype for value in found)
        return [float(value) for value in found]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "m", "d", "shift"), [(500, 300, 3, 1.0), (300, 500, 20, 0.2)])
def test_precision_and_recall_are_torch_fidelitys(n, m, d, shift, dtype) -> None:
    torch, prc = reference.torch(), reference.fidelity("metric_prc")
    real, synthetic = sets(n, m, d, shift)
    expected = prc.prc_features_to_metric(
        torch.from_numpy(synthetic), torch.from_numpy(real), verbose=False
    )
    expected = expected[prc.KEY_METRIC_PRECISION], expected[prc.KEY_METRIC_RECALL]
    assert abs(expected[0] - expected[1]) > 0.01
    with jax.enable_x64(dtype == np.float64):
        found = precision_recall(jnp.asarray(real, dtype), jnp.asarray(synthetic, dtype))
    np.testing.assert_allclose((found.precision, found.recall), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "m", "k"), [(60, 40, 1), (30, 55, 3), (70, 70, 5)])
def test_they_are_the_papers_formulas(n, m, k, dtype) -> None:
    real, synthetic = sets(n, m, 2, 1.0)
    found, expected = all_four(real, synthetic, k, dtype), naive(real, synthetic, k)
    assert expected[0] != expected[1]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("block", "dtype"), [*((block, np.float32) for block in (1, 7, 64, 1000)), (7, np.float64)]
)
def test_blocks_change_nothing(block, dtype) -> None:
    real, synthetic = sets(130, 64, 2, 1.0)
    found = all_four(real, synthetic, 3, dtype, block)
    np.testing.assert_allclose(found, naive(real, synthetic, 3), rtol=1e-6)
    with jax.enable_x64(dtype == np.float64):
        found = radii(jnp.asarray(real, dtype), 3, block)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, naive_radii(real, 3), rtol=1e-6)


def test_what_fills_up_a_block_is_no_example() -> None:
    """Real balls lie around 0, as does the padding; synthetic examples are far away: four zeros."""
    real, synthetic = sets(20, 10, 2, shift=100.0)
    assert all_four(real, synthetic, 3, np.float32, block=7) == [0, 0, 0, 0]


def test_memory_holds_blocks_and_never_all_pairs() -> None:
    shapes = [jax.ShapeDtypeStruct((n, 3), jnp.float32) for n in (500, 400)]
    for function in (precision_recall, density_coverage):
        program = str(jax.make_jaxpr(lambda x, y, f=function: f(x, y, 3, 50))(*shapes))
        sizes = [math.prod(map(int, s.split(","))) for s in re.findall(r"\w\[([\d,]+)\]", program)]
        assert 50 * 50 in sizes
        assert max(sizes) <= 50 * (50 + 3)


def test_modes_left_out_cost_recall_and_modes_made_up_cost_precision() -> None:
    """Eight real clusters of four; synthetic are two of them, or all and as many examples far off.

    Others have swapped the two.
    """
    centers = 100 * np.arange(8.0)[:, None] * np.ones((1, 3))
    real = np.concatenate([centers + i for i in range(4)])
    few = np.concatenate([centers[:2] + i for i in range(4)])
    far = -1000 * (1 + np.arange(32.0))[:, None] * np.ones((1, 3))
    precision, recall, _, coverage = all_four(real, few, 3, np.float32)
    assert (precision, recall, coverage) == (1.0, 0.25, 0.25)
    both = np.concatenate([real, far])
    precision, recall, _, coverage = all_four(real, both, 3, np.float32)
    assert (precision, recall, coverage) == (0.5, 1.0, 1.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "block"), [(1, 1000), (37, 7), (300, 64)])
def test_a_set_lies_in_its_own_balls_with_the_neighbours_on_their_edges(d, block, dtype) -> None:
    """Each ball holds its center and k others, the last on the boundary: density (k + 1) / k.

    A tie that rounding broke would be a point less.
    """
    x = np.random.default_rng(0).normal(size=(150, d))
    np.testing.assert_allclose(all_four(x, x, 4, dtype, block), [1, 1, 5 / 4, 1], rtol=1e-6)


@pytest.mark.parametrize(("k", "expected"), [(1, [1, 1, 2, 4, 8]), (4, [15, 14, 12, 8, 15])])
def test_radii_on_a_line(k, expected) -> None:
    x = jnp.array([0.0, 1.0, 3.0, 7.0, 15.0])[:, None]
    np.testing.assert_array_equal(radii(x, k, 2), expected)


def test_copies_are_neighbours_at_0() -> None:
    """Three of each, of values that float32 rounds: two others at 0, the third elsewhere."""
    x = np.repeat(1000 + np.random.default_rng(0).normal(size=(20, 33)), 3, axis=0)
    values = jnp.asarray(x, jnp.float32)
    assert (radii(values, 2) == 0).all()
    assert (radii(values, 3) > 0).all()
    # Balls of radius 0 contain their copies, and nothing else.
    assert precision_recall(values, values[::3], 2).precision == 1
    assert precision_recall(values, values[::3] + 0.01, 2).precision == 0


def test_single_precision_tells_near_neighbours_far_from_0() -> None:
    """Clusters of spread 1/10 at some 1000: squares of features are 10^8 times a distance's."""
    rng = np.random.default_rng(0)
    centers = rng.normal(1000, 300, size=(10, 4))
    real, synthetic = (
        (np.tile(centers, (8, 1)) + 0.1 * rng.normal(size=(80, 4))).astype(np.float32)
        for _ in range(2)
    )
    with jax.enable_x64(False):
        found = radii(jnp.asarray(real), 3)
    np.testing.assert_allclose(found, naive_radii(real.astype(np.float64), 3), rtol=1e-6)
    expected = naive(real.astype(np.float64), synthetic.astype(np.float64), 3)
    np.testing.assert_allclose(all_four(real, synthetic, 3, np.float32), expected, rtol=1e-6)


def test_density_and_coverage_of_one_distribution_are_what_the_paper_expects() -> None:
    """1, and 1 - (n-1)...(n-k) / ((m+n-1)...(m+n-k)), within 4 std errors over 400 draws."""
    n, m, k, draws = 30, 20, 3, 400
    x = jax.random.normal(jax.random.key(0), (draws, n + m, 2))
    both = jax.vmap(lambda x: density_coverage(x[:n], x[n:], k))
    found = jax.jit(both)(x)
    none = math.prod((n - i) / (m + n - i) for i in range(1, k + 1))
    for values, expected in ((found.density, 1.0), (found.coverage, 1 - none)):
        error = float(values.std()) / np.sqrt(draws)
        assert abs(float(values.mean()) - expected) < 4 * error < 0.1


@pytest.mark.parametrize("function", [precision_recall, density_coverage])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"k": 0}, "k=0 must be at least 1"),
        ({"k": 9}, "k=9 must be at least 1 and less than the 9 examples"),
        ({"block": 0}, "block=0 must be at least 1"),
    ],
)
def test_what_has_no_balls_is_refused(function, arguments, said) -> None:
    with pytest.raises(BadInput, match=said):
        function(jnp.ones((9, 3)), jnp.ones((8, 3)), **arguments)


def test_synthetic_examples_need_neighbours_for_recall_alone() -> None:
    real, synthetic = jnp.ones((9, 3)), jnp.ones((3, 3))
    assert density_coverage(real, synthetic, 3) == (3.0, 1.0)
    with pytest.raises(BadInput, match="less than the 3 examples"):
        precision_recall(real, synthetic, 3)
