"""The kernel distance against torch-fidelity, naive loops and moments of normal distributions."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from latentgen.core.errors import BadInput
from latentgen.metrics.kernel import kernel_distance, kernel_distance_of_subsets

PRECISIONS = [(np.float32, 1e-3), (np.float64, 1e-9)]


def features(n, d, seed, shift=0.0):
    """At least 0 and about as large as they vary, as a network's are."""
    x = np.maximum(np.random.default_rng(seed).normal(0.3 + shift, 0.6, size=(n, d)), 0)
    return x.astype(np.float32).astype(np.float64)


def naive(x, y):
    """One pair at a time, in double precision."""
    kernel = lambda a, b: (math.fsum(a * b) / len(a) + 1) ** 3  # noqa: E731
    n, m = len(x), len(y)
    within_x = math.fsum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j)
    within_y = math.fsum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j)
    between = math.fsum(kernel(a, b) for a in x for b in y)
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * between / (n * m)


def distance(real, synthetic, dtype, block=1000):
    """Under jit, in `dtype` alone."""
    with jax.enable_x64(dtype == np.float64):
        function = jax.jit(kernel_distance, static_argnames="block")
        found = function(jnp.asarray(real, dtype), jnp.asarray(synthetic, dtype), block=block)
        assert found.dtype == dtype
        return float(found)


@pytest.mark.parametrize(("dtype", "rtol"), PRECISIONS)
@pytest.mark.parametrize(("n", "d", "shift"), [(400, 8, 0.1), (1100, 512, 0.0), (1100, 512, 0.05)])
def test_it_is_torch_fidelitys(n, d, shift, dtype, rtol) -> None:
    """One subset of all; of one distribution, the distance is a small part of the means."""
    torch, kid = reference.torch(), reference.fidelity("metric_kid")
    x, y = features(n, d, 0), features(n, d, 1, shift)
    both = (torch.from_numpy(z) for z in (x, y))
    whole = {"kid_subsets": 1, "kid_subset_size": n, "verbose": False}
    expected = kid.kid_features_to_metric(*both, **whole)[kid.KEY_METRIC_KID_MEAN]
    np.testing.assert_allclose(distance(x, y, dtype), expected, rtol=rtol)


@pytest.mark.parametrize(("dtype", "rtol"), PRECISIONS)
@pytest.mark.parametrize(("n", "m"), [(30, 45), (45, 30), (2, 2)])
@pytest.mark.parametrize("offset", [0.0, 5.0])
def test_it_is_the_naive_sum(offset, n, m, dtype, rtol) -> None:
    """Sets of different sizes, far from 0 too, where the means of k are thousands."""
    x, y = features(n, 6, 0) + offset, features(m, 6, 1, 0.3) + offset
    x, y = (z.astype(np.float32).astype(np.float64) for z in (x, y))
    np.testing.assert_allclose(distance(x, y, dtype), naive(x, y), rtol=rtol)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 1e-4), (np.float64, 1e-11)])
@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_blocks_change_nothing(block, dtype, rtol) -> None:
    x, y = features(130, 6, 0), features(64, 6, 1, 0.3)
    expected = distance(x, y, np.float64, 130)
    np.testing.assert_allclose(distance(x, y, dtype, block), expected, rtol=rtol)


def test_memory_holds_blocks_and_never_all_pairs() -> None:
    shapes = [jax.ShapeDtypeStruct((n, 3), jnp.float32) for n in (500, 400)]
    program = str(jax.make_jaxpr(lambda x, y: kernel_distance(x, y, 50))(*shapes))
    sizes = [math.prod(map(int, s.split(","))) for s in re.findall(r"\w\[([\d,]+)\]", program)]
    assert 50 * 50 in sizes
    assert max(sizes) <= 50 * 50


@pytest.mark.usefixtures("x64")
def test_copies_of_one_point_a_side() -> None:
    """k(a, a) + k(b, b) - 2 k(a, b) whatever the number of copies."""
    a, b = np.array([1.0, 2.0, -0.5]), np.array([0.0, -1.0, 4.0])
    k = lambda u, v: (u @ v / 3 + 1) ** 3  # noqa: E731
    found = kernel_distance(jnp.tile(a, (4, 1)), jnp.tile(b, (7, 1)))
    np.testing.assert_allclose(found, k(a, a) + k(b, b) - 2 * k(a, b), rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mean", [0.0, 0.5])
def test_it_is_unbiased(mean) -> None:
    """x ~ N(0, 1), y ~ N(mean, 1): sum_j (3 over j) (E x^j - E y^j)^2, within 4 std errors.

    From 5 and 4 examples, where the biased estimate is off by some 4.
    """
    draws = 40_000
    first, second = jax.random.split(jax.random.key(0))
    x = jax.random.normal(first, (draws, 5, 1))
    y = mean + jax.random.normal(second, (draws, 4, 1))
    found = jax.jit(jax.vmap(kernel_distance))(x, y)
    moments = lambda m: np.array([m, m**2 + 1, m**3 + 3 * m])  # noqa: E731
    expected = (np.array([3, 3, 1]) * (moments(0.0) - moments(mean)) ** 2).sum()
    error = float(found.std()) / np.sqrt(draws)
    assert abs(float(found.mean()) - expected) < 4 * error < 0.5


@pytest.mark.usefixtures("x64")
def test_a_subset_of_all_is_all_of_them_once() -> None:
    x, y = jnp.asarray(features(20, 5, 0)), jnp.asarray(features(20, 5, 1, 0.3))
    found = kernel_distance_of_subsets(jax.random.key(0), x, y, subsets=3, size=20)
    np.testing.assert_allclose(found, np.full(3, naive(np.array(x), np.array(y))), rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_subsets_scatter_around_the_distance_of_all() -> None:
    """Given the examples, a random subset's distance has that of all for its mean: 4 std errors."""
    x, y = jnp.asarray(features(60, 5, 0)), jnp.asarray(features(40, 5, 1, 0.3))
    function = jax.jit(kernel_distance_of_subsets, static_argnames=("subsets", "size"))
    found = function(jax.random.key(0), x, y, subsets=2000, size=10)
    assert found.shape == (2000,)
    assert len(np.unique(found)) == 2000
    error = float(found.std()) / np.sqrt(2000)
    assert abs(float(found.mean()) - naive(np.array(x), np.array(y))) < 4 * error
    spread = function(jax.random.key(1), x, y, subsets=2000, size=30).std()
    assert 0 < spread < found.std() / 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"real": jnp.ones((1, 3))}, "real.n=1 must be at least 2"),
        ({"synthetic": jnp.ones((1, 3))}, "synthetic.n=1 must be at least 2"),
        ({"block": 0}, "block=0 must be at least 1"),
    ],
)
def test_what_has_no_distance_is_refused(arguments, said) -> None:
    with pytest.raises(BadInput, match=said):
        kernel_distance(**{"real": jnp.ones((9, 3)), "synthetic": jnp.ones((8, 3))} | arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"size": 9}, "synthetic.n=8 must be at least 9"),
        ({"size": 10}, "real.n=9 must be at least 10"),
        ({"size": 1}, "size=1 must be at least 2"),
        ({"subsets": 0, "size": 5}, "subsets=0 must be at least 1"),
    ],
)
def test_subsets_that_cannot_be_drawn_are_refused(arguments, said) -> None:
    with pytest.raises(BadInput, match=said):
        kernel_distance_of_subsets(
            jax.random.key(0), jnp.ones((9, 3)), jnp.ones((8, 3)), **arguments
        )
