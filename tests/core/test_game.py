"""The game against hand-computed games: a bilinear minimax, counting players, stats kept apart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentgen.core.game import ascend, game, run_chunk
from latentgen.core.keys import named_key, run_key
from latentgen.core.types import Batch, Method, Phase, State


def batch_of(x: jax.Array) -> Batch:
    return Batch(x, jnp.zeros(x.shape[:-1], jnp.int32))


def bilinear(lr: float, repeats: int = 1) -> Method:
    """C(D, G) = (D + b) G per example b: D ascends, G descends, both also count their calls."""

    def loss(name):
        def value(params, stats, batch, key, step, train):
            c = (params["D"] + batch.x[:, 0]) * params["G"]
            moved = {player: stats[player] + 1 for player in stats}
            return c, (moved, {f"c_{name}": c})

        return value

    def init(key):
        return {"D": jnp.float32(1.0), "G": jnp.float32(2.0)}, {
            "D": jnp.int32(0),
            "G": jnp.int32(0),
        }

    phases = [
        Phase(loss("D"), ("D",), ascend(optax.sgd(lr)), repeats),
        Phase(loss("G"), ("G",), optax.sgd(lr)),
    ]
    return game(init, phases, lambda state, key, n: jnp.zeros((n, 1)), {})


def test_ascent_then_descent_on_one_cost_by_hand() -> None:
    method = bilinear(0.1)
    state, metrics = method.step(
        method.init(run_key(0)), jnp.int32(0), batch_of(jnp.array([[[0.0], [1.0]]])), run_key(0)
    )
    # dC/dD = G = 2: D = 1 + .2; then dC/dG = D + mean b = 1.7: G = 2 - .17
    np.testing.assert_allclose(state.params["D"], 1.2, rtol=1e-6)
    np.testing.assert_allclose(state.params["G"], 1.83, rtol=1e-6)
    np.testing.assert_allclose(metrics["c_D"], 3.0, rtol=1e-6)  # (1 + .5) 2, before the turn
    np.testing.assert_allclose(metrics["c_G"], 3.4, rtol=1e-6)  # (1.2 + .5) 2, after D's


def test_repeats_see_minibatches_of_their_own_and_the_last_ones_go_to_who_plays_less() -> None:
    method = bilinear(0.1, repeats=3)
    assert method.draws == 3
    b = jnp.array([[[10.0]], [[20.0]], [[30.0]]])
    state, metrics = method.step(method.init(run_key(0)), jnp.int32(0), batch_of(b), run_key(0))
    np.testing.assert_allclose(state.params["D"], 1.6, rtol=1e-6)  # three ascents by .1 * G
    np.testing.assert_allclose(state.params["G"], 2 - 0.1 * (1.6 + 30), rtol=1e-6)
    means = np.mean([(1 + 10) * 2, (1.2 + 20) * 2, (1.4 + 30) * 2])
    np.testing.assert_allclose(metrics["c_D"], means, rtol=1e-6)


def test_a_turn_keeps_only_its_own_players_stats() -> None:
    method = bilinear(0.1, repeats=3)
    b = jnp.zeros((3, 1, 1))
    state, _ = method.step(method.init(run_key(0)), jnp.int32(0), batch_of(b), run_key(0))
    assert (int(state.stats["D"]), int(state.stats["G"])) == (3, 1)


@pytest.mark.parametrize("mover", ["D", "G"])
def test_the_other_player_stays_bitwise(mover: str) -> None:
    still = optax.set_to_zero()
    txs = {p: optax.adam(0.1) if p == mover else still for p in "DG"}

    def loss(params, stats, batch, key, step, train):
        c = (jnp.sin(params["D"]) * params["G"] * batch.x).sum(axis=1)
        return c, (stats, {})

    def init(key):
        return {"D": jnp.float32(0.3), "G": jnp.float32(0.7)}, {}

    phases = [Phase(loss, (p,), txs[p]) for p in "DG"]
    method = game(init, phases, lambda *_: jnp.zeros((1, 1)), {})
    start = method.init(run_key(0))
    end, _ = method.step(start, jnp.int32(0), batch_of(jnp.ones((1, 4, 1))), run_key(0))
    for player in "DG":
        same = (
            np.asarray(end.params[player]).tobytes() == np.asarray(start.params[player]).tobytes()
        )
        assert same == (player != mover)


def noisy() -> Method:
    """A loss with noise, so that keys matter."""

    def loss(params, stats, batch, key, step, train):
        noise = jax.random.normal(key, (len(batch.x),))
        value = (params["p"] - noise + step) ** 2
        return value, (stats, {"loss": value})

    return game(
        lambda key: ({"p": jax.random.normal(key, ())}, {}),
        [Phase(loss, ("p",), optax.adam(0.01))],
        lambda *_: jnp.zeros((1, 1)),
        {},
    )


def run(method: Method, state: State, first: int, last: int) -> tuple[State, dict]:
    def batches(resident, row, key, step):
        x = jax.random.normal(jax.random.fold_in(key, step), (1, 3, 2))
        return Batch(x, jnp.zeros((1, 3), jnp.int32))

    steps = jnp.arange(first, last)
    return jax.jit(
        lambda s, i: run_chunk(method, batches, s, i, jnp.zeros(len(i)), (), run_key(3))
    )(state, steps)


def test_a_run_in_pieces_is_the_run() -> None:
    method = noisy()
    start = method.init(run_key(3))
    whole, metrics = run(method, start, 0, 10)
    half, first = run(method, start, 0, 4)
    pieces, second = run(method, half, 4, 10)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(pieces), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    joined = np.concatenate([first["loss"], second["loss"]])
    assert joined.tobytes() == np.asarray(metrics["loss"]).tobytes()


def test_each_step_and_each_purpose_draws_other_noise() -> None:
    key = run_key(0)
    names = ("init", "step", "order", "preprocess", "pictures", "evaluation", "sample")
    keys = [named_key(key, name) for name in names]
    keys += [jax.random.fold_in(named_key(key, "step"), step) for step in range(100)]
    keys += [jax.random.fold_in(named_key(key, "preprocess"), step) for step in range(100)]
    keys += [run_key(seed) for seed in range(100)]
    words = {tuple(np.asarray(jax.random.key_data(k)).tolist()) for k in keys}
    assert len(words) == len(keys)


def test_two_players_may_not_report_one_name() -> None:
    def loss(params, stats, batch, key, step, train):
        value = params["D"] * batch.x[:, 0]
        return value, (stats, {"loss": value})

    phase = Phase(loss, ("D",), optax.sgd(0.1))
    method = game(lambda key: ({"D": jnp.float32(1.0)}, {}), [phase, phase], lambda *_: None, {})
    state = method.init(run_key(0))
    with pytest.raises(ValueError, match="loss"):
        method.step(state, jnp.int32(0), batch_of(jnp.ones((1, 2, 1))), run_key(0))
    with pytest.raises(ValueError, match="loss"):
        method.terms(state, jnp.int32(0), batch_of(jnp.ones((2, 1))), run_key(0))


def test_terms_are_those_of_every_player_and_change_nothing() -> None:
    method = bilinear(0.1)
    terms = method.terms(
        method.init(run_key(0)), jnp.int32(0), batch_of(jnp.array([[0.0], [1.0]])), run_key(0)
    )
    np.testing.assert_allclose(terms["c_D"], [2.0, 4.0])
    np.testing.assert_allclose(terms["c_G"], [2.0, 4.0])


def test_a_lazy_phase_plays_every_k_th_step_with_k_times_its_loss_and_a_shared_optimizer() -> None:
    """x descends x^2 / 2, and in steps 0, 3, ... 3 x times a slope of 2, by one Adam."""

    def loss(name, value):
        def of(params, stats, batch, key, step, train):
            values = value(params["x"]) * jnp.ones(batch.x.shape[0])
            return values, ({"x": stats["x"] + 1}, {name: values})

        return of

    tx = optax.adam(0.1)
    main = Phase(loss("main", lambda x: x**2 / 2), ("x",), tx)
    lazy = Phase(loss("lazy", lambda x: 2 * x), ("x",), tx, every=3, shares=0)

    def init(key):
        return {"x": jnp.float32(1.0)}, {"x": jnp.int32(0)}

    method = game(init, [main, lazy], None, {})
    steps = jnp.arange(7)
    state, metrics = run_chunk(
        method,
        lambda *_: batch_of(jnp.zeros((1, 2, 1))),
        method.init(run_key(0)),
        steps,
        steps,
        (),
        run_key(0),
    )
    x, adam, played = jnp.float32(1.0), tx.init(jnp.float32(1.0)), []
    for step in range(7):
        for slope in (lambda x: x, lambda x: jnp.float32(3 * 2.0))[: 1 if step % 3 else 2]:
            before = float(x)
            updates, adam = tx.update(slope(x), adam)
            x = optax.apply_updates(x, updates)
        played.append(0.0 if step % 3 else 3 * 2 * before)
    np.testing.assert_allclose(state.params["x"], x, rtol=1e-6)
    np.testing.assert_allclose(metrics["lazy"], played, rtol=1e-6)
    assert state.stats["x"] == 7 + 3
    assert state.opt[1] == ()


def test_phases_of_different_players_do_not_share() -> None:
    def nothing(*args):
        raise NotImplementedError

    tx = optax.sgd(1.0)
    phases = [Phase(nothing, ("D",), tx), Phase(nothing, ("G",), tx, shares=0)]
    with pytest.raises(ValueError, match="share an optimizer"):
        game(nothing, phases, None, {})
