"""Densities against SciPy, divergences against numerical integration, samples against moments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

from latentgen.probability.distributions import (
    Normal,
    bernoulli_log_prob,
    kl_to_standard_normal,
    noise_log_prob,
    normal_log_prob,
    normal_sample,
)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.5, 0.3), (-2.0, 2.5), (0.1, 1e-2)])
def test_kl_is_the_integral(mean: float, std: float) -> None:
    q = scipy.stats.norm(mean, std)
    integral, error = scipy.integrate.quad(
        lambda z: q.pdf(z) * (q.logpdf(z) - scipy.stats.norm.logpdf(z)),
        mean - 12 * std,
        mean + 12 * std,
        epsabs=1e-12,
        limit=200,
    )
    found = kl_to_standard_normal(Normal(jnp.array([[mean]]), jnp.log(jnp.array([[std]]))))
    assert error < 1e-8
    np.testing.assert_allclose(found, [[integral]], rtol=1e-9, atol=1e-9)


def test_kl_adds_over_coordinates_and_vanishes_only_at_the_prior() -> None:
    mean, log_std = jnp.array([[0.0, 0.0], [1.0, 2.0]]), jnp.zeros((2, 2))
    found = kl_to_standard_normal(Normal(mean, log_std))
    np.testing.assert_allclose(found, [[0.0, 0.0], [0.5, 2.0]])


@pytest.mark.usefixtures("x64")
def test_normal_log_prob_is_scipys() -> None:
    rng = np.random.default_rng(0)
    mean, log_std, z = rng.normal(size=(3, 5, 4))
    expected = scipy.stats.norm.logpdf(z, mean, np.exp(log_std)).sum(axis=1)
    found = normal_log_prob(Normal(jnp.array(mean), jnp.array(log_std)), jnp.array(z))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_samples_have_their_moments_and_their_gradient() -> None:
    normal = Normal(jnp.array([[2.0, -1.0]]), jnp.log(jnp.array([[0.5, 3.0]])))
    many = Normal(*(jnp.repeat(leaf, 40_000, axis=0) for leaf in normal))
    z = normal_sample(many, jax.random.key(0))
    error = 5 * np.array([0.5, 3.0]) / np.sqrt(40_000)
    np.testing.assert_array_less(np.abs(z.mean(axis=0) - jnp.array([2.0, -1.0])), error)
    np.testing.assert_allclose(z.std(axis=0), [0.5, 3.0], rtol=0.02)
    # Reparametrized: dz/dmean = 1, dz/dlog_std = z - mean.
    total = lambda m, s: normal_sample(Normal(m, s), jax.random.key(1)).sum()  # noqa: E731
    by_mean, by_log_std = jax.grad(total, argnums=(0, 1))(*normal)
    np.testing.assert_allclose(by_mean, jnp.ones((1, 2)))
    z = normal_sample(normal, jax.random.key(1))
    np.testing.assert_allclose(by_log_std, z - normal.mean, rtol=1e-5)


@pytest.mark.usefixtures("x64")
def test_bernoulli_is_scipys_and_the_cross_entropy_between() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 2, 2, 1)) * 3
    p = 1 / (1 + np.exp(-logits))
    x = rng.integers(0, 2, size=logits.shape).astype(float)
    expected = scipy.stats.bernoulli.logpmf(x, p).sum(axis=(1, 2, 3))
    found = bernoulli_log_prob(jnp.array(logits), jnp.array(x))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    grey = rng.uniform(size=logits.shape)
    expected = (grey * np.log(p) + (1 - grey) * np.log(1 - p)).sum(axis=(1, 2, 3))
    found = bernoulli_log_prob(jnp.array(logits), jnp.array(grey))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_bernoulli_is_finite_far_out(logit: float) -> None:
    value, slope = jax.value_and_grad(lambda r: bernoulli_log_prob(r, jnp.full((1, 1), 0.25))[0])(
        jnp.full((1, 1), logit)
    )
    np.testing.assert_allclose(value, -1e4 * (0.75 if logit > 0 else 0.25))
    np.testing.assert_allclose(slope, [[0.25 - (logit > 0)]])


@pytest.mark.usefixtures("x64")
def test_the_density_of_noise_is_that_of_its_normal() -> None:
    rng = np.random.default_rng(0)
    mean, log_std, noise = rng.normal(size=(3, 5, 4))
    z = mean + np.exp(log_std) * noise
    expected = scipy.stats.norm.logpdf(z, mean, np.exp(log_std)).sum(axis=1)
    found = noise_log_prob(jnp.array(noise), jnp.array(log_std))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("log_std", [-60.0, 60.0])
def test_a_std_whose_square_no_float_holds_has_a_density(log_std: float) -> None:
    normal = Normal(jnp.zeros((1, 1)), jnp.full((1, 1), log_std))
    z = jnp.full((1, 1), 2 * np.exp(log_std), jnp.float32)
    # Not a constant to the compiler, which would take the std's square out of the brackets.
    compute = jax.jit(jax.value_and_grad(lambda z, normal: normal_log_prob(normal, z)[0]))
    value, slope = compute(z, normal)
    np.testing.assert_allclose(value, -2 - log_std - np.log(2 * np.pi) / 2, rtol=1e-5)
    np.testing.assert_allclose(slope, [[-2 * np.exp(-log_std)]], rtol=1e-4)
