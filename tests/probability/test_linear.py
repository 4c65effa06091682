"""Exact answers of affine decoders against SciPy, scikit-learn and each other's definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import sklearn.decomposition

from latentgen.core.errors import BadInput
from latentgen.probability import linear


def model(seed=0, pixels=7, dim=3, n=6):
    rng = np.random.default_rng(seed)
    w, mu = rng.normal(size=(pixels, dim)), rng.normal(size=pixels)
    std = rng.uniform(0.2, 1.5, size=pixels)
    return w, mu, std, rng.normal(size=(n, pixels)) * 2


STDS = {"one std": lambda std: 0.7, "a std per pixel": lambda std: std}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("which", STDS)
def test_log_marginal_is_scipys_normal(which: str) -> None:
    w, mu, std, x = model()
    std = STDS[which](std)
    covariance = w @ w.T + np.diag(np.broadcast_to(std, mu.shape) ** 2)
    expected = scipy.stats.multivariate_normal(mu, covariance).logpdf(x)
    std = jnp.asarray(std) if isinstance(std, np.ndarray) else std
    found = jax.jit(linear.log_marginal)(jnp.asarray(w), jnp.asarray(mu), std, jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-9)


def test_log_marginal_is_sound_in_single_precision() -> None:
    """784 pixels, 50 coordinates, noise far below the signal: float32 against NumPy in float64."""
    rng = np.random.default_rng(0)
    w, std = rng.normal(size=(784, 50)), 0.05
    mu = rng.normal(size=784)
    x = rng.normal(size=(4, 50)) @ w.T + mu + std * rng.normal(size=(4, 784))
    w, mu, x = (np.float32(leaf) for leaf in (w, mu, x))
    covariance = w.astype(float) @ w.T.astype(float) + std**2 * np.eye(784)
    factor = np.linalg.cholesky(covariance)
    white = np.linalg.solve(factor, (x.astype(float) - mu).T)
    log_det = 2 * np.log(np.diag(factor)).sum()
    expected = -0.5 * ((white**2).sum(axis=0) + log_det + 784 * np.log(2 * np.pi))
    found = linear.log_marginal(jnp.asarray(w), jnp.asarray(mu), std, jnp.asarray(x))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("which", STDS)
def test_posterior_is_the_conditional_of_the_joint_normal(which: str) -> None:
    """Conditioning (z, x) in NumPy: mean W^T S^-1 (x - mu), covariance I - W^T S^-1 W."""
    w, mu, std, x = model()
    std = STDS[which](std)
    s = w @ w.T + np.diag(np.broadcast_to(std, mu.shape) ** 2)
    std = jnp.asarray(std) if isinstance(std, np.ndarray) else std
    mean, covariance = linear.posterior(jnp.asarray(w), jnp.asarray(mu), std, jnp.asarray(x))
    np.testing.assert_allclose(mean, (x - mu) @ np.linalg.solve(s, w), rtol=1e-9)
    np.testing.assert_allclose(covariance, np.eye(3) - w.T @ np.linalg.solve(s, w), atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_the_elbo_of_the_exact_posterior_is_the_log_marginal_at_any_code() -> None:
    """log p(z) + log p(x|z) - log p(z|x), by SciPy, is log p(x) whatever z is."""
    w, mu, std, x = model()
    arrays = [jnp.asarray(leaf) for leaf in (w, mu, std, x)]
    mean, covariance = linear.posterior(*arrays)
    marginal = linear.log_marginal(*arrays)
    rng = np.random.default_rng(1)
    for j in range(len(x)):
        z = rng.normal(size=3)
        log_px = scipy.stats.norm.logpdf(x[j], w @ z + mu, std).sum()
        log_q = scipy.stats.multivariate_normal(mean[j], covariance).logpdf(z)
        found = scipy.stats.norm.logpdf(z).sum() + log_px - log_q
        np.testing.assert_allclose(found, marginal[j], rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_the_gradient_of_log_marginal_is_the_finite_difference() -> None:
    w, mu, std, x = (jnp.asarray(leaf) for leaf in model())
    total = jax.jit(lambda scale: linear.log_marginal(scale * w, mu, scale * std, x).sum())
    difference = (total(1 + 1e-6) - total(1 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(total)(1.0), difference, rtol=1e-6)


@pytest.mark.parametrize("wide", [True, False])
def test_affine_finds_the_matrix_of_a_decoder_of_images(wide: bool) -> None:
    with jax.enable_x64(wide):
        w, mu, _, _ = model(pixels=12)
        w, mu = jnp.asarray(w), jnp.asarray(mu)
        decode = lambda z: (z @ w.T + mu[None]).reshape(-1, 3, 4, 1)  # noqa: E731
        found_w, found_mu = linear.affine(decode, 3)
        assert found_w.dtype == w.dtype
        np.testing.assert_allclose(found_w, w, rtol=1e-6)
        np.testing.assert_allclose(found_mu, mu, rtol=1e-6)


@pytest.mark.parametrize(
    "bend",
    [
        jax.nn.relu,
        lambda x: x + 0.01 * jnp.tanh(x),
        jax.nn.sigmoid,
        lambda x: jnp.where(x > 15, 15.0, x),
        lambda x: x * jnp.nan,
    ],
    ids=["relu", "slightly bent", "sigmoid", "clipped far out", "nan"],
)
def test_a_decoder_that_is_not_affine_is_refused(bend) -> None:
    w, mu, _, _ = (jnp.asarray(leaf, jnp.float32) for leaf in model(pixels=12))
    with pytest.raises(BadInput, match="decoder: not affine"):
        linear.affine(lambda z: bend(z @ w.T + mu[None]), 3)


def data(n=300, pixels=8):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 3)) @ rng.normal(size=(3, pixels)) + 0.5 * rng.normal(
        size=(n, pixels)
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("q", [1, 3, 7])
def test_pca_is_scikit_learns_on_data_of_the_same_covariance(q: int) -> None:
    """scikit-learn divides by N - 1: it sees the data shrunk to the covariance divided by N."""
    x = data()
    shrunk = x.mean(axis=0) + (x - x.mean(axis=0)) * np.sqrt((len(x) - 1) / len(x))
    theirs = sklearn.decomposition.PCA(q, svd_solver="full").fit(shrunk)
    w, mu, std = jax.jit(linear.probabilistic_pca, static_argnums=1)(jnp.asarray(x), q)
    assert w.shape == (8, q)
    np.testing.assert_allclose(std**2, theirs.noise_variance_, rtol=1e-9)
    np.testing.assert_allclose(
        w @ w.T + std**2 * jnp.eye(8), theirs.get_covariance(), rtol=1e-9, atol=1e-9
    )
    found = linear.log_marginal(w, mu, std, jnp.asarray(x))
    np.testing.assert_allclose(found, theirs.score_samples(x), rtol=1e-9)
    gram = np.asarray(w.T @ w)
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-9)
    assert (np.diff(np.diag(gram)) < 0).all()
    # The closed form, from eigenvalues that NumPy found, in any order.
    eigenvalues = np.random.default_rng(0).permutation(np.linalg.eigvalsh(np.cov(x.T, ddof=0)))
    best = linear.maximum_log_likelihood(jnp.asarray(eigenvalues), q)
    np.testing.assert_allclose(best, found.mean(), rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_pca_is_a_maximum_of_the_likelihood() -> None:
    x = jnp.asarray(data())
    best = linear.probabilistic_pca(x, 2)
    mean = jax.jit(lambda w, mu, std: linear.log_marginal(w, mu, std, x).mean())
    for gradient in jax.grad(mean, argnums=(0, 1, 2))(*best):
        np.testing.assert_allclose(gradient, 0.0, atol=1e-9)
    rng = np.random.default_rng(0)
    for size in (0.01, 0.1, 1.0):
        moved = [leaf + size * rng.normal(size=leaf.shape) for leaf in best]
        moved[2] = abs(moved[2])
        assert mean(*moved) < mean(*best)


@pytest.mark.parametrize("q", [0, 8, -1])
def test_pca_needs_noise_and_a_code(q: int) -> None:
    with pytest.raises(BadInput, match=f"q={q} "):
        linear.probabilistic_pca(jnp.asarray(data(), jnp.float32), q)
    with pytest.raises(BadInput, match=f"q={q} "):
        linear.maximum_log_likelihood(jnp.arange(1.0, 9.0), q)
