"""Where a run diverged: its steps are done again, one at a time, up to the first bad tensor.

A step is a function of (state, step number, the run's key), so that the state before the bad one
and its number are all that it takes to see it happen again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal
from jaxtyping import Array, Key

from latentgen.core.errors import Stopped
from latentgen.core.types import TURN, Batch, Method, PyTree
from latentgen.data.pipeline import Feed
from latentgen.storage.checkpoint import by_path
from latentgen.training.loop import program, skip_steps
from latentgen.training.mesh import local

Tensors = dict[str, Array]
"""What a step gives, by name: metrics.NAME, then the new state's leaves by key path.

What it takes comes before: before.PATH, the old state's leaves, and batch.x.
"""


class Bad(NamedTuple):
    """Number of non-finite values in a tensor, and of all its values."""

    not_finite: int
    values: int


class Done(NamedTuple):
    """Steps done again: the state after them, their metrics (leading axis: steps), and whether
    all of it is finite.
    """

    after: PyTree
    metrics: Mapping[str, Array]
    is_finite: bool


class Blame(NamedTuple):
    """The tensors that are not finite, the first of them first, and whose turn computed that one.

    turn: the players that it trains; None for what is there before any turn.
    """

    bad: dict[str, Bad]
    turn: str | None


class Found(NamedTuple):
    """The steps first+1 .. last give something that is not finite.

    That is one step; the chunk in which it happens, where only all of that shows it again; or
    none (first == last), where the state is finite and its samples are not.

    bad, turn: see `Blame`.
    state_before: after `first` updates; finite, unless the run began otherwise.
    """

    first: int
    last: int
    bad: dict[str, Bad]
    state_before: PyTree
    turn: str | None = None


class Origin(NamedTuple):
    """Tensors that a step's tensor is computed from, and the turn that computes it."""

    names: set[str]
    turn: str | None


class Statistics(NamedTuple):
    """Statistics of a tensor's finite values (nan if none), and the share of the others."""

    min: float
    max: float
    mean_magnitude: float
    not_finite: float


def statistics(x: Array | np.ndarray) -> Statistics:
    """min, max, mean |x| over the finite values, and the share of values that are not."""
    values = np.asarray(x).astype(np.float64).ravel()
    good = values[np.isfinite(values)]
    share = 1 - len(good) / max(len(values), 1)
    if not len(good):
        return Statistics(np.nan, np.nan, np.nan, share)
    return Statistics(
        float(good.min()), float(good.max()), float(np.abs(good).mean()), float(share)
    )


def count(tensors: Mapping[str, Any]) -> dict[str, Bad]:
    """The floating tensors that are not finite everywhere, in the order given."""
    found, here = {}, local(dict(tensors))
    for name, x in tensors.items():
        if jnp.issubdtype(x.dtype, jnp.inexact):
            finite = np.isfinite(np.asarray(here[name]).astype(np.float64))
            if not finite.all():
                found[name] = Bad(int((~finite).sum()), finite.size)
    return found


def named(metrics: Mapping[str, Array], state: PyTree) -> Tensors:
    """Return a step's metrics and new state as tensors by name."""
    return {f"metrics.{name}": x for name, x in metrics.items()} | by_path(state)


def again(
    method: Method, feed: Feed, key: Key[Array, ""], skipped: Sequence[range] = ()
) -> Callable[[PyTree, int, int], Done]:
    """(state, first, last) -> the steps first+1 .. last done in one chunk; the state stays.

    Args:
        skipped: the steps that the run has left out, see `loop.skip_steps`.
    """
    run = skip_steps(program(method, feed, donate=False), skipped)

    def do(state: PyTree, first: int, last: int) -> Done:
        rows = feed.rows(first, last - first)
        after, metrics, is_finite = run(
            state, np.arange(first, last, dtype=np.int32), rows, feed.resident, key
        )
        return Done(after, metrics, bool(is_finite))

    return do


