"""Counts of modes by hand, and the divergence against SciPy's."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import entropy

from latentgen.data import toys
from latentgen.metrics.modes import coverage, nearest

GRID = toys.MODES["grid"]
UNIFORM = jnp.full(25, 1 / 25)


def test_samples_beside_their_means() -> None:
    means = jnp.array([[0.0, 0.0], [1.0, 0.0]])
    x = jnp.array([[0.0, 0.29], [0.0, 0.31], [1.2, 0.2], [0.6, 0.0]])
    found = nearest(x, means, 0.1)
    np.testing.assert_array_equal(found.mode, [0, 0, 1, 1])
    np.testing.assert_array_equal(found.high_quality, [True, False, True, False])


def test_the_data_themselves_cover_every_mode() -> None:
    x, label = toys.points("grid")
    found = nearest(jnp.asarray(x[:2_500]), jnp.asarray(GRID.means, jnp.float32), GRID.sd)
    np.testing.assert_array_equal(found.mode, label[:2_500])
    covered = coverage(*found, UNIFORM)
    assert int(covered.captured) == 25
    inside = 1 - np.exp(-(3**2) / 2)  # of a normal in the plane, within three standard deviations
    assert abs(float(covered.high_quality) - inside) < 4 * np.sqrt(inside * (1 - inside) / 2_500)
    assert float(covered.reverse_kl) < 24 / 2_500  # its mean is 24 / (2 n)


def test_divergence_is_scipys_and_missed_modes_cost_their_logarithm() -> None:
    key = jax.random.key(0)
    expected = jax.random.dirichlet(key, jnp.ones(7))
    mode = jax.random.categorical(key, jnp.log(jnp.arange(1.0, 8.0)), shape=(500,))
    found = coverage(mode, jnp.ones(500, bool), expected)
    q = np.bincount(mode, minlength=7) / 500
    np.testing.assert_allclose(found.reverse_kl, entropy(q, expected), rtol=1e-5)
    collapsed = coverage(jnp.full(100, 3), jnp.arange(100) < 40, UNIFORM)
    assert int(collapsed.captured) == 1
    np.testing.assert_allclose(collapsed.reverse_kl, np.log(25), rtol=1e-6)
    np.testing.assert_allclose(collapsed.high_quality, 0.4)


def test_a_mode_counts_by_its_samples_of_high_quality_alone() -> None:
    found = coverage(jnp.array([0, 0, 1, 2]), jnp.array([True, True, False, False]), UNIFORM[:3])
    assert int(found.captured) == 1
    impossible = coverage(jnp.array([0, 1]), jnp.ones(2, bool), jnp.array([1.0, 0.0]))
    assert np.isinf(impossible.reverse_kl)
