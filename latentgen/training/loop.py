"""Training loop of all methods: jitted chunks of steps with a donated state, hooks between them.

Chunks end at multiples of their length, whatever step a run resumes from, so that a resumed run
is bitwise equal to an uninterrupted one.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key

from latentgen.core.errors import Diverged, Stopped
from latentgen.core.game import scan_body
from latentgen.core.types import Batch, Method, PyTree
from latentgen.data.pipeline import Feed
from latentgen.system import signals

Metrics = Mapping[str, Any]
"""Means over a chunk by name: scalars, or arrays of shape (members,) for a population."""

Program = Callable[..., tuple[PyTree, dict[str, Array], Array]]
"""(state, steps, rows, resident, key) -> (state, metrics, is_finite); see `checked_chunk`."""

Check = Callable[[int, int, np.ndarray], None]
"""(start, step, is_finite) -> None, called after the steps start+1 .. step; raises Diverged."""

MAX_ASYNC_CHUNK_SECONDS = 1.0
"""The next chunk is dispatched while one of fewer seconds runs; a longer one is awaited, so that a
signal takes effect after it."""

COMPILER_OPTIONS: dict[str, dict[str, Any]] = {
    # Otherwise XLA:CPU copies weights and moments in each step where an update reads them late.
    "cpu": {"xla_cpu_copy_insertion_use_region_analysis": True},
}
"""Platform -> compiler options of a chunk."""


class Hook(NamedTuple):
    """Callback between chunks.

    every: interval in steps; also called after the last step
    call: (step, state) -> None
    on_signal: True if also called when a signal stops the run at another step. Such a hook must
        write nothing to the log or pictures: a resumed run would differ from an uninterrupted one.
    name: of its action, for the watchdog's messages
    """

    every: int
    call: Callable[[int, PyTree], None]
    on_signal: bool = False
    name: str = "hook"


class DispatchedChunk(NamedTuple):
    """Results of the steps start+1 .. step, not yet awaited.

    metrics: leading axis steps
    is_finite: scalar, or one per member of a population
    """

    start: int
    step: int
    metrics: dict[str, Array]
    is_finite: Array


def finite(tree: PyTree) -> Bool[Array, ""]:
    """Return whether all values of all floating-point leaves are finite."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.stack([jnp.bool_(True), *(jnp.isfinite(x).all() for x in leaves)]).all()


def checked_chunk(
    method: Method,
    batches: Callable[[PyTree, PyTree, Key[Array, ""], Int[Array, ""]], Batch],
    state: PyTree,
    steps: Int[Array, " s"],
    rows: PyTree,
    resident: PyTree,
    key: Key[Array, ""],
) -> tuple[PyTree, dict[str, Array], Bool[Array, ""]]:
    """Run steps as `game.run_chunk` does; check that metrics and the last state are finite."""
    body = scan_body(method, batches, resident, key)
    state, metrics = jax.lax.scan(body, state, (steps, rows))
    return state, metrics, finite((state, metrics))


def compiled(chunk: Callable[..., Any], donate: int | None) -> Callable[..., Any]:
    """Jit a chunk of steps with `COMPILER_OPTIONS`.

    Args:
        donate: index of the argument to donate; None for no donation.
    """
    return jax.jit(
        chunk,
        donate_argnums=() if donate is None else donate,
        compiler_options=COMPILER_OPTIONS.get(jax.default_backend()),
    )


def program(method: Method, feed: Feed, donate: bool) -> Program:
    """Jit `checked_chunk` for a method and its batches.

    Args:
        donate: True to donate the state.
    """
    return compiled(partial(checked_chunk, method, feed.batches), 0 if donate else None)


def skip_steps(run: Program, skipped: Sequence[range]) -> Program:
    """Leave some steps out of `run`: they do not change the state and have no metrics.

    Args:
        skipped: ranges of the numbers of updates done before these steps.
    """

    def run_others(
        state: PyTree, steps: Int[np.ndarray, " s"], rows: PyTree, *more: PyTree
    ) -> tuple[PyTree, dict[str, Array], Any]:
        if not skipped:
            return run(state, steps, rows, *more)
        is_skipped = [any(int(step) in interval for interval in skipped) for step in steps]
        kept = np.flatnonzero(~np.array(is_skipped))
        if len(kept) == len(steps):
            return run(state, steps, rows, *more)
        if not len(kept):
            return state, {}, np.True_
        return run(state, steps[kept], _take(rows, kept), *more)

    return run_others


