"""The loop: chunks, the order of log and hooks, signals."""

import functools
import signal
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.core.errors import Stopped
from latentgen.core.types import Batch, Method
from latentgen.data.pipeline import Feed
from latentgen.training import loop
from latentgen.training.loop import Hook, program, skip_steps, train


@functools.cache
def counting() -> tuple[Method, Feed]:
    """The state counts steps and sums the rows it eats."""

    def step(state, step, batches, key):
        return {"n": state["n"] + 1, "sum": state["sum"] + batches.x.sum()}, {"step": step * 1.0}

    method = Method(
        lambda key: {"n": jnp.int32(0), "sum": jnp.float32(0)},
        step,
        lambda *_: {},
        lambda *_: jnp.zeros(1),
        {},
    )

    def rows(first: int, steps: int) -> np.ndarray:
        return np.arange(first, first + steps, dtype=np.float32)

    def batches(resident, row, key, step):
        return Batch(row[None, None], jnp.zeros((1, 1), jnp.int32))

    return method, Feed((), rows, batches)


@functools.cache
def counted() -> loop.Program:
    """Its steps, compiled once for each length of a chunk."""
    return program(*counting(), donate=True)


def run(first: int, last: int, chunk: int, hooks=(), stopped=lambda: None) -> tuple[list, dict]:
    _, feed = counting()
    said: list = []
    state = {"n": jnp.int32(first), "sum": jnp.float32(sum(range(first)))}
    named = [
        Hook(every, lambda step, state, name=name: said.append((name, step, int(state["n"]))), sig)
        for name, every, sig in hooks
    ]

    def log(step: int, metrics: dict) -> None:
        said.append(("log", step, metrics["step"]))

    try:
        state = train(
            counted(),
            feed,
            state,
            first=first,
            last=last,
            chunk=chunk,
            key=jax.random.key(0),
            log=log,
            hooks=named,
            stopped=stopped,
        )
    except Stopped as stop:
        said.append(("stopped", stop.step, stop.signum))
    return said, state


@pytest.mark.parametrize("chunk", [1, 3, 4, 10, 100])
def test_every_step_once_whatever_the_chunk(chunk: int) -> None:
    said, state = run(0, 10, chunk)
    assert (int(state["n"]), float(state["sum"])) == (10, 45.0)
    assert [step for _, step, _ in said] == [*range(chunk, 10, chunk), 10]
    for _, step, mean in said:  # the mean of the steps of the chunk that ends there
        first = (step - 1) // chunk * chunk
        assert mean == np.mean(range(first, step))


def test_hooks_see_the_state_after_the_log_of_their_step() -> None:
    said, _ = run(0, 10, 2, [("a", 4, False), ("b", 4, False)])
    assert [(name, step) for name, step, _ in said] == [
        ("log", 2),
        *[("log", 4), ("a", 4), ("b", 4)],
        ("log", 6),
        *[("log", 8), ("a", 8), ("b", 8)],
        *[("log", 10), ("a", 10), ("b", 10)],
    ]
    assert all(n == step for name, step, n in said if name != "log")


def test_a_resumed_run_says_what_the_whole_one_said() -> None:
    hooks = [("a", 4, False)]
    whole, _ = run(0, 11, 2, hooks)
    for first in (2, 4, 6, 8, 10):
        assert run(first, 11, 2, hooks)[0] == [row for row in whole if row[1] > first]
    assert run(11, 11, 2, hooks)[0] == []


def test_a_signal_ends_the_run_at_a_chunk_with_the_hooks_that_answer_to_it() -> None:
    for every, saved in ((8, [("save", 4)]), (4, [("save", 4)])):  # saved once, due or not
        calls = iter([None, None, signal.SIGTERM])
        hooks = [("a", 8, False), ("save", every, True)]
        said, _ = run(0, 10, 2, hooks, lambda calls=calls: next(calls))
        assert [row[:2] for row in said] == [("log", 2), ("log", 4), *saved, ("stopped", 4)]
        assert said[-1][2] == signal.SIGTERM


def test_a_signal_before_the_first_chunk_trains_nothing() -> None:
    said, _ = run(4, 10, 2, [("save", 8, True)], lambda: signal.SIGINT)
    assert said == [("stopped", 4, signal.SIGINT)]


@pytest.mark.parametrize("chunk", [1, 3, 4, 100])
@pytest.mark.parametrize("skipped", [[0], [4, 5], [0, 1, 2, 3], [9], range(10), [11], []])
def test_steps_that_are_left_out_change_nothing_and_the_others_do_what_they_did(
    chunk: int, skipped: Sequence[int]
) -> None:
    method, feed = counting()
    logged: dict[int, dict] = {}
    state = train(
        skip_steps(counted(), [range(n, n + 1) for n in skipped]),
        feed,
        method.init(None),
        first=0,
        last=10,
        chunk=chunk,
        key=jax.random.key(0),
        log=logged.__setitem__,
        hooks=[],
    )
    done = set(range(10)) - set(skipped)
    assert (int(state["n"]), float(state["sum"])) == (len(done), sum(done))
    assert list(logged) == sorted({min(n // chunk * chunk + chunk, 10) for n in range(10)})
    for last, metrics in logged.items():
        first = (last - 1) // chunk * chunk
        numbers = [n for n in range(first, last) if n in done]
        assert metrics == ({"step": np.mean(numbers)} if numbers else {})


@pytest.mark.parametrize(
    ("longest", "idle"),
    [
        (60.0, [True, False, False, False]),  # a chunk is sent while the one before still runs
        (0.0, [True, False, True, True]),  # from when one is known to be long, it is waited for
    ],
)
def test_the_device_does_not_wait_for_the_host_between_short_chunks(
    monkeypatch: pytest.MonkeyPatch, longest: float, idle: list[bool]
) -> None:
    plain, feed = counting()
    found: list[bool] = []
    last: list[jax.Array] = []

    def step(state, step, batches, key):
        def again(_, x):
            return jnp.sin(x @ x)

        x = jax.lax.fori_loop(0, 100, again, jnp.full((512, 512), state["sum"]))  # tenths of a s
        return {"n": state["n"] + 1, "sum": x[0, 0]}, {"step": x[0, 0]}

    compiled = program(plain._replace(step=step), feed, donate=True)

    def watched(*inputs):
        state, metrics, fine = compiled(*inputs)
        last[:] = [fine]
        return state, metrics, fine

    monkeypatch.setattr(loop, "MAX_ASYNC_CHUNK_SECONDS", longest)
    state = {"n": jnp.int32(0), "sum": jnp.float32(0)}
    train(
        watched,
        feed,
        state,
        first=0,
        last=4,
        chunk=1,
        key=jax.random.key(0),
        log=lambda step, metrics: None,
        hooks=[],
        stopped=lambda: found.append(all(fine.is_ready() for fine in last)),
    )
    assert found == idle
