"""The cost against its formula with sigmoids, against known optima, and far out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from latentgen.objectives.adversarial import LOSSES, minimax_value, nonsaturating_g_loss


@pytest.mark.usefixtures("x64")
def test_cost_is_the_formula_with_sigmoids() -> None:
    real, synthetic = jnp.linspace(-15, 15, 61), jnp.linspace(15, -15, 61) + 0.3
    d = lambda logits: 1 / (1 + np.exp(-np.asarray(logits)))  # noqa: E731
    expected = np.log(d(real)) + np.log(1 - d(synthetic))
    np.testing.assert_allclose(minimax_value(real, synthetic), expected, rtol=1e-9)
    expected = -np.log(d(synthetic))
    np.testing.assert_allclose(nonsaturating_g_loss(real, synthetic), expected, rtol=1e-9)


FORMULAS = {  # D's value and G's, from scores r of real and s of synthetic examples
    "minimax": (
        lambda r, s: np.log(1 / (1 + np.exp(-r)) * (1 - 1 / (1 + np.exp(-s)))),
        lambda r, s: np.log(1 / (1 + np.exp(-r)) * (1 - 1 / (1 + np.exp(-s)))),
    ),
    "nonsaturating": (
        lambda r, s: np.log(1 / (1 + np.exp(-r)) * (1 - 1 / (1 + np.exp(-s)))),
        lambda r, s: np.log(1 + np.exp(-s)),
    ),
    "least_squares": (
        lambda r, s: -0.5 * ((r - 1) ** 2 + (s - 0) ** 2),
        lambda r, s: 0.5 * (s - 1) ** 2,
    ),
    "hinge": (
        lambda r, s: -np.where(r < 1, 1 - r, 0) - np.where(s > -1, 1 + s, 0),
        lambda r, s: -s,
    ),
    "wasserstein": (lambda r, s: r - s, lambda r, s: r - s),
    "relativistic": (
        lambda r, s: -np.log(1 + np.exp(-(r - s))),
        lambda r, s: np.log(1 + np.exp(-(s - r))),
    ),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", LOSSES)
def test_every_game_is_its_formula_and_its_slopes_are_central_differences(name: str) -> None:
    real, synthetic = jnp.linspace(-5.03, 5, 41), jnp.linspace(4, -4.05, 41) ** 3 / 20
    step = 1e-6
    for value, formula in zip(LOSSES[name], FORMULAS[name], strict=True):
        expected = formula(np.asarray(real), np.asarray(synthetic))
        np.testing.assert_allclose(value(real, synthetic), expected, rtol=1e-9, atol=1e-12)
        slopes = jax.grad(lambda r, s, v=value: v(r, s).sum(), argnums=(0, 1))(real, synthetic)
        for found, (dr, ds) in zip(slopes, ((step, 0.0), (0.0, step)), strict=True):
            high = formula(np.asarray(real) + dr, np.asarray(synthetic) + ds)
            low = formula(np.asarray(real) - dr, np.asarray(synthetic) - ds)
            np.testing.assert_allclose(found, (high - low) / (2 * step), rtol=1e-6, atol=1e-8)


def test_undecided_discriminator_costs_minus_log_four() -> None:
    np.testing.assert_allclose(minimax_value(jnp.zeros(1), jnp.zeros(1)), -np.log(4), rtol=1e-6)


@pytest.mark.usefixtures("x64")
def test_at_the_best_discriminator_cost_is_the_jensen_shannon_divergence() -> None:
    """Goodfellow et al. 2014, theorem 1: max_D C = 2 JSD(p || q) - log 4, at D = p / (p + q)."""
    p, q = np.array([0.1, 0.4, 0.5]), np.array([0.5, 0.3, 0.2])
    logits = jnp.log(p / q)  # sigmoid gives p / (p + q)

    def expected_cost(logits: jax.Array) -> jax.Array:
        return (p * minimax_value(logits, -jnp.full(3, jnp.inf))).sum() + (
            q * minimax_value(jnp.full(3, jnp.inf), logits)
        ).sum()

    np.testing.assert_allclose(expected_cost(logits), 2 * jensenshannon(p, q) ** 2 - np.log(4))
    np.testing.assert_allclose(jax.grad(expected_cost)(logits), np.zeros(3), atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("real", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("synthetic", [-1e4, 0.0, 1e4])
def test_values_and_gradients_are_finite_far_out(name: str, real: float, synthetic: float) -> None:
    for value in LOSSES[name]:
        found, slopes = jax.value_and_grad(lambda r, s, v=value: v(r, s)[0], argnums=(0, 1))(
            jnp.array([real]), jnp.array([synthetic])
        )
        assert np.isfinite(found)
        assert np.isfinite(slopes).all()


def test_the_gradient_saturates_for_minimax_and_not_for_nonsaturating() -> None:
    """If D rejects a synthetic example, minimax gives G almost no gradient.

    Here minimax names the loss that G optimizes; others call the non-saturating loss minimax.
    """
    rejected = jnp.array([-20.0])
    slope = {
        name: float(jax.grad(lambda s, g=g: g.generator_loss(jnp.zeros(1), s)[0])(rejected)[0])
        for name, g in LOSSES.items()
    }
    np.testing.assert_allclose(slope["minimax"], -np.exp(-20.0), rtol=1e-3)
    np.testing.assert_allclose(slope["nonsaturating"], -1.0, rtol=1e-3)
