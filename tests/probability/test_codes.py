"""Codes of noise, categories and continuous coordinates."""

import jax
import jax.numpy as jnp
import numpy as np

from latentgen.probability import priors
from latentgen.probability.codes import Codes, posterior, structured, traversal

KEY = jax.random.key(0)
CODES = Codes((3, 4), 2)


def prior() -> priors.Prior:
    made = structured(priors.fixed(priors.normal(5)), CODES)
    return made.at(made.init(KEY), lambda x: None)


def test_samples_are_noise_one_hot_categories_and_the_cube() -> None:
    z = np.asarray(prior().sample(KEY, 6_000))
    assert z.shape == (6_000, 5 + 3 + 4 + 2)
    assert prior().dim == 14
    assert np.abs(z[:, :5]).max() > 2
    for block in (z[:, 5:8], z[:, 8:12]):
        assert set(np.unique(block)) == {0.0, 1.0}
        np.testing.assert_array_equal(block.sum(axis=1), 1)
        np.testing.assert_allclose(block.mean(axis=0), 1 / block.shape[1], atol=0.03)
    both = z[:, 5:8].T @ z[:, 8:12] / len(z)  # independent of each other
    np.testing.assert_allclose(both, 1 / 12, atol=0.02)
    assert (np.abs(z[:, 12:]) <= 1).all()
    np.testing.assert_allclose(z[:, 12:].var(axis=0), 1 / 3, atol=0.02)


def test_the_density_is_the_product() -> None:
    z = prior().sample(KEY, 3)
    normal = -(np.asarray(z[:, :5]) ** 2 / 2 + np.log(2 * np.pi) / 2).sum(axis=1)
    found = prior().log_prob(z)
    np.testing.assert_allclose(found, normal - np.log(3) - np.log(4) - 2 * np.log(2), rtol=1e-5)
    beside = z.at[0, 13].set(1.1).at[1, 5:8].set(jnp.array([0.5, 0.5, 0.0]))
    np.testing.assert_array_equal(np.isfinite(prior().log_prob(beside)), [False, False, True])


def test_the_posterior_has_probabilities_and_means() -> None:
    out = jnp.arange(18.0).reshape(2, 9)
    found = posterior(CODES, out)
    np.testing.assert_allclose(
        found[:, :3], np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum() * [[1], [1]]
    )
    np.testing.assert_allclose(found[:, 3:7].sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(found[:, 7:], out[:, 7:])


def test_a_traversal_has_a_row_for_each_value_and_each_continuous_code() -> None:
    z = np.asarray(traversal(CODES, prior(), KEY, 6))
    assert z.shape == (3 + 4 + 2, 6, 14)
    np.testing.assert_array_equal(z[1, :, 5:8], np.tile([0, 1, 0], (6, 1)))
    np.testing.assert_array_equal(z[3 + 2, :, 8:12], np.tile([0, 0, 1, 0], (6, 1)))
    np.testing.assert_array_equal(z[0, :, :5], z[6, :, :5])  # the same noise in all rows
    assert not np.array_equal(z[0, 0, :5], z[0, 1, :5])
    moved = np.delete(z[8], 13, axis=1)
    np.testing.assert_array_equal(moved, np.broadcast_to(moved[:1], moved.shape))
    np.testing.assert_allclose(z[8, :, 13], np.linspace(-1, 1, 6), rtol=1e-6)
