"""The Dirac-GAN: the project's own game, whose dynamics are known in closed form.

G puts all synthetic examples at theta, all real ones are 0, D(x) has the logit psi x. Reference:
Mescheder et al. 2018 (arXiv:1801.04406), sections 2 and 4.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.methods.dirac_gan import SLOPES, eigenvalues, field, stepped

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.parametrize("game", SLOPES)
@pytest.mark.parametrize("penalty", ["none", "r1", "r2"])
@pytest.mark.parametrize("gamma", [0.1, 1.0, 3.0])
@pytest.mark.quick(12)
def test_eigenvalues_at_the_equilibrium(game: str, penalty: str, gamma: float) -> None:
    """+- i f'(0) without a penalty; with R1 -gamma/2 +- sqrt(gamma^2/4 - f'(0)^2)."""
    gamma = 0.0 if penalty == "none" else gamma
    root = np.sqrt(complex(gamma**2 / 4 - SLOPES[game] ** 2))
    expected = np.sort_complex([-gamma / 2 - root, -gamma / 2 + root])
    np.testing.assert_allclose(eigenvalues(field(game, penalty, gamma)), expected, atol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_a_whole_step_in_turn_neither_spirals_in_nor_out(rate: float) -> None:
    """Lemma 2.4: 1 - a^2/2 +- sqrt((1 - a^2/2)^2 - 1) with a = h f'(0), on the unit circle."""
    found = eigenvalues(stepped("minimax", "none", 0.0, (rate, rate)))
    middle = 1 - (rate / 2) ** 2 / 2
    root = np.sqrt(complex(middle**2 - 1))
    np.testing.assert_allclose(found, np.sort_complex([middle - root, middle + root]), atol=1e-6)
    np.testing.assert_allclose(abs(found), 1.0, atol=1e-6)


def test_unregularized_flow_turns_around_the_equilibrium_and_r1_flows_in() -> None:
    point = jnp.array([0.8, -1.3])
    assert abs(point @ field("minimax")(point)) < 1e-12  # theta^2 + psi^2 is conserved
    state = point
    step = jax.jit(stepped("nonsaturating", "r1", 1.0, (0.1, 0.1)))
    for _ in range(400):
        state = step(state)
    assert jnp.linalg.norm(state) < 1e-3 * jnp.linalg.norm(point)


def test_minimax_descends_the_saturating_cost_and_nonsaturating_does_not() -> None:
    """Far from the equilibrium G moves by psi sigmoid(psi theta), or by psi sigmoid(-psi theta)."""
    theta, psi = 2.0, -3.0
    sigmoid = lambda t: 1 / (1 + np.exp(-t))  # noqa: E731
    found = {game: field(game)(jnp.array([theta, psi])) for game in ("minimax", "nonsaturating")}
    np.testing.assert_allclose(found["minimax"][0], psi * sigmoid(psi * theta), rtol=1e-9)
    np.testing.assert_allclose(found["nonsaturating"][0], psi * sigmoid(-psi * theta), rtol=1e-9)
    assert abs(found["nonsaturating"][0] / found["minimax"][0]) > 400  # e^6
    for moves in found.values():  # D climbs the same cost in both
        np.testing.assert_allclose(moves[1], -theta * sigmoid(psi * theta), rtol=1e-9)
