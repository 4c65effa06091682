"""The loop: jitted chunks of steps with a donated state, and hooks between chunks.

It never asks which method it trains. Chunks end at multiples of their length, whatever step a
run resumes from, so that a resumed run does bitwise what an undisturbed one does.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Key

from latentgen.core.game import run_chunk
from latentgen.core.types import Batch, Method, PyTree
from latentgen.data.pipeline import Feed

Metrics = dict[str, float]


class Hook(NamedTuple):
    """What happens every so many steps, and after the last one: call(step, state).

    on_signal: also when a signal ends the run between two of its steps: only for what leaves no
        trace in the record, or a resumed run would differ from an undisturbed one.
    """

    every: int
    call: Callable[[int, PyTree], None]
    on_signal: bool = False


class Stopped(Exception):
    """A signal ended the run at a chunk's end, after a checkpoint."""

    def __init__(self, signum: int, step: int):
        super().__init__(f"stopped by {signal.Signals(signum).name} after step {step}")
        self.signum, self.step = signum, step


class Diverged(Exception):
    """A metric of the steps first+1 .. last, or the state after them, is not finite.

    With first == last it is what the finite state after that step generates. `said` is what to
    tell the user, once more is known.
    """

    def __init__(self, first: int, last: int, said: str | None = None):
        super().__init__(said or f"diverged between step {first} and step {last}")
        self.first, self.last = first, last


@contextmanager
def signals() -> Iterator[Callable[[], int | None]]:
    """Catches SIGTERM and SIGINT while inside; yields a function that tells which came, if any.

    A second signal of the same kind ends the process at once.
    """
    seen: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        seen.append(signum)
        signal.signal(signum, old[signum])

    old: dict[int, Any] = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        for signum in old:
            signal.signal(signum, note)
        yield lambda: seen[0] if seen else None
    finally:
        for signum, handler in old.items():
            signal.signal(signum, handler)


def finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every value of every floating leaf is."""
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
    state, metrics = run_chunk(method, batches, state, steps, rows, resident, key)
    return state, metrics, finite((state, metrics))


def train(
    method: Method,
    feed: Feed,
    state: PyTree,
    first: int,
    last: int,
    chunk: int,
    key: Key[Array, ""],
    log: Callable[[int, Metrics], None],
    hooks: Sequence[Hook],
    stopped: Callable[[], int | None] = lambda: None,
) -> PyTree:
    """Steps first+1 .. last, in chunks.

    Args:
        first: updates already done; a multiple of `chunk`, or `last`.
        chunk: steps in one `lax.scan`.
        key: the run's key.
        log: (step, metrics averaged over the chunk), called once a chunk, always before a hook
            of the same step and after the next chunk was sent to the device otherwise; never
            for a chunk that diverged.
        hooks: called in order at the steps that are due.
        stopped: polled before each chunk, when the one before is done.

    Returns:
        The state after the last step.

    Raises:
        Stopped: a signal came; the hooks that answer to one have been called.
        Diverged: a chunk's metrics or the state after it are not finite; no hook has seen it.
    """
    run = jax.jit(partial(checked_chunk, method, feed.batches), donate_argnums=0)
    waiting: tuple[int, int, dict[str, Array], Bool[Array, ""]] | None = None

    def tell() -> None:
        nonlocal waiting
        if waiting is not None:
            start, step, metrics, fine = waiting
            if not fine:
                raise Diverged(start, step)
            log(step, {k: float(np.mean(np.asarray(v, np.float64))) for k, v in metrics.items()})
            waiting = None

    for start in range(first, last, chunk):
        steps = min(chunk, last - start)
        rows = feed.rows(start, steps)  # while the device works on the chunk before
        if waiting is not None:
            jax.block_until_ready(waiting[2])
        if signum := stopped():
            tell()
            for hook in hooks:
                if hook.on_signal and start > first and start % hook.every:
                    hook.call(start, state)
            raise Stopped(signum, start)
        numbers = jnp.arange(start, start + steps)
        state, metrics, fine = run(state, numbers, rows, feed.resident, key)
        tell()  # of the chunk before, while the device works on this one
        step = start + steps
        waiting = start, step, metrics, fine
        due = [hook for hook in hooks if step == last or step % hook.every == 0]
        if due:
            tell()
        for hook in due:
            hook.call(step, state)
    tell()
    return state
