"""Active units and the parts of the rate against closed forms, integrals and brute force."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from latentgen.metrics import latents
from latentgen.probability.distributions import Normal
from latentgen.probability.posteriors import of_normal


@pytest.mark.usefixtures("x64")
def test_activity_is_the_variance_of_the_means_and_the_covariance_of_halves() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 30, 4))
    expected = [np.cov(first[:, u], second[:, u])[0, 1] for u in range(4)]
    found = latents.activity_from_samples(jnp.asarray(first), jnp.asarray(second))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    variance = latents.activity(jnp.asarray(first))
    np.testing.assert_allclose(variance, first.var(axis=0, ddof=1), rtol=1e-12)


def test_collapsed_coordinates_are_not_active_however_noisy() -> None:
    """Two coordinates follow x, two are the prior's. One sample a half: noise of variance 1."""
    n = 200_000
    signal = jax.random.normal(jax.random.key(0), (n, 1)) * jnp.array([[1.0, 0.3, 0.0, 0.0]])
    spread = jnp.broadcast_to(jnp.array([[0.1, 1.0, 1.0, 1.0]]), (n, 4))
    z, _ = of_normal(Normal(signal, jnp.log(spread))).draw(jax.random.key(1), 2)
    found = latents.activity_from_samples(z[0], z[1])
    expected = np.array([1.0, 0.09, 0.0, 0.0])
    # Standard error of a sample covariance: sqrt((v1 v2 + covariance^2) / n).
    total = expected + np.array([0.01, 1.0, 1.0, 1.0])
    error = np.sqrt((total**2 + expected**2) / n)
    np.testing.assert_array_less(np.abs(found - expected), 4 * error)
    assert latents.active_units(found) == 2
    # What the unbiased form is for: the plain variance of a sample takes noise for signal.
    assert latents.active_units(latents.activity(z[0])) == 4
    assert latents.active_units(latents.activity(signal)) == 2
    assert latents.active_units(found, threshold=0.5) == 1


def pairwise(z, block):
    mean, std = block
    posterior = of_normal(Normal(mean, jnp.log(std)))
    return posterior.log_prob(latents.all_pairs(z, len(mean)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("sizes", [[7], [3, 4], [1, 1, 5]])
def test_the_aggregate_is_brute_force_over_pairs_however_cut(sizes: list[int]) -> None:
    rng = np.random.default_rng(0)
    z, mean, std = rng.normal(size=(5, 3)), rng.normal(size=(7, 3)), rng.uniform(0.2, 2, (7, 3))
    density = np.zeros(5)
    for i in range(5):
        for j in range(7):
            density[i] += np.prod(scipy.stats.norm.pdf(z[i], mean[j], std[j])) / 7
    cuts = np.cumsum([0, *sizes])
    blocks = [(jnp.asarray(mean[a:b]), jnp.asarray(std[a:b])) for a, b in itertools.pairwise(cuts)]
    found = latents.log_aggregate(jax.jit(pairwise), jnp.asarray(z), blocks)
    np.testing.assert_allclose(found, np.log(density), rtol=1e-12)


def surgery_of(mean, std, repeats):
    """Surgery of n normal posteriors with `repeats` codes each, as (repeats, n) arrays."""
    posterior = of_normal(Normal(mean, jnp.log(std)))
    z, log_q = posterior.draw(jax.random.key(1), repeats)
    flat = z.reshape(-1, z.shape[-1])
    aggregate = latents.log_aggregate(pairwise, flat, [(mean, std)])
    log_prior = jax.scipy.stats.norm.logpdf(flat).sum(axis=1)
    found = latents.surgery(log_q.reshape(-1), aggregate, log_prior)
    return posterior, found


def test_parts_are_the_integrals_of_a_mixture_in_one_dimension() -> None:
    """Five overlapping posteriors; I and KL(q(z) || p(z)) by SciPy's quadrature (4 std errors)."""
    mean, std = np.array([-1.5, -0.4, 0.1, 0.9, 2.0]), np.array([0.3, 0.5, 0.2, 0.8, 0.4])
    posterior, found = surgery_of(jnp.array(mean)[:, None], jnp.array(std)[:, None], 20_000)
    q = lambda z: scipy.stats.norm.pdf(z, mean, std).mean()  # noqa: E731
    entropy = scipy.integrate.quad(lambda z: -q(z) * np.log(q(z)), -6, 7, limit=400)[0]
    information = entropy - scipy.stats.norm.entropy(0, std).mean()
    cross = scipy.integrate.quad(lambda z: -q(z) * scipy.stats.norm.logpdf(z), -9, 9, limit=400)[0]
    for values, expected in (
        (found.information, information),
        (found.marginal_kl, cross - entropy),
    ):
        error = float(values.std()) / np.sqrt(values.size)
        assert abs(float(values.mean()) - expected) < 4 * error < 0.02
    # Together they are the rate, which has a closed form.
    rate = (found.information + found.marginal_kl).mean()
    np.testing.assert_allclose(rate, posterior.kl.sum(axis=1).mean(), atol=0.02)


def test_codes_far_apart_tell_the_index_and_collapsed_ones_nothing() -> None:
    """I = log N where no two posteriors overlap: the bound; 0 where all are the prior."""
    n = 64
    far = 100.0 * jnp.arange(n)[:, None] * jnp.ones((1, 2))
    _, found = surgery_of(far, jnp.ones((n, 2)), 3)
    np.testing.assert_allclose(found.information, np.log(n), rtol=1e-3)
    _, found = surgery_of(jnp.zeros((n, 2)), jnp.ones((n, 2)), 3)
    np.testing.assert_allclose(found.information, 0.0, atol=1e-5)
    np.testing.assert_allclose(found.marginal_kl, 0.0, atol=1e-5)


def test_a_linear_models_information_is_its_channels_capacity() -> None:
    """z = w x + s e with x ~ N(0, 1): I(x; z) = log(1 + w^2 / s^2) / 2, q(z) = N(0, w^2 + s^2).

    With 2,000 examples the index is as good as x where I is far below log N.
    """
    n, w, s = 2000, 0.8, 0.6
    x = jax.random.normal(jax.random.key(0), (n, 1))
    _, found = surgery_of(w * x, jnp.full((n, 1), s), 1)
    information = 0.5 * np.log(1 + w**2 / s**2)
    assert (found.information <= np.log(n) + 1e-4).all()
    np.testing.assert_allclose(found.information.mean(), information, atol=0.05)
    # Here w^2 + s^2 = 1: the aggregate is the prior, though no posterior is.
    np.testing.assert_allclose(found.marginal_kl.mean(), 0.0, atol=0.02)
