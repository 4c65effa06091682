"""The moving average against its recurrence in numpy. Populations: tests/methods."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentgen.core.game import game
from latentgen.core.keys import run_key
from latentgen.core.types import Batch, Method, Phase
from latentgen.core.wrappers import with_ema, with_further_average


def walker() -> Method:
    """Player w goes up by 1 each step; a statistic counts by 2; u goes down."""

    def loss(params, stats, batch, key, step, train):
        value = (-params["w"] + params["u"]) * jnp.ones(len(batch.x))
        return value, ({"w": stats["w"] + 2.0, "u": stats["u"]}, {"loss": value})

    def init(key):
        start = jnp.float32(0.0)
        return {"w": start, "u": start + 5}, {"w": start, "u": start}

    def sample(state, key, n):
        return jnp.full((n, 2), jnp.stack([state.params["w"], state.stats["w"]]))

    phase = Phase(loss, ("w", "u"), optax.sgd(1.0))
    return game(init, [phase], sample, {"see": lambda state, plus: state.params["w"] + plus})


@pytest.mark.parametrize("start", [0, 3])
def test_average_is_the_recurrence_and_sampling_sees_it(start: int) -> None:
    method = with_ema(walker(), ("w",), decay=0.75, start=start)
    state = method.init(run_key(0))
    batch = Batch(jnp.zeros((1, 2, 1)), jnp.zeros((1, 2), jnp.int32))
    w = stat = average_w = average_stat = 0.0
    for step in range(7):
        state, _ = method.step(state, jnp.int32(step), batch, run_key(0))
        w, stat = w + 1, stat + 2
        keep = 0.75 if step >= start else 0.0
        average_w = keep * average_w + (1 - keep) * w
        average_stat = keep * average_stat + (1 - keep) * stat
        expected = np.array([[average_w, average_stat]])
        np.testing.assert_allclose(method.sample(state, run_key(0), 1), expected, rtol=1e-6)
        np.testing.assert_allclose(method.probes["see"](state, 10.0), average_w + 10, rtol=1e-6)
    assert float(state.state.params["w"]) == 7.0
    terms = method.terms(state, jnp.int32(7), Batch(batch.x[0], batch.label[0]), run_key(0))
    np.testing.assert_allclose(terms["loss"], -average_w + (5.0 - 7.0), rtol=1e-6)


def test_copied_stats_are_those_of_the_last_step() -> None:
    """The players are w and u; the stats of w, 2 more in each step, are copied in all averages."""
    method = with_ema(walker(), ("w", "u"), decay=0.5, more=(0.75,), copied=("w",))
    state, batch = method.init(run_key(0)), Batch(jnp.zeros((1, 2, 1)), jnp.zeros((1, 2), int))
    for step in range(3):
        state, _ = method.step(state, jnp.int32(step), batch, run_key(0))
    for average, decay in ((state, 0.5), (with_further_average(state, 0), 0.75)):
        expected = sum((1 - decay) * decay ** (3 - w) * w for w in (1, 2, 3))
        np.testing.assert_allclose(average.params["w"], expected, rtol=1e-6)
        assert float(average.stats["w"]) == 6.0


def test_state_may_be_donated() -> None:
    method = with_ema(walker(), ("w",), decay=0.5)
    state = jax.jit(method.init)(run_key(0))
    batch = Batch(jnp.zeros((1, 2, 1)), jnp.zeros((1, 2), jnp.int32))
    step = jax.jit(method.step, donate_argnums=0)
    for i in range(3):
        state, _ = step(state, i, batch, run_key(0))
    assert float(state.params["w"]) == 0.5**3 * 0 + 0.125 * 1 + 0.25 * 2 + 0.5 * 3


def test_further_averages_are_kept_beside() -> None:
    """Each is what it would be as the only one; the sampled one and the training stay bitwise."""
    decays = (0.5, 0.75, lambda step: jnp.float32(0.9))
    batch = Batch(jnp.zeros((1, 2, 1)), jnp.zeros((1, 2), jnp.int32))
    methods = [with_ema(walker(), ("w",), decay, start=1) for decay in decays]
    every = with_ema(walker(), ("w",), decays[0], start=1, more=decays[1:])
    states = [method.init(run_key(0)) for method in (every, *methods)]
    for step in range(5):
        states = [
            method.step(state, jnp.int32(step), batch, run_key(0))[0]
            for method, state in zip((every, *methods), states, strict=True)
        ]
    found, *alone = states
    further = [with_further_average(found, i) for i in range(2)]
    for state, own in zip([found, *further], alone, strict=True):
        assert (state.state, state.params, state.stats) == own[:3]
        np.testing.assert_array_equal(
            every.sample(state, run_key(0), 1), methods[0].sample(own, run_key(0), 1)
        )
    assert len({float(state.params["w"]) for state in alone}) == 3
    assert alone[0].more == ()  # nothing is kept that is not asked for
