"""The kernel density estimate against brute force in float64, and the choice of its bandwidth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from latentgen.metrics.parzen import SIGMAS, choose_sigma, gaussian_parzen, parzen


def brute_force(x, samples, sigma):
    """One image at a time, in float64, from differences."""
    x, samples = np.asarray(x, np.float64), np.asarray(samples, np.float64)
    values = []
    for one in x:
        exponents = -((one[None] - samples) ** 2).sum(axis=1) / (2 * sigma**2)
        values.append(scipy.special.logsumexp(exponents) - np.log(len(samples)))
    return np.array(values) - samples.shape[1] * np.log(sigma * np.sqrt(2 * np.pi))


@pytest.mark.usefixtures("x64")
def test_it_is_scipys_kernel_density_estimate() -> None:
    samples, x = np.random.default_rng(0).uniform(size=(2, 40, 3))
    # SciPy's bandwidth is a covariance factor: whitened, it is sigma^2 I.
    white = np.linalg.cholesky(np.linalg.inv(np.cov(samples.T)))
    samples, x = samples @ white, x @ white
    expected = scipy.stats.gaussian_kde(samples.T, bw_method=0.3).logpdf(x.T)
    found = gaussian_parzen(jnp.asarray(x), jnp.asarray(samples), 0.3)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("block", [1, 7, 50, 64])
def test_blocks_change_nothing(block: int) -> None:
    samples, x = np.random.default_rng(0).uniform(size=(2, 50, 6)).astype(np.float32)
    found = gaussian_parzen(jnp.asarray(x), jnp.asarray(samples), 0.2, block)
    np.testing.assert_allclose(found, brute_force(x, samples, 0.2), atol=1e-4)


@pytest.mark.parametrize("kind", ["grey", "black and white", "near copies"])
def test_single_precision_is_enough_at_full_size(kind: str) -> None:
    """784 pixels, 10,000 samples, sigma = 0.1: within 0.01 nat of float64 for the worst image."""
    rng = np.random.default_rng(0)
    samples = rng.uniform(size=(10_000, 784)).astype(np.float32)
    x = rng.uniform(size=(20, 784)).astype(np.float32)
    if kind == "black and white":
        share = rng.uniform(size=(1, 784)) ** 3
        samples, x = ((values < share).astype(np.float32) for values in (samples, x))
    if kind == "near copies":
        x = np.clip(samples[:20] + 0.05 * (x - 0.5), 0, 1)
    found = jax.jit(gaussian_parzen)(jnp.asarray(x), jnp.asarray(samples), 0.1)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, brute_force(x, samples, 0.1), rtol=0, atol=0.01)


def test_a_white_image_without_a_sample_near_it_is_unlikely_and_finite() -> None:
    found = gaussian_parzen(jnp.ones((1, 784)), jnp.zeros((5, 784)), 0.1)
    expected = -784 / 0.02 - 784 * np.log(0.1 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_sigmas_are_ten_evenly_spaced_on_a_logarithmic_scale() -> None:
    np.testing.assert_allclose(SIGMAS, 10 ** (-1 + np.arange(10) / 9))


@pytest.mark.parametrize(("spread", "index"), [(0.1, 0), (SIGMAS[3], 3), (SIGMAS[6], 6), (1.0, 9)])
def test_the_bandwidth_is_that_of_the_noise(spread: float, index: int) -> None:
    """One center, so that the estimate is N(0, sigma^2): likeliest at the data's own spread."""
    rng = np.random.default_rng(0)
    validation = jnp.asarray(spread * rng.normal(size=(300, 20)), jnp.float32)
    found = jax.jit(choose_sigma)(jnp.zeros((1, 20)), validation)
    np.testing.assert_allclose(found, SIGMAS[index], rtol=1e-6)


def test_no_more_than_a_thousand_validation_images_choose() -> None:
    rng = np.random.default_rng(0)
    near, far = 0.1 * rng.normal(size=(1000, 4)), rng.normal(size=(5000, 4))
    validation = jnp.asarray(np.concatenate([near, far]), jnp.float32)
    np.testing.assert_allclose(choose_sigma(jnp.zeros((1, 4)), validation), 0.1, rtol=1e-6)


def test_the_protocol_chooses_on_validation_and_reports_test() -> None:
    rng = np.random.default_rng(0)
    samples, validation, test = rng.uniform(size=(3, 150, 5)).astype(np.float32)
    found = jax.jit(parzen)(jnp.asarray(samples), jnp.asarray(validation), jnp.asarray(test[:90]))
    best = max(SIGMAS, key=lambda sigma: brute_force(validation, samples, sigma).mean())
    np.testing.assert_allclose(found.sigma, best, rtol=1e-6)
    values = brute_force(test[:90], samples, best)
    np.testing.assert_allclose(found.log_likelihood, values.mean(), atol=1e-4)
    np.testing.assert_allclose(found.standard_error, values.std() / np.sqrt(90), rtol=1e-3)
