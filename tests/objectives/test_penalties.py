"""Penalties through discriminators whose gradients are known, and against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentgen.objectives.penalties import (
    PENALTIES,
    clip_weights,
    grad_norm,
    grad_norm_sq,
    orthogonal_regularization,
)

pytestmark = pytest.mark.usefixtures("x64")
KEY = jax.random.key(0)


def quadratic(a, b):
    """l(x) = x' A x / 2 + b' x, whose gradient is A x + b for a symmetric A."""
    return lambda x: 0.5 * jnp.einsum("ni,ij,nj->n", x, a, x) + x @ b


def points(seed: int, n: int = 6, d: int = 3) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (n, d), jnp.float64)


A = np.array([[2.0, 0.5, 0.0], [0.5, -1.0, 0.3], [0.0, 0.3, 0.7]])
B = np.array([0.2, -0.4, 1.0])


@pytest.mark.parametrize("name", ["r1", "r2", "r1_r2"])
def test_of_a_quadratic_discriminator_and_its_gradient_in_the_parameters(name: str) -> None:
    real, synthetic = points(1), points(2)
    seen = {"r1": [real], "r2": [synthetic], "r1_r2": [real, synthetic]}[name]

    def mean(a, b):
        return PENALTIES[name](quadratic(a, b), real, synthetic, KEY).mean()

    gradients = [np.asarray(x) @ np.asarray(A).T + np.asarray(B) for x in seen]
    expected = sum((g**2).sum(axis=1) / 2 for g in gradients)
    np.testing.assert_allclose(
        PENALTIES[name](quadratic(A, B), real, synthetic, KEY), expected, rtol=1e-12
    )
    by_a, by_b = jax.grad(mean, argnums=(0, 1))(A, B)
    np.testing.assert_allclose(by_b, sum(g.mean(axis=0) for g in gradients), rtol=1e-12)
    # x' A x / 2 has the gradient (A + A') x / 2, so the derivative in A is the symmetric part.
    outer = sum(g.T @ np.asarray(x) / len(x) for g, x in zip(gradients, seen, strict=True))
    np.testing.assert_allclose(by_a, (outer + outer.T) / 2, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["wgan_gp", "dragan"])
def test_a_linear_discriminator_has_one_slope_wherever_it_is_asked(name: str) -> None:
    w = jnp.array([3.0, 0.0, 4.0])
    found = PENALTIES[name](lambda x: x @ w, points(1), points(2), KEY)
    np.testing.assert_allclose(found, np.full(6, (5.0 - 1) ** 2), rtol=1e-12)
    unit = PENALTIES[name](lambda x: x @ (w / 5), points(1), points(2), KEY)
    np.testing.assert_allclose(unit, np.zeros(6), atol=1e-12)


def test_wgan_gp_asks_evenly_between_real_and_synthetic() -> None:
    """l = a x^2 / 2 in one dimension: E (a |x_u| - 1)^2 over x_u uniform from s = 1 to r = 3."""
    n, a, r, s = 40_000, 0.8, 3.0, 1.0
    real, synthetic = jnp.full((n, 1), r), jnp.full((n, 1), s)
    found = PENALTIES["wgan_gp"](lambda x: a * x[:, 0] ** 2 / 2, real, synthetic, KEY)
    integral = ((a * r - 1) ** 3 - (a * s - 1) ** 3) / (3 * a) / (r - s)
    assert abs(found.mean() - integral) < 4 * found.std() / np.sqrt(n)
    assert found.min() >= 0
    assert found.max() <= (a * r - 1) ** 2
    # Another u for each example, the same for all of its coordinates: on the line, not in the box.
    real, synthetic = jnp.full((n, 2), r), jnp.full((n, 2), s)
    off = PENALTIES["wgan_gp"](lambda x: (x[:, 0] - x[:, 1]) ** 2 / 2, real, synthetic, KEY)
    np.testing.assert_allclose(off, np.ones(n), rtol=1e-12)  # gradient 0: (0 - 1)^2


def test_dragan_asks_within_half_a_standard_deviation_of_real_examples() -> None:
    """l = x^2 / 2, x = 4 +- 1 with standard deviation 1: E (x + u - 1)^2, u ~ U[-1/2, 1/2]."""
    n = 40_000
    real = jnp.where(jnp.arange(n) % 2 == 0, 3.0, 5.0)[:, None]
    found = PENALTIES["dragan"](lambda x: x[:, 0] ** 2 / 2, real, 100 * real, KEY)
    expected = np.mean([(3 - 1) ** 2, (5 - 1) ** 2]) + 1 / 12
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(n)
    assert found.max() <= 4.5**2
    assert found.max() > 4.49**2


def test_slopes_are_central_differences() -> None:
    w = points(3, 3, 5)

    def curved(x):
        return jnp.tanh(x @ w).sum(axis=1) + jnp.sin(x).prod(axis=1)

    x, step = points(4), 1e-6
    rows = [
        (curved(x + step * e[None]) - curved(x - step * e[None])) / (2 * step) for e in jnp.eye(3)
    ]
    gradient = np.stack(rows, axis=1)
    np.testing.assert_allclose(grad_norm_sq(curved, x), (gradient**2).sum(axis=1), rtol=1e-7)
    np.testing.assert_allclose(grad_norm(curved, x), np.linalg.norm(gradient, axis=1), rtol=1e-7)


@pytest.mark.parametrize("name", PENALTIES)
def test_gradients_in_the_parameters_are_central_differences(name: str) -> None:
    real, synthetic, w = points(1), points(2), points(3, 3, 4)
    direction = points(5, 3, 4)

    def mean(w):
        return PENALTIES[name](lambda x: jnp.tanh(x @ w).sum(axis=1), real, synthetic, KEY).mean()

    step = 1e-5
    expected = (mean(w + step * direction) - mean(w - step * direction)) / (2 * step)
    np.testing.assert_allclose((jax.grad(mean)(w) * direction).sum(), expected, rtol=1e-6)


@pytest.mark.parametrize("name", PENALTIES)
def test_a_flat_discriminator_gives_finite_gradients(name: str) -> None:
    def mean(w):
        return PENALTIES[name](lambda x: x @ w, points(1), points(2), KEY).mean()

    assert np.isfinite(jax.grad(mean)(jnp.zeros(3))).all()


def test_boxed_weights_stay_in_the_box_and_move_freely_within() -> None:
    tx = optax.chain(optax.sgd(1.0), clip_weights(0.1))
    params = {"a": jnp.array([0.05, -0.09, 3.0]), "b": jnp.array(0.0)}
    gradient = {"a": jnp.array([-1.0, 0.005, 0.0]), "b": jnp.array(0.02)}
    updates, _ = tx.update(gradient, tx.init(params), params)
    found = optax.apply_updates(params, updates)
    np.testing.assert_allclose(found["a"], [0.1, -0.095, 0.1], rtol=1e-12)
    np.testing.assert_allclose(found["b"], -0.02, rtol=1e-12)


def test_orthogonal_regularization_is_the_gradient_of_its_value():
    """The value is weight / 2 |W^T W (1 - I)|^2 for the player's kernels, and 0 for the rest."""
    rng = np.random.default_rng(0)
    kernel = jnp.asarray(rng.normal(size=(2, 2, 3, 4)), jnp.float32)
    layer = {"kernel": kernel, "bias": jnp.ones(4)}
    params = {"generator": {"Conv_0": layer, "shared": layer}, "prior": {"kernel": kernel}}
    tx = orthogonal_regularization(0.3, "generator")
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)

    def value(kernel):
        w = kernel.reshape(-1, 4)
        return sum(0.3 / 2 * (w[:, i] @ w[:, j]) ** 2 for i in range(4) for j in range(4) if i != j)

    expected = jax.tree.map(jnp.ones_like, params)
    expected["generator"]["Conv_0"]["kernel"] += jax.grad(value)(kernel)
    for a, b in zip(*map(jax.tree.leaves, (updates, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
