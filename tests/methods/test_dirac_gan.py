"""The Dirac-GAN: the project's own game, whose dynamics are known in closed form.

G puts all synthetic examples at theta, all real ones are 0, D(x) has the logit psi x. Reference:
Mescheder et al. 2018 (arXiv:1801.04406), sections 2 and 4.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentgen.core.keys import run_key
from latentgen.core.types import Batch, Net
from latentgen.methods.gan import Model, Objective, gan
from latentgen.objectives.adversarial import GAMES
from latentgen.objectives.penalties import PENALTIES
from latentgen.probability import priors

pytestmark = pytest.mark.usefixtures("x64")


def net(apply) -> Net:
    return Net(
        lambda key, x: (jnp.zeros(()), {}),
        lambda params, stats, x, train, key=None: (apply(params, x), stats),
    )


DIRAC = Model(
    generator=net(lambda theta, z: theta + 0 * z),
    discriminator=net(lambda psi, x: psi * x),
    prior=priors.fixed(priors.normal(1)),
    code_dim=1,
)
BATCH = Batch(jnp.zeros((1, 4, 1)), jnp.zeros((1, 4), jnp.int32))


def stepped(game: str, penalty: str, gamma: float, rates: tuple[float, float]):
    """(theta, psi) -> the same after one step with these rates of D and of G."""
    objective = Objective(GAMES[game], PENALTIES.get(penalty), gamma)
    d_tx, g_tx = (optax.sgd(rate) for rate in rates)
    method = gan(DIRAC, objective, g_tx, d_tx, (1,))
    state = method.init(run_key(0))

    def step(point):
        params = {"generator": point[0], "discriminator": point[1], "prior": {}}
        moved, _ = method.step(state._replace(params=params), jnp.int32(0), BATCH, run_key(0))
        return jnp.stack([moved.params["generator"], moved.params["discriminator"]])

    return step


def field(game: str, penalty: str = "none", gamma: float = 0.0):
    """(theta, psi) -> the directions in which G and D move, each with the other held still."""

    def v(point):
        d_moves = stepped(game, penalty, gamma, (1.0, 0.0))(point) - point
        g_moves = stepped(game, penalty, gamma, (0.0, 1.0))(point) - point
        return jnp.stack([g_moves[0], d_moves[1]])

    return v


def eigenvalues(function) -> np.ndarray:
    jacobian = jax.jacfwd(function)(jnp.zeros(2))
    return np.sort_complex(np.linalg.eigvals(np.asarray(jacobian)))


SLOPES = {"minimax": 0.5, "nonsaturating": 0.5, "relativistic": 0.5, "wasserstein": 1.0, "hinge": 1}


@pytest.mark.parametrize("game", SLOPES)
@pytest.mark.parametrize("penalty", ["none", "r1", "r2"])
@pytest.mark.parametrize("gamma", [0.1, 1.0, 3.0])
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
