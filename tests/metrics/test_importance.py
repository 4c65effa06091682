"""Importance sampling against exact log-likelihoods, a grid, and brute force on the same draws."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from metrics.models import Linear, curved, linear

from latentgen.core.errors import BadInput
from latentgen.metrics.importance import bits_per_dimension, importance
from latentgen.metrics.weights import add, effective_samples, log_sum, nothing


def normal_draw(mean, covariance):
    """draw for q(z|x_j) = N(mean_j, covariance)."""
    mean, root = jnp.asarray(mean), jnp.asarray(np.linalg.cholesky(covariance))
    log_det = float(np.linalg.slogdet(covariance)[1])

    def draw(key, s):
        noise = jax.random.normal(key, (s, *mean.shape), mean.dtype)
        z = mean[None] + jnp.einsum("knd,ed->kne", noise, root)
        return z, jax.scipy.stats.norm.logpdf(noise).sum(-1) - log_det / 2

    return draw


def wrong_draw(model: Linear):
    """Off in mean and too wide, so that the weights are spread but their variance is finite."""
    mean, covariance = model.posterior()
    return normal_draw(mean + 0.3, 2.5 * np.diag(np.diag(covariance)))


def log_joint(model):
    return lambda z: model.log_prior(z) + model.log_likelihood(z)


@pytest.mark.parametrize("wide", [True, False])
def test_every_weight_of_the_exact_posterior_is_the_likelihood(wide: bool) -> None:
    with jax.enable_x64(wide):
        model = linear(6)
        draw = normal_draw(*model.posterior())
        found = jax.jit(lambda key: importance(draw, log_joint(model), key, 50, 20))(
            jax.random.key(0)
        )
        assert found.log_likelihood.dtype == (jnp.float64 if wide else jnp.float32)
        tolerance = 1e-9 if wide else 1e-5
        np.testing.assert_allclose(found.log_likelihood, model.exact(), atol=tolerance)
        np.testing.assert_allclose(found.effective_samples, 50, rtol=tolerance)


@pytest.mark.usefixtures("x64")
def test_the_bound_rises_to_the_exact_value_and_not_beyond() -> None:
    """Means over 400 repeats; at k = 1 the gap is KL(q || posterior), in closed form."""
    model = linear(2)
    exact, draw = model.exact(), wrong_draw(model)
    keys = jax.random.split(jax.random.key(0), 400)
    before = None
    for k in (1, 10, 300):
        run = jax.jit(
            jax.vmap(lambda key, k=k: importance(draw, log_joint(model), key, k, 64).log_likelihood)
        )
        values = np.asarray(run(keys))
        mean, error = values.mean(axis=0), values.std(axis=0) / 20
        assert (mean < exact + 5 * error).all()
        if k == 1:
            shift, precision = np.full(2, 0.3), np.linalg.inv(model.posterior()[1])
            wide = 2.5 * np.diag(np.diag(model.posterior()[1]))
            ratio = np.trace(precision @ wide) - np.linalg.slogdet(precision @ wide)[1]
            gap = 0.5 * (ratio + shift @ precision @ shift - 2)
            np.testing.assert_array_less(np.abs(mean - exact + gap), 4 * error)
        else:
            assert (mean > before).all()
        before = mean
    np.testing.assert_allclose(before, exact, atol=0.02)


@pytest.mark.parametrize("k", [1, 7, 100])
def test_chunks_and_their_mask_are_brute_force_on_the_same_draws(k: int) -> None:
    model = linear(3)
    draw, key = wrong_draw(model), jax.random.key(3)
    found = jax.jit(lambda key: importance(draw, log_joint(model), key, k, 7))(key)
    # k = 100 in 15 chunks of 7, the last five of them too many.
    chunks = [draw(jax.random.fold_in(key, i), min(k, 7)) for i in range(math.ceil(k / 7))]
    log_w = np.concatenate([np.asarray(log_joint(model)(z) - log_q) for z, log_q in chunks])[:k]
    log_w = log_w.astype(np.float64)
    np.testing.assert_allclose(
        found.log_likelihood, scipy.special.logsumexp(log_w, axis=0) - np.log(k), atol=1e-5
    )
    w = np.exp(log_w - log_w.max(axis=0))
    np.testing.assert_allclose(
        found.effective_samples, w.sum(axis=0) ** 2 / (w**2).sum(axis=0), rtol=1e-5
    )


def test_the_size_of_a_chunk_changes_the_noise_only() -> None:
    model = linear(3)
    draw = wrong_draw(model)
    for chunk in (64, 1000, 4096):
        run = jax.jit(partial(importance, draw, log_joint(model), k=4000, chunk=chunk))
        found = run(jax.random.key(chunk))
        # The relative standard error of a mean of weights is sqrt(1/ESS - 1/k).
        error = np.sqrt(1 / found.effective_samples - 1 / 4000)
        assert (error < 0.03).all()
        np.testing.assert_array_less(np.abs(found.log_likelihood - model.exact()), 4 * error)


@pytest.mark.parametrize("dim", [1, 2])
def test_a_nonlinear_decoder_agrees_with_the_integral_over_a_grid(dim: int) -> None:
    """From a wide normal, for 2,000 and then 40,000 samples: within 4 standard errors, small."""
    model = curved(8, dim)
    draw = normal_draw(np.zeros((8, dim)), 1.2 * np.eye(dim))
    for k in (2_000, 40_000):
        run = jax.jit(lambda key, k=k: importance(draw, log_joint(model), key, k, 2000))
        found = run(jax.random.key(0))
        error = np.sqrt(1 / found.effective_samples)
        np.testing.assert_array_less(np.abs(found.log_likelihood - model.exact()), 4 * error)
    assert (error < 0.05).all()


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    model = linear(3)
    draw = wrong_draw(model)

    def memory(k: int) -> int:
        run = jax.jit(lambda key: importance(draw, log_joint(model), key, k, 100))
        return run.lower(jax.random.key(0)).compile().memory_analysis().temp_size_in_bytes

    assert memory(100_000) == memory(1_000) > 0


def test_weights_of_zero_are_fine_and_nothing_but_zeros_is_minus_infinity() -> None:
    def draw(key, s):
        # Example 0: all outside; example 1: one in four inside; example 2: all inside.
        u = jax.random.uniform(key, (s, 3, 1))
        return u, jnp.zeros((s, 3))

    def inside(z):
        edge = jnp.array([-1.0, 0.25, 2.0])
        return jnp.where(z[..., 0] < edge[None], -1000.0, -jnp.inf)

    found = jax.jit(lambda key: importance(draw, inside, key, 4000, 3))(jax.random.key(0))
    assert found.log_likelihood[0] == -jnp.inf
    assert found.effective_samples[0] == 0
    share = np.exp(found.log_likelihood[1] + 1000)
    assert abs(share - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 4000)
    np.testing.assert_allclose(found.effective_samples[1], 4000 * share, rtol=1e-4)
    assert found.log_likelihood[2] == -1000
    np.testing.assert_allclose(found.effective_samples[2], 4000)


def test_a_decoder_that_is_not_a_number_is_seen() -> None:
    draw = lambda key, s: (jnp.zeros((s, 1, 1)), jnp.zeros((s, 1)))  # noqa: E731
    found = importance(draw, lambda z: z[..., 0] * jnp.nan, jax.random.key(0), 4, 2)
    assert jnp.isnan(found.log_likelihood).all()
    assert jnp.isnan(found.effective_samples).all()


def test_small_weights_add_up_in_single_precision() -> None:
    """log w near -5,000, one at a time: the rounded logarithm of the sum would stop growing."""
    log_w = jnp.full((1,), -5000.0)
    one = lambda i, weights: add(weights, log_w[None])  # noqa: E731
    weights = jax.jit(lambda: jax.lax.fori_loop(0, 30_000, one, nothing(log_w)))()
    np.testing.assert_allclose(log_sum(weights), -5000 + np.log(30_000), rtol=1e-7)
    np.testing.assert_allclose(effective_samples(weights), 30_000, rtol=1e-5)


@pytest.mark.usefixtures("x64")
def test_the_gradient_is_the_finite_difference() -> None:
    model = linear(2)
    draw = wrong_draw(model)

    @jax.jit
    def total(scale):
        scaled = lambda z: log_joint(model)(scale * z)  # noqa: E731
        return importance(draw, scaled, jax.random.key(0), 10, 4).log_likelihood.sum()

    difference = (total(1 + 1e-5) - total(1 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(total)(1.0), difference, rtol=1e-6)


@pytest.mark.parametrize(("k", "chunk", "named"), [(0, 5, "k=0"), (5, 0, "chunk=0")])
def test_no_samples_are_refused(k: int, chunk: int, named: str) -> None:
    model = linear(1)
    with pytest.raises(BadInput, match=named):
        importance(wrong_draw(model), log_joint(model), jax.random.key(0), k, chunk)


def test_fair_coins_take_one_bit_each() -> None:
    found = bits_per_dimension(jnp.array([784 * np.log(0.5), 784 * np.log(0.25)]), 784)
    np.testing.assert_allclose(found, [1.0, 2.0], rtol=1e-6)