def find(
    method: Method,
    feed: Feed,
    state: PyTree,
    first: int,
    last: int,
    key: Key[Array, ""],
    stopped: Callable[[], int | None] = lambda: None,
    begin: Callable[[str], None] = lambda what: None,
    skipped: Sequence[range] = (),
) -> Found | None:
    """The first of the steps first+1 .. last that gives something not finite, and what.

    One step at a time. Compiled so, a step may round otherwise than within the run's chunk; where
    that hides what happened, the chunk is done again as the run did it.

    Args:
        state: after `first` updates; it is kept.
        first, last: the chunk that diverged.
        key: the run's key.
        stopped: polled before each step.
        begin: told what is done next, see `Watchdog.begin`.
        skipped: see `again`.

    Returns:
        None where neither diverges this time: the device does not repeat itself.

    Raises:
        Stopped: a signal came.
    """
    do, at = again(method, feed, key, skipped), state
    for step in range(first, last):
        if signum := stopped():
            raise Stopped(signum, first)
        begin("a step done again")
        done = do(at, step, step + 1)
        if not done.is_finite:
            begin("the search for the first tensor")
            blame = blamed(method, feed, at, step, key, done)
            return Found(step, step + 1, blame.bad, at, blame.turn)
        at = done.after
    begin("the chunk done again")
    done = do(state, first, last)
    if done.is_finite:
        return None
    begin("the search for the first tensor")
    blame = blamed(method, feed, state, first, key, done)
    return Found(first, last, blame.bad, state, blame.turn)


def blamed(
    method: Method, feed: Feed, state: PyTree, first: int, key: Key[Array, ""], done: Done
) -> Blame:
    """Return the non-finite tensors of the step after `first` updates, the first of them first.

    A tensor is first if the step computes it from no other that is not finite: a discriminator's
    weights come before the loss of the generator that met them. Among those that are, the old
    state comes before the batch, that before metrics, in the order in which the players report
    them, and those before the new state.
    """
    row = jax.tree.map(lambda rows: rows[0], feed.rows(first, 1))
    origins = _origins(method, feed, state, row, first, key)
    batch = jax.jit(feed.batches)(feed.resident, row, key, jnp.int32(first))
    given = _taken(state, batch) | named(done.metrics, done.after)
    found = count({name: given[name] for name in origins})
    begins = [name for name in found if not origins[name].names & found.keys()]
    order = list(dict.fromkeys([*begins, *found]))
    return Blame({name: found[name] for name in order}, origins[order[0]].turn if order else None)


def _taken(state: PyTree, batch: Batch) -> Tensors:
    return {f"before.{path}": x for path, x in by_path(state).items()} | {"batch.x": batch.x}


def _origins(
    method: Method, feed: Feed, state: PyTree, row: PyTree, first: int, key: Key[Array, ""]
) -> dict[str, Origin]:
    """Each tensor that a step takes or gives, as reported -> where it comes from.

    Read from the step's jaxpr; what one equation computes, as a loop does, has no order in itself.
    """
    names: list[str] = []

    def step(state, number, row, resident, key):
        batch = feed.batches(resident, row, key, number)
        after, metrics = method.step(state, number, batch, key)
        tensors = _taken(state, batch) | named(metrics, after)
        names[:] = tensors  # here, since what JAX returns is sorted by name
        return list(tensors.values())

    jaxpr = jax.make_jaxpr(step)(state, jnp.int32(first), row, feed.resident, key).jaxpr
    makers = {out: eqn for eqn in jaxpr.eqns for out in eqn.outvars}
    outs = [None if isinstance(out, Literal) else out for out in jaxpr.outvars]

    def ancestors(out: Any) -> set[Any]:
        seen: set[Any] = set()
        ahead = [out]
        while ahead:
            eqn = makers.get(ahead.pop())
            new = {v for v in eqn.invars if not isinstance(v, Literal)} - seen if eqn else set()
            seen |= new
            ahead += new
        return seen

    found = {}
    for name, out in zip(names, outs, strict=True):
        above = ancestors(out)
        above_it = {n for n, other in zip(names, outs, strict=True) if other in above}
        found[name] = Origin(above_it, _turn(out, makers))
    return found


def _turn(out: Any, makers: Mapping[Any, Any]) -> str | None:
    """In whose turn a variable is computed, by the scope of the equation that makes it.

    One outside all turns that takes a single computed variable, as what says where a device keeps
    it does, hands on whose turn that was.
    """
    while (maker := makers.get(out)) is not None:
        scopes = [str(scope.name) for scope in maker.source_info.name_stack.stack]
        if turns := [s.removeprefix(TURN) for s in scopes if s.startswith(TURN)]:
            return turns[0]
        taken = [v for v in maker.invars if not isinstance(v, Literal) and v in makers]
        out = taken[0] if len(taken) == 1 else None
    return None
