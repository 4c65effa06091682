"""The loop: jitted chunks of steps with a donated state, and hooks between chunks.

It never asks which method it trains. Chunks end at multiples of their length, whatever step a
run resumes from, so that a resumed run does bitwise what an undisturbed one does.
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
"""Means by name: numbers, or for a population arrays of one number a member."""

Program = Callable[..., tuple[PyTree, dict[str, Array], Array]]
"""(state, steps, rows, resident, key) -> (state, metrics, whether all is finite)."""

Check = Callable[[int, int, np.ndarray], None]
"""(start, step, finite) after the steps start+1 .. step."""

MAX_ASYNC_CHUNK_SECONDS = 1.0
"""Shorter chunks are dispatched asynchronously; longer ones are awaited, so that signals are
handled promptly."""

COMPILER_OPTIONS: dict[str, dict[str, Any]] = {
    # XLA:CPU else copies a player's weights and moments each step where an update reads them late.
    "cpu": {"xla_cpu_copy_insertion_use_region_analysis": True},
}
"""Platform -> what its compiler is told of a chunk."""


class Hook(NamedTuple):
    """A callback, called every `every` steps and after the last one: call(step, state).

    name: its action, in a word.
    on_signal: also called when a signal ends the run between two of its steps: only for one that
        leaves no trace in the record, or a resumed run would differ from an undisturbed one.
    """

    every: int
    call: Callable[[int, PyTree], None]
    on_signal: bool = False
    name: str = "hook"


class DispatchedChunk(NamedTuple):
    """The steps start+1 .. step, on their way: metrics of each, and whether all is finite."""

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
    """`game.run_chunk`, and whether its metrics and the state after it are finite."""
    body = scan_body(method, batches, resident, key)
    state, metrics = jax.lax.scan(body, state, (steps, rows))
    return state, metrics, finite((state, metrics))


def compiled(chunk: Callable[..., Any], donate: int | None) -> Callable[..., Any]:
    """`chunk` to be compiled as a chunk of steps.

    Args:
        donate: the place of an argument whose memory a result takes; it is gone then.
    """
    return jax.jit(
        chunk,
        donate_argnums=() if donate is None else donate,
        compiler_options=COMPILER_OPTIONS.get(jax.default_backend()),
    )


def program(method: Method, feed: Feed, donate: bool) -> Program:
    """`checked_chunk` compiled.

    Args:
        donate: the new state takes the old one's memory, which is gone then.
    """
    return compiled(partial(checked_chunk, method, feed.batches), 0 if donate else None)


def skip_steps(run: Program, skipped: Sequence[range]) -> Program:
    """`run` without some steps: the state stays as it was, and the next step follows.

    Args:
        skipped: the numbers of these steps, that is of the updates before each.
    """

    def others(
        state: PyTree, steps: Int[np.ndarray, " s"], rows: PyTree, *more: PyTree
    ) -> tuple[PyTree, dict[str, Array], Any]:
        if not skipped:
            return run(state, steps, rows, *more)
        left_out = [any(int(step) in some for some in skipped) for step in steps]
        kept = np.flatnonzero(~np.array(left_out))
        if len(kept) == len(steps):
            return run(state, steps, rows, *more)
        if not len(kept):
            return state, {}, np.True_
        return run(state, steps[kept], _chosen(rows, kept), *more)

    return others


@jax.jit
def _chosen(rows: PyTree, places: Int[Array, " n"]) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[places], rows)


def check_finite(start: int, step: int, is_finite: np.ndarray) -> None:
    """Judge the steps start+1 .. step of one run.

    Raises:
        Diverged: they are not finite.
    """
    if not is_finite:
        raise Diverged(start, step)


class _PendingLog:
    """The chunks that were sent and not yet told of; `took`: seconds of the last one told of."""

    def __init__(self, log: Callable[[int, Metrics], None], check: Check):
        self._log, self._check = log, check
        self.sent: list[DispatchedChunk] = []
        self._since, self.took = time.monotonic(), 0.0

    def tell(self, keep: int = 0) -> None:
        """Wait for all but the last `keep` chunks, judge and log them."""
        while len(self.sent) > keep:
            start, step, metrics, is_finite = self.sent.pop(0)
            self._check(start, step, np.asarray(is_finite))  # waits for the chunk
            means = {k: np.asarray(v, np.float64).mean(axis=0) for k, v in metrics.items()}
            self._log(step, means)
            now = time.monotonic()
            self._since, self.took = now, now - self._since


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
) -> PyTree:
    """Steps first+1 .. last, in chunks.

    Args:
        run: what does a chunk, see `program`; the state is donated to it.
        first: updates already done; a multiple of `chunk`, or `last`.
        chunk: steps in one `lax.scan`.
        key: the run's key.
        log: (step, metrics averaged over the chunk), called once a chunk, always before a hook
            of the same step and after the next chunk was sent to the device otherwise; never
            for a chunk that `check` stopped at.
        hooks: called in order at the steps that are due.
        stopped: polled before each chunk is sent. A signal is heeded when what was sent is done:
            after one chunk, or two of less than AHEAD seconds.
        check: (start, step, whether the chunk is finite), before its log.

    Returns:
        The state after the last step.

    Raises:
        Stopped: a signal came; the hooks that answer to one have been called.
        Diverged: a chunk's metrics or the state after it are not finite; no hook has seen it.
    """
    pending = _PendingLog(log, check)
    for start in range(first, last, chunk):
        steps = min(chunk, last - start)
        rows = feed.rows(start, steps)  # while the device works on the chunk before
        if pending.sent and pending.took > MAX_ASYNC_CHUNK_SECONDS:
            jax.block_until_ready(pending.sent[-1].is_finite)
        if signum := stopped():
            pending.tell()
            for hook in hooks:
                if hook.on_signal and start > first and start % hook.every:
                    hook.call(start, state)
            raise Stopped(signum, start)
        numbers = np.arange(start, start + steps, dtype=np.int32)
        with signals.with_grace() if start == first else contextlib.nullcontext():  # it is compiled
            state, metrics, is_finite = run(state, numbers, rows, feed.resident, key)
        step = start + steps
        pending.sent.append(DispatchedChunk(start, step, metrics, is_finite))
        pending.tell(keep=1)  # of the chunk before, while the device works on this one
        due = [hook for hook in hooks if step == last or step % hook.every == 0]
        if due:
            pending.tell()
        for hook in due:
            hook.call(step, state)
    pending.tell()
    return state
