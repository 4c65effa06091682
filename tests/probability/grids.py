"""Densities in two dimensions on a grid of cells, and whether samples fit them.

The level of every test of samples here is 1e-4: with fixed seeds it passes or fails for good.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.stats

LEVEL = 1e-4


class Cells(NamedTuple):
    """The mass of a density in each of the square cells between `edges`, on both axes."""

    edges: np.ndarray
    mass: np.ndarray

    def marginal(self, axis):
        """The cumulative distribution at the edges, of one coordinate."""
        return np.concatenate([[0.0], np.cumsum(self.mass.sum(axis=1 - axis))])


def middles(low, high, count=400):
    """The middles of the cells, (count^2, 2)."""
    edges = np.linspace(low, high, count + 1)
    line = (edges[1:] + edges[:-1]) / 2
    return jnp.array(np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2))


def cells(log_prob, low, high, count=400):
    """Cells from the log-density at their middles, (count^2,), by the midpoint rule."""
    edges = np.linspace(low, high, count + 1)
    density = np.exp(np.asarray(log_prob, np.float64)).reshape(count, count)
    return Cells(edges, density * (edges[1] - edges[0]) ** 2)


def assert_samples_fit(found, z, parts=8):
    """Kolmogorov-Smirnov on both coordinates and on chi-square on parts x parts rectangles."""
    z = np.asarray(z, np.float64)
    assert z.shape[1:] == (2,)
    assert len(z) >= 5000
    splits = []
    for axis in (0, 1):
        cumulative = found.marginal(axis)
        ks = scipy.stats.kstest(z[:, axis], lambda v, c=cumulative: np.interp(v, found.edges, c))
        assert ks.pvalue > LEVEL, (axis, ks)
        # Edges of cells between which lie about equal shares.
        inner = np.searchsorted(cumulative, np.arange(1, parts) / parts)
        splits.append(np.array([0, *inner, len(found.edges) - 1]))
    expected = np.add.reduceat(found.mass, splits[0][:-1], axis=0)
    expected = np.add.reduceat(expected, splits[1][:-1], axis=1)
    bounds = [found.edges[s] for s in splits]
    counts, _, _ = np.histogram2d(z[:, 0], z[:, 1], bins=bounds)
    assert counts.sum() == len(z), "samples outside the grid"
    expected = expected.ravel() * len(z) / expected.sum()
    rare = expected < 10  # one rectangle of them all
    pool = lambda v: np.array([*v[~rare], v[rare].sum()])[: None if rare.any() else -1]  # noqa: E731
    chi = scipy.stats.chisquare(pool(counts.ravel()), pool(expected))
    assert chi.pvalue > LEVEL, chi