@jax.jit
def _take(rows: PyTree, indices: Int[Array, " n"]) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[indices], rows)


def check_finite(start: int, step: int, is_finite: np.ndarray) -> None:
    """Check the steps start+1 .. step of one run.

    Raises:
        Diverged: their metrics or the state after them are not finite.
    """
    if not is_finite:
        raise Diverged(start, step)


class _PendingLog:
    """Queue of the chunks that were dispatched and are not logged yet.

    seconds: between the logs of the last two chunks
    """

    def __init__(self, log: Callable[[int, Metrics], None], check: Check):
        self._log, self._check = log, check
        self.dispatched: list[DispatchedChunk] = []
        self._last_time, self.seconds = time.monotonic(), 0.0

    def flush(self, keep: int = 0) -> None:
        """Wait for all but the last `keep` chunks, check and log them."""
        while len(self.dispatched) > keep:
            start, step, metrics, is_finite = self.dispatched.pop(0)
            self._check(start, step, np.asarray(is_finite))  # waits for the chunk
            means = {k: np.asarray(v, np.float64).mean(axis=0) for k, v in metrics.items()}
            self._log(step, means)
            now = time.monotonic()
            self._last_time, self.seconds = now, now - self._last_time


def train(
    run: Program,
    feed: Feed,
    state: PyTree,
    *,
    first: int,
    last: int,
    chunk: int,
    key: Key[Array, ""],
    log: Callable[[int, Metrics], None],
    hooks: Sequence[Hook],
    stopped: Callable[[], int | None] = lambda: None,
    check: Check = check_finite,
    ended: Callable[[], bool] = lambda: False,
) -> PyTree:
    """Run the steps first+1 .. last in chunks.

    Args:
        run: runs a chunk, see `program`; the state is donated.
        feed: batches of the run.
        state: after `first` updates.
        first: updates already done; a multiple of `chunk`, or `last`.
        chunk: steps in one `lax.scan`.
        key: the run's key.
        log: called with (step, metrics averaged over the chunk) once per chunk that passes
            `check`: before a hook of the same step, otherwise after the next chunk was dispatched.
        hooks: called in order at the steps at which they are due.
        stopped: polled before each chunk is dispatched; returns a signal's number, or None. The
            run then stops when the dispatched chunks are done: one, or two of less than
            `MAX_ASYNC_CHUNK_SECONDS`.
        check: called with (start, step, is_finite) before the log of a chunk.
        ended: polled after each hook; True makes this step the last one: the hooks that follow
            are called, and no further step is done.

    Returns:
        The state after the last step.

    Raises:
        Stopped: a signal came; the hooks with `on_signal` have been called.
        Diverged: a chunk's metrics or the state after it are not finite; no hook has been called
            with that state.
    """
    pending = _PendingLog(log, check)
    for start in range(first, last, chunk):
        steps = min(chunk, last - start)
        rows = feed.rows(start, steps)  # while the device runs the previous chunk
        if pending.dispatched and pending.seconds > MAX_ASYNC_CHUNK_SECONDS:
            jax.block_until_ready(pending.dispatched[-1].is_finite)
        if signum := stopped():
            pending.flush()
            for hook in hooks:
                if hook.on_signal and start > first and start % hook.every:
                    hook.call(start, state)
            raise Stopped(signum, start)
        numbers = np.arange(start, start + steps, dtype=np.int32)
        with signals.with_grace() if start == first else contextlib.nullcontext():  # compiles
            state, metrics, is_finite = run(state, numbers, rows, feed.resident, key)
        step = start + steps
        pending.dispatched.append(DispatchedChunk(start, step, metrics, is_finite))
        pending.flush(keep=1)  # logs the previous chunk while the device runs this one
        is_last = step == last
        for hook in hooks:
            if is_last or step % hook.every == 0:
                pending.flush()
                hook.call(step, state)
                is_last = is_last or ended()
        if is_last:
            break
    pending.flush()
    return state
