"""Dirac-GAN: a GAN of one parameter per player, whose dynamics are known in closed form.

All real examples are 0, all synthetic ones are theta, and the discriminator's logit is psi x.

Reference: Mescheder et al. 2018 (arXiv:1801.04406), sections 2 and 4.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Complex, Float

from latentgen.core.keys import run_key
from latentgen.core.types import Batch, Net
from latentgen.methods.gan import Model, Objective, gan
from latentgen.objectives.adversarial import LOSSES
from latentgen.objectives.penalties import PENALTIES
from latentgen.probability import priors

Flow = Callable[[Float[Array, "2"]], Float[Array, "2"]]

SLOPES = {"minimax": 0.5, "nonsaturating": 0.5, "relativistic": 0.5, "wasserstein": 1.0, "hinge": 1}
"""Game -> f'(0), the derivative of D's value in its logit at the equilibrium."""


def _net(apply: Callable[[Array, Array], Array]) -> Net:
    return Net(
        lambda key, x: (jnp.zeros(()), {}),
        lambda params, stats, x, train, key=None: (apply(params, x), stats),
    )


def _model() -> Model:
    return Model(
        generator=_net(lambda theta, z: theta + 0 * z),
        discriminator=_net(lambda psi, x: psi * x),
        prior=priors.fixed(priors.normal(1)),
        code_dim=1,
    )


def stepped(game: str, penalty: str, gamma: float, rates: tuple[float, float]) -> Flow:
    """Make the map (theta, psi) -> (theta, psi) after one step of D and G.

    Args:
        gamma: weight of the penalty.
        rates: SGD learning rates of D and of G.
    """
    objective = Objective(LOSSES[game], PENALTIES.get(penalty), gamma)
    d_tx, g_tx = (optax.sgd(rate) for rate in rates)
    method = gan(_model(), objective, g_tx, d_tx, (1,))
    state, key = method.init(run_key(0)), run_key(0)
    batch = Batch(jnp.zeros((1, 4, 1)), jnp.zeros((1, 4), jnp.int32))

    def step(point: Float[Array, "2"]) -> Float[Array, "2"]:
        params = {"generator": point[0], "discriminator": point[1], "prior": {}}
        new_state, _ = method.step(state._replace(params=params), jnp.int32(0), batch, key)
        return jnp.stack([new_state.params["generator"], new_state.params["discriminator"]])

    return step


def field(game: str, penalty: str = "none", gamma: float = 0.0) -> Flow:
    """Make the gradient vector field (theta, psi) -> (update of theta, update of psi)."""
    d_step = stepped(game, penalty, gamma, (1.0, 0.0))
    g_step = stepped(game, penalty, gamma, (0.0, 1.0))

    def v(point: Float[Array, "2"]) -> Float[Array, "2"]:
        return jnp.stack([(g_step(point) - point)[0], (d_step(point) - point)[1]])

    return v


def eigenvalues(function: Flow) -> Complex[np.ndarray, "2"]:
    """Return the sorted eigenvalues of the Jacobian at the equilibrium (0, 0)."""
    jacobian = jax.jacfwd(function)(jnp.zeros(2))
    return np.sort_complex(np.linalg.eigvals(np.asarray(jacobian)))


def expected(game: str, gamma: float = 0.0) -> Complex[np.ndarray, "2"]:
    """Return the eigenvalues of `field` in theory: -gamma/2 +- sqrt(gamma^2/4 - f'(0)^2).

    Args:
        gamma: weight of R1 or of R2; 0 for no penalty.

    Reference: Mescheder et al. 2018, section 4.
    """
    root = np.sqrt(complex(gamma**2 / 4 - SLOPES[game] ** 2))
    return np.sort_complex(np.array([-gamma / 2 - root, -gamma / 2 + root]))
