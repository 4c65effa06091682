"""The updates against finite differences in float64, and the sense in which players move.

With plain gradient steps of size 1, an update is the gradient itself: what `step` returns is
differenced against the metric that it reports.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentgen.core.keys import run_key
from latentgen.core.types import Batch, Method, State
from latentgen.methods import gan
from latentgen.methods.vae import Model, Objective, vae
from latentgen.networks import mlp
from latentgen.networks.net import bound_output
from latentgen.objectives.adversarial import LOSSES
from latentgen.objectives.bounds import BOUNDS
from latentgen.objectives.elbo import kl_warmup
from latentgen.objectives.estimators import ESTIMATORS
from latentgen.objectives.penalties import PENALTIES
from latentgen.probability import likelihoods, posteriors, priors

pytestmark = pytest.mark.usefixtures("x64")
SHAPE = (3, 2, 1)
WEIGHT = 0.7  # of a penalty
NET = dict(hidden=(5,), activation="tanh", dtype=jnp.float64)


def small_vae(tx: optax.GradientTransformation, likelihood: likelihoods.Likelihood) -> Method:
    nets = mlp.encoder(outputs=4, **NET), mlp.decoder(SHAPE, **NET)
    model = Model(*nets, priors.fixed(priors.normal(2)), posteriors.diagonal(2), likelihood, 2, 2)
    objective = Objective(1, BOUNDS["elbo"](1, 1, 0.0), ESTIMATORS["pathwise"], closed_kl=True)
    return vae(model, objective, kl_warmup(0.7, 4), tx, SHAPE)


def small_gan(
    game: str,
    g_tx: optax.GradientTransformation,
    d_tx: optax.GradientTransformation,
    penalty: str = "none",
) -> Method:
    generator = bound_output(mlp.decoder(SHAPE, **NET), 0.0, 1.0)
    discriminator = mlp.encoder(outputs=1, **NET)
    model = gan.Model(generator, discriminator, priors.fixed(priors.normal(2)), 2)
    objective = gan.Objective(LOSSES[game], PENALTIES.get(penalty), WEIGHT)
    return gan.gan(model, objective, g_tx, d_tx, SHAPE)


def begin(method: Method) -> State:
    state = jax.jit(method.init)(run_key(0))
    return jax.tree.map(
        lambda a: a.astype(jnp.float64) if jnp.issubdtype(a.dtype, jnp.floating) else a, state
    )


def batch() -> Batch:
    x = jax.random.uniform(jax.random.key(5), (1, 7, *SHAPE), jnp.float64)
    return Batch(x, jnp.zeros((1, 7), jnp.int32))


def assert_update_is_gradient(
    method: Method, players: tuple[str, ...], value: Callable[[dict], jax.Array], sign: float
) -> None:
    """For several directions u: <update, u> = sign d/dt value(params + t u), centrally."""
    step = jax.jit(lambda s: method.step(s, jnp.int32(1), batch(), run_key(0)))
    state = begin(method)
    end, _ = step(state)

    def at(t: float, direction: dict) -> float:
        mine = {
            p: jax.tree.map(lambda a, u: a + t * u, state.params[p], direction[p]) for p in players
        }
        return float(value(step(state._replace(params=state.params | mine))[1]))

    rng = np.random.default_rng(0)
    for _ in range(6):
        direction = {
            p: jax.tree.map(lambda a: jnp.array(rng.normal(size=a.shape)), state.params[p])
            for p in players
        }
        update = sum(
            float(((b - a) * u).sum())
            for p in players
            for a, b, u in zip(
                *(jax.tree.leaves(t) for t in (state.params[p], end.params[p], direction[p])),
                strict=True,
            )
        )
        h = 1e-5
        slope = (at(h, direction) - at(-h, direction)) / (2 * h)
        np.testing.assert_allclose(update, sign * slope, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("likelihood", [likelihoods.bernoulli(), likelihoods.normal(0.4)])
def test_vae_descends_its_loss(likelihood: likelihoods.Likelihood) -> None:
    method = small_vae(optax.sgd(1.0), likelihood)
    assert_update_is_gradient(method, ("encoder", "decoder"), lambda m: m["loss"], -1.0)


def test_vae_loss_weighs_the_kl_as_the_schedule_says() -> None:
    method = small_vae(optax.sgd(0.0), likelihoods.bernoulli())
    state, data = begin(method), jax.tree.map(lambda a: a[0], batch())
    one_step, measure = jax.jit(method.step), jax.jit(method.terms)
    for step in range(6):
        _, m = one_step(state, jnp.int32(step), batch(), run_key(0))
        beta = 0.7 * min(1, (step + 1) / 4)
        np.testing.assert_allclose(m["loss"], m["distortion"] + beta * m["rate"], rtol=1e-7)
        terms = measure(state, jnp.int32(step), data, run_key(0))
        weighted = terms["distortion"] + beta * terms["rate"]
        np.testing.assert_allclose(terms["loss"], weighted, rtol=1e-7)


@pytest.mark.parametrize(
    ("game", "penalty"),
    [*((game, "none") for game in LOSSES), *(("wasserstein", penalty) for penalty in PENALTIES)],
)
@pytest.mark.quick(4)
def test_discriminator_ascends_its_value_less_its_penalty(game: str, penalty: str) -> None:
    method = small_gan(game, optax.set_to_zero(), optax.sgd(1.0), penalty)

    def value(m: dict) -> jax.Array:
        of_logits = m["cost"] if game in ("minimax", "nonsaturating") else m["discriminator_value"]
        return of_logits - WEIGHT * m.get("penalty", 0)

    assert_update_is_gradient(method, ("discriminator",), value, 1.0)


@pytest.mark.parametrize("game", LOSSES)
def test_generator_descends_its_value(game: str) -> None:
    method = small_gan(game, optax.sgd(1.0), optax.set_to_zero())
    assert_update_is_gradient(method, ("generator",), lambda m: m["generator_loss"], -1.0)


def test_minimax_players_move_one_value_and_nonsaturating_another() -> None:
    """With D still, `minimax` reports C as the generator's value; `nonsaturating` does not."""
    for game, same in (("minimax", True), ("nonsaturating", False)):
        method = small_gan(game, optax.set_to_zero(), optax.set_to_zero())
        state, data = begin(method), jax.tree.map(lambda a: a[0], batch())
        # The turns draw codes of their own, so the values agree in expectation only.
        keys = jax.vmap(run_key)(jnp.arange(40))
        measure = jax.vmap(lambda key, m=method, s=state, d=data: m.terms(s, jnp.int32(0), d, key))
        terms = jax.jit(measure)(keys)
        cost, value = (terms[name].mean() for name in ("cost", "generator_loss"))
        assert (abs(cost - value) < 0.02) == same, terms


@pytest.mark.parametrize("size", [1e-3, 1e-2])
def test_one_step_of_d_raises_the_cost_and_one_of_g_lowers_it(size: float) -> None:
    for player, sign in (("discriminator", 1), ("generator", -1)):
        txs = {
            p: optax.sgd(size) if p == player else optax.set_to_zero()
            for p in ("generator", "discriminator")
        }
        method = small_gan("minimax", txs["generator"], txs["discriminator"])
        metric = "cost" if player == "discriminator" else "generator_loss"
        start = begin(method)
        step = jax.jit(method.step)
        end, before = step(start, jnp.int32(0), batch(), run_key(0))
        _, after = step(end, jnp.int32(0), batch(), run_key(0))  # the same codes
        change = float(after[metric] - before[metric])
        squared = (
            sum(
                float(((a - b) ** 2).sum())
                for a, b in zip(*(jax.tree.leaves(s.params) for s in (start, end)), strict=True)
            )
            / size**2
        )
        assert sign * change > 0
        np.testing.assert_allclose(sign * change, size * squared, rtol=20 * size)
        other = ({"generator", "discriminator"} - {player}).pop()
        for a, b in zip(*(jax.tree.leaves(s.params[other]) for s in (start, end)), strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
