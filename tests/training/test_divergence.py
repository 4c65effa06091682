"""Divergence: its detection, the hooks that never see it, and its first step and tensor."""

import functools
import math
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentgen.core.errors import Diverged, Stopped
from latentgen.core.game import ascend, game, run_chunk
from latentgen.core.types import Batch, Method, Phase
from latentgen.data.pipeline import Feed
from latentgen.training import divergence
from latentgen.training.loop import Hook, finite, program, train

STEPS = 11
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are compiled once for each method and each length of a chunk."""

    def made(method: Method, feed: Feed, donate: bool):
        if method is not SUMMING:
            return program(method, feed, donate)
        return summed(donate)

    monkeypatch.setattr(divergence, "program", made)


@functools.cache
def summed(donate: bool):
    return program(SUMMING, Feed((), lambda *_: None, batches), donate)


def trained(method: Method, feed: Feed, state, *more):
    names = ("first", "last", "chunk", "key", "log", "hooks", "stopped")
    return train(summed(True), feed, state, **dict(zip(names, more, strict=False)))


TENSORS = (None, "metrics.zeta", "metrics.alpha", "heavy", "light")


def spoil(name: str, x: jax.Array, told: jax.Array) -> jax.Array:
    """`x`, with NaN as its first value if this is the tensor to spoil."""
    first = (0,) * x.ndim
    return x.at[first].set(jnp.where(told == TENSORS.index(name), jnp.nan, x[first]))


def one(state: dict, number: jax.Array, batches: Batch, key: jax.Array) -> tuple[dict, dict]:
    known = sum(jnp.sum(x * 0) for x in state.values() if x.dtype == jnp.float32)
    noise = jax.random.normal(jax.random.fold_in(key, number), (2, 3))
    eaten, told = batches.x.sum() + known, batches.label.sum()
    late = spoil("metrics.zeta", eaten + 1, told)
    early = spoil("metrics.alpha", eaten + 2, told)
    new = {
        "heavy": spoil("heavy", state["heavy"] + noise + eaten, told),
        "count": state["count"] + 1,
        "light": spoil("light", state["light"] + eaten, told),
    }
    return new, {"zeta": late, "alpha": early}  # JAX would sort them


def begun(key: jax.Array) -> dict:
    return {"heavy": jnp.zeros((2, 3)), "count": jnp.int32(0), "light": jnp.zeros(4)}


def batches(resident, row, key, number):
    x, told = row
    return Batch(x[None, None], told[None, None])


SUMMING = Method(begun, one, lambda *_: {}, None, {})


def poisoned(step: int, tensor: str | None) -> tuple[Method, Feed]:
    """A method that sums its data, row s being s; `step` spoils one value of `tensor`, or none.

    From there it spreads: to all else in the next step.
    """

    def rows(first: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        numbers = np.arange(first, first + steps)
        told = np.where(numbers + 1 == step, TENSORS.index(tensor), 0)
        return numbers.astype(np.float32), told.astype(np.int32)

    return SUMMING, Feed((), rows, batches)


def healthy_state(steps: int) -> dict:
    """The state after `steps` good steps, one after the other, without the code under test."""
    state = {"heavy": jnp.zeros((2, 3)), "count": jnp.int32(0), "light": jnp.zeros(4)}
    for number in range(steps):
        noise = jax.random.normal(jax.random.fold_in(KEY, number), (2, 3))
        state = {
            "heavy": state["heavy"] + noise + number,
            "count": state["count"] + 1,
            "light": state["light"] + number,
        }
    return state


def assert_bitwise(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(np.asarray(a[name]), np.asarray(b[name]))


@pytest.mark.parametrize(
    ("chunk", "step", "tensor"),
    [
        (4, 1, "metrics.zeta"),
        (4, 4, "heavy"),
        (4, 5, "light"),
        (4, 6, "metrics.alpha"),
        (4, 7, "heavy"),
        (4, 8, "metrics.zeta"),
        (4, 9, "light"),  # of the last chunk, a short one
        (4, 11, "metrics.alpha"),
        (4, 11, "heavy"),
        (1, 1, "light"),
        (1, 6, "metrics.zeta"),
        (1, 11, "heavy"),
        (100, 1, "heavy"),
        (100, 6, "light"),
        (100, 11, "metrics.alpha"),
    ],
)
def test_the_step_and_the_tensor_are_named_whatever_the_chunk(
    chunk: int, step: int, tensor: str
) -> None:
    method, feed = poisoned(step, tensor)
    seen: list[tuple[str, int]] = []

    def hook(at, state):
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))
        seen.append(("hook", at))

    def log(at, metrics):
        assert all(map(math.isfinite, metrics.values()))
        seen.append(("log", at))

    hooks = [Hook(chunk, hook), Hook(10**6, hook, on_signal=True)]
    with pytest.raises(Diverged) as caught:
        trained(method, feed, method.init(KEY), 0, STEPS, chunk, KEY, log, hooks)
    first, last = caught.value.first, caught.value.last
    assert first == (step - 1) // chunk * chunk
    assert last == min(first + chunk, STEPS)
    good = range(chunk, first + 1, chunk)
    assert seen == [(what, at) for at in good for what in ("log", "hook")]

    nothing = lambda *_: None  # noqa: E731
    state = trained(method, feed, method.init(KEY), 0, first, chunk, KEY, nothing, [])
    found = divergence.find(method, feed, state, first, last, KEY)
    assert found is not None
    assert (found.first, found.last) == (step - 1, step)
    sizes = {"metrics.zeta": 1, "metrics.alpha": 1, "heavy": 6, "light": 4}
    assert found.bad == {tensor: (1, sizes[tensor])}
    assert_bitwise(found.state_before, healthy_state(step - 1))
    # What find was given is still there.
    assert_bitwise(state, healthy_state(first))


@pytest.mark.parametrize("chunk", [1, 4])
def test_a_healthy_run_is_left_alone(chunk: int) -> None:
    method, feed = poisoned(3, None)
    state = trained(method, feed, method.init(KEY), 0, STEPS, chunk, KEY, lambda *_: None, [])
    assert_bitwise(state, healthy_state(STEPS))
    assert divergence.find(method, feed, method.init(KEY), 0, STEPS, KEY) is None


def test_without_hooks_the_last_chunk_is_looked_at_too() -> None:
    method, feed = poisoned(STEPS, "light")
    with pytest.raises(Diverged) as caught:
        trained(method, feed, method.init(KEY), 0, STEPS, 4, KEY, lambda *_: None, [])
    assert (caught.value.first, caught.value.last) == (8, STEPS)


@pytest.mark.parametrize("step", [3, 5])
def test_a_signal_saves_no_bad_state(step: int) -> None:
    """The signal comes when the chunk of steps 1 to 4 is the last one done."""
    method, feed = poisoned(step, "heavy")
    calls = iter([None, signal.SIGTERM])
    saved: list[int] = []
    hooks = [Hook(10**6, lambda at, _: saved.append(at), on_signal=True)]
    with pytest.raises(Diverged if step <= 4 else Stopped):
        trained(
            *(method, feed, method.init(KEY), 0, STEPS, 4, KEY),
            *(lambda *_: None, hooks),
            lambda: next(calls),
        )
    assert saved == ([] if step <= 4 else [4])


def test_a_signal_ends_the_search() -> None:
    method, feed = poisoned(6, "heavy")
    calls = iter([None, None, signal.SIGTERM])
    with pytest.raises(Stopped) as caught:
        divergence.find(method, feed, method.init(KEY), 0, 8, KEY, lambda: next(calls))
    assert caught.value.signum == signal.SIGTERM


def test_a_watchdog_hears_of_each_step_of_the_search() -> None:
    method, feed = poisoned(3, "heavy")
    heard: list[str] = []
    state = method.init(KEY)
    divergence.find(method, feed, state, 0, 8, KEY, begin=heard.append)
    assert heard == ["a step done again"] * 3 + ["the search for the first tensor"]


def test_what_only_the_whole_chunk_shows_is_found_as_a_chunk() -> None:
    """A step compiled alone may round otherwise; here it even gets other data."""
    method, feed = poisoned(0, None)

    def rows(first: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        x, told = feed.rows(first, steps)
        return (x if steps == 1 else np.where(x == 5, np.inf, x)), told

    found = divergence.find(method, feed._replace(rows=rows), healthy_state(4), 4, 8, KEY)
    assert found is not None
    assert (found.first, found.last) == (4, 8)
    assert next(iter(found.bad)) == "metrics.zeta"
    assert found.bad["heavy"] == (6, 6)
    assert found.bad["metrics.alpha"] == (3, 4)  # of steps 6, 7 and 8
    assert_bitwise(found.state_before, healthy_state(4))


def critic_and_artist(critic_breaks: bool) -> tuple[Method, Feed]:
    """Two players; the gradient of one is not finite while its loss is: d sqrt(x) / dx at 0.

    The critic plays first and the artist's loss depends on what became of it.
    """

    def gap(weight, breaks):  # 0, with a gradient of inf * 0
        return jnp.sqrt(jnp.abs(weight - weight)) if breaks else weight * 0

    def critic(params, stats, batch, key, step, train):
        loss = params["critic"]["w"] + gap(params["critic"]["w"], critic_breaks)
        loss = loss * jnp.ones(len(batch.x))
        return loss, (stats, {"zeal": loss})

    def artist(params, stats, batch, key, step, train):
        loss = params["artist"]["w"] + gap(params["artist"]["w"], not critic_breaks)
        loss = (loss + params["critic"]["w"]) * jnp.ones(len(batch.x))
        return loss, (stats, {"art": loss})

    def init(key):
        return {name: {"w": jnp.float32(1)} for name in ("critic", "artist")}, {}

    sgd = optax.sgd(0.1)
    phases = [Phase(critic, ("critic",), ascend(sgd)), Phase(artist, ("artist",), sgd)]

    def batches(resident, row, key, number):
        return Batch(jnp.zeros((1, 2)), jnp.zeros((1, 2), jnp.int32))

    feed = Feed((), lambda first, steps: np.zeros(steps, np.float32), batches)
    return game(init, phases, None, {}), feed


def test_a_players_weights_come_before_the_loss_of_the_other_that_met_them() -> None:
    """By name, 'art' comes before 'zeal', any metric before the state, 'artist' before 'critic'."""
    method, feed = critic_and_artist(critic_breaks=True)
    found = divergence.find(method, feed, method.init(KEY), 0, 2, KEY)
    assert found is not None
    assert (found.first, found.last) == (0, 1)
    assert list(found.bad) == ["params.critic.w", "metrics.art"]


def test_a_player_that_breaks_alone_is_named() -> None:
    method, feed = critic_and_artist(critic_breaks=False)
    found = divergence.find(method, feed, method.init(KEY), 0, 2, KEY)
    assert found is not None
    assert list(found.bad) == ["params.artist.w"]


def test_metrics_are_named_in_the_order_of_the_turns() -> None:
    method, feed = critic_and_artist(critic_breaks=False)
    params = {name: {"w": jnp.float32(np.inf)} for name in ("critic", "artist")}
    broken = method.init(KEY)._replace(params=params)
    done = divergence.again(method, feed, KEY)(broken, 0, 1)
    names = list(divergence.blamed(method, feed, broken, 0, KEY, done).bad)
    assert set(names[:2]) == {"before.params.critic.w", "before.params.artist.w"}
    given = [name for name in names if not name.startswith("before.")]
    assert given[0] == "metrics.zeal"
    assert "metrics.art" in names


def test_the_same_program_finds_what_the_run_had(x64: None) -> None:
    """The chunk of one step and the chunk of many end in the same state, bit for bit."""
    method, feed = poisoned(9, "heavy")
    rows = feed.rows(0, 8)
    whole, _ = jax.jit(lambda s: run_chunk(method, feed.batches, s, jnp.arange(8), rows, (), KEY))(
        method.init(KEY)
    )
    found = divergence.find(method, feed, method.init(KEY), 0, STEPS, KEY)
    assert found is not None
    assert_bitwise(found.state_before, whole)


@pytest.mark.parametrize(
    ("leaf", "fine"),
    [
        (np.float32([1, 2]), True),
        (np.float32([1, np.nan]), False),
        (np.float32([[1], [-np.inf]]), False),
        (jnp.array([1, np.inf], jnp.bfloat16), False),
        (np.float32([3.4e38, -3.4e38]), True),  # the sum of squares would not be finite
        (np.int32([2**31 - 1]), True),
        (np.zeros((0, 2), np.float32), True),
    ],
)
def test_finite(leaf: np.ndarray, fine: bool) -> None:
    tree = {"good": jnp.ones(3), "key": jax.random.key(1), "leaf": jnp.asarray(leaf)}
    assert bool(jax.jit(finite)(tree)) is fine
    assert (divergence.count({"leaf": jnp.asarray(leaf)}) == {}) is fine


def test_finite_of_nothing() -> None:
    assert bool(finite({}))


def test_statistics() -> None:
    found = divergence.statistics(np.float32([[1, -4], [np.nan, np.inf]]))
    assert found == (-4, 1, 2.5, 0.5)
    assert divergence.statistics(jnp.array([2, -2], jnp.bfloat16)) == (-2, 2, 2, 0)
    nothing = divergence.statistics(np.float32([np.nan]))
    assert np.isnan(nothing[:3]).all()
    assert nothing.not_finite == 1
