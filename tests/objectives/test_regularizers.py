"""Regularizers of a GAN through discriminators and generators that are linear."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.objectives.penalties import normalize_gradient
from latentgen.objectives.regularizers import (
    Regularizers,
    Scores,
    average_logits,
    lecam,
    no_averages,
    of_discriminator,
    of_generator,
    top_share,
    top_weights,
)

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(0)
W, V = np.array([1.0, -2.0, 0.5]), np.array([[1.0, 2.0, 0.0], [0.5, 0.0, -1.0]])


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape, jnp.float64)


def scores_of(codes: jax.Array, real: jax.Array) -> Scores:
    """D(x) = W' x and G(z) = V' z, in groups of one."""

    def score(x):
        return x[:, 0] @ W

    def synthesize(z):
        return (z @ V)[:, None]

    synthetic = synthesize(codes)
    both = score(real), score(synthetic)
    features = lambda x: x[:, 0] * W[None]  # noqa: E731
    return Scores(real, synthetic, *both, score, features, {}, {}, codes, synthesize)


def test_consistency_is_the_squared_change_of_the_logit() -> None:
    c = np.array([0.1, 0.2, -0.3])
    weights = Regularizers(real=10.0, synthetic=4.0, move=lambda x, key: x + c[None, None])
    terms = of_discriminator(weights, scores_of(normal(1, 5, 2), normal(2, 5, 1, 3)), None, KEY)
    change = (W @ c) ** 2
    assert sorted(terms) == ["consistency", "synthetic_consistency"]
    np.testing.assert_allclose(terms["consistency"], np.full(5, 10 * change), rtol=1e-9)
    np.testing.assert_allclose(terms["synthetic_consistency"], np.full(5, 4 * change), rtol=1e-9)


def test_latent_consistency_and_diversity_have_the_means_of_a_linear_map() -> None:
    """For d ~ N(0, s^2): E (W' V' d)^2 = s^2 |V W|^2, and E |V' d|^2 / 3 = s^2 |V|^2 / 3."""
    n, std = 200_000, 0.1
    weights = Regularizers(latent=5.0, diverse=0.5, latent_std=std)
    scores = scores_of(normal(1, n, 2), normal(2, n, 1, 3))
    of_d = of_discriminator(weights, scores, None, KEY)["latent_consistency"]
    of_g = of_generator(weights, scores, KEY)["latent_diversity"]
    np.testing.assert_allclose(of_d.mean(), 5 * std**2 * ((V @ W) ** 2).sum(), rtol=0.02)
    np.testing.assert_allclose(of_g.mean(), -0.5 * std**2 * (V**2).sum() / 3, rtol=0.02)


def test_matched_features_have_the_gradient_of_a_quadratic() -> None:
    """With f(x) = w * x and G(z) = V' z + b: |w * (m - V' c - b)|^2, m and c the means."""
    real, codes = normal(2, 5, 1, 3), normal(1, 7, 2)
    scores, weights = scores_of(codes, real), Regularizers(features=3.0)
    gap = np.asarray(real.mean((0, 1))) - np.asarray(codes.mean(0)) @ V

    def value(b: jax.Array) -> jax.Array:
        moved = scores._replace(synthetic=scores.synthetic + b[None, None])
        return of_generator(weights, moved, KEY)["feature_error"].mean()

    found = of_generator(weights, scores, KEY)["feature_error"]
    np.testing.assert_allclose(found, np.full(7, 3 * ((W * gap) ** 2).sum()), rtol=1e-9)
    np.testing.assert_allclose(jax.grad(value)(jnp.zeros(3)), -6 * W**2 * gap, rtol=1e-9)


def test_lecam_pulls_to_the_averages_of_the_other_kind() -> None:
    rows = [
        (np.array([1.0, 3.0]), np.array([-1.0, 0.0])),
        (np.array([0.0, 1.0]), np.array([2.0, 0.0])),
    ]
    state, weights = no_averages(), []
    for real, synthetic in rows:
        state = average_logits(state, jnp.asarray(real), jnp.asarray(synthetic))
        weights = [0.99 * w for w in weights] + [0.01]
    a, b = (
        sum(w * row[i].mean() for w, row in zip(weights, rows, strict=True)) / sum(weights)
        for i in (1, 0)
    )
    real, synthetic = np.array([0.0, 2.0, 5.0]), np.array([-3.0, 0.5, 9.0])
    expected = np.maximum(0, real - a) ** 2 + np.maximum(0, b - synthetic) ** 2
    found = lecam(jnp.asarray(real), jnp.asarray(synthetic), state)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_only_the_best_of_a_batch_have_a_weight_and_the_mean_is_theirs() -> None:
    logits = jnp.array([0.3, -1.0, 2.0, 0.5, -0.2])
    np.testing.assert_array_equal(top_weights(logits, 0.5), [0, 0, 2.5, 2.5, 0])
    loss = np.array([1.0, 5.0, 2.0, 4.0, 3.0])
    np.testing.assert_allclose(
        (loss * top_weights(logits, 0.6)).mean(), np.mean([1.0, 2.0, 4.0]), rtol=1e-6
    )
    np.testing.assert_array_equal(top_weights(logits, 0.01), [0, 0, 5, 0, 0])
    np.testing.assert_array_equal(top_weights(logits, 1.0), np.ones(5))


def test_the_share_falls_as_by_a_factor_in_each_epoch() -> None:
    epoch, images = 100, 100 * np.log(0.5) / np.log(0.99)
    weights = Regularizers(top=0.5, top_images=images)
    for epochs in (0, 1, 10, 69, 1_000):
        expected = max(0.99**epochs, 0.5)
        np.testing.assert_allclose(top_share(weights, epochs * epoch), expected, rtol=1e-5)


def test_normalized_gradients_of_a_quadratic_discriminator() -> None:
    """l = a |x|^2 / 2 has the gradient a x; a linear one has one gradient."""
    x = normal(3, 6, 4)
    found, stats = normalize_gradient(lambda x: (0.7 * (x**2).sum(axis=1) / 2, "kept"), x)
    squared = np.asarray((x**2).sum(axis=1))
    logit = 0.35 * squared
    np.testing.assert_allclose(found, logit / (0.7 * np.sqrt(squared) + logit), rtol=1e-9)
    assert stats == "kept"
    linear, _ = normalize_gradient(lambda x: (x @ jnp.array([3.0, 0.0, 4.0, 0.0]), ()), x)
    slope = np.asarray(x) @ [3, 0, 4, 0]
    np.testing.assert_allclose(linear, slope / (5 + abs(slope)), rtol=1e-9)


def test_a_normalized_discriminator_that_is_0_everywhere_has_finite_gradients() -> None:
    def value(w):
        return normalize_gradient(lambda x: (x @ w, ()), jnp.ones((2, 3)))[0].sum()

    assert value(jnp.zeros(3)) == 0
    assert jnp.isfinite(jax.grad(value)(jnp.zeros(3))).all()
