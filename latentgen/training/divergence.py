"""Search for a divergence: repeat the steps one at a time, up to the first non-finite tensor.

A step is a function of (state, step number, the run's key): the state before it and its number
are enough to repeat it.
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
"""Inputs and outputs of a step by name, in this order: before.PATH, the leaves of the old state by
key path; batch.x; metrics.NAME; and PATH, the leaves of the new state.
"""


class Bad(NamedTuple):
    """Number of non-finite values of a tensor, and of all its values."""

    not_finite: int
    values: int


class Done(NamedTuple):
    """Result of repeated steps.

    after: the state after them
    metrics: leading axis steps
    is_finite: True if `after` and `metrics` are finite
    """

    after: PyTree
    metrics: Mapping[str, Array]
    is_finite: bool


class Blame(NamedTuple):
    """Non-finite tensors, and the turn that computed the first of them.

    bad: in the order of `blamed`
    turn: names of the players that it trains; None if the first tensor is no result of a turn
    """

    bad: dict[str, Bad]
    turn: str | None


class Found(NamedTuple):
    """A divergence in the steps first+1 .. last.

    last == first + 1 is a single step. last > first + 1 is a whole chunk, where its single steps
    do not reproduce the divergence. last == first: the state is finite, but its samples are not.

    bad, turn: see `Blame`
    state_before: the state after `first` updates; finite, unless the run began otherwise
    """

    first: int
    last: int
    bad: dict[str, Bad]
    state_before: PyTree
    turn: str | None = None


class Origin(NamedTuple):
    """Names of the tensors that a tensor is computed from, and the turn that computes it."""

    names: set[str]
    turn: str | None


class Statistics(NamedTuple):
    """Statistics of a tensor's finite values (nan if none), and the share of non-finite values."""

    min: float
    max: float
    mean_magnitude: float
    not_finite: float


def statistics(x: Array | np.ndarray) -> Statistics:
    """Compute min, max and mean |x| over the finite values, and the share of non-finite values."""
    values = np.asarray(x).astype(np.float64).ravel()
    finite = values[np.isfinite(values)]
    share = 1 - len(finite) / max(len(values), 1)
    if not len(finite):
        return Statistics(np.nan, np.nan, np.nan, share)
    return Statistics(
        float(finite.min()), float(finite.max()), float(np.abs(finite).mean()), float(share)
    )


def count(tensors: Mapping[str, Any]) -> dict[str, Bad]:
    """Count non-finite values by tensor; omit tensors without any, and those of integers."""
    counts, local_tensors = {}, local(dict(tensors))
    for name, x in tensors.items():
        if jnp.issubdtype(x.dtype, jnp.inexact):
            is_finite = np.isfinite(np.asarray(local_tensors[name]).astype(np.float64))
            if not is_finite.all():
                counts[name] = Bad(int((~is_finite).sum()), is_finite.size)
    return counts


def named(metrics: Mapping[str, Array], state: PyTree) -> Tensors:
    """Return a step's metrics and new state as `Tensors`."""
    return {f"metrics.{name}": x for name, x in metrics.items()} | by_path(state)


def again(
    method: Method, feed: Feed, key: Key[Array, ""], skipped: Sequence[range] = ()
) -> Callable[[PyTree, int, int], Done]:
    """Make the function (state, first, last) -> result of the steps first+1 .. last, as one chunk.

    It does not donate the state.

    Args:
        skipped: the steps that the run leaves out, see `loop.skip_steps`.
    """
    run = skip_steps(program(method, feed, donate=False), skipped)

    def repeat(state: PyTree, first: int, last: int) -> Done:
        rows = feed.rows(first, last - first)
        after, metrics, is_finite = run(
            state, np.arange(first, last, dtype=np.int32), rows, feed.resident, key
        )
        return Done(after, metrics, bool(is_finite))

    return repeat


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
    """Find the first of the steps first+1 .. last with a non-finite result.

    The steps are repeated one at a time. A step that is compiled alone may round differently than
    within a chunk; if no single step diverges, the chunk is repeated as a whole.

    Args:
        state: the state after `first` updates; not donated.
        first, last: the chunk that diverged.
        key: the run's key.
        stopped: polled before each step; returns a signal's number, or None.
        begin: called with a description of each action, see `Watchdog.begin`.
        skipped: see `again`.

    Returns:
        The divergence; None if nothing diverges this time, so that the device is not
        deterministic.

    Raises:
        Stopped: a signal came.
    """
    repeat, current = again(method, feed, key, skipped), state
    for step in range(first, last):
        if signum := stopped():
            raise Stopped(signum, first)
        begin("a step done again")
        done = repeat(current, step, step + 1)
        if not done.is_finite:
            begin("the search for the first tensor")
            blame = blamed(method, feed, current, step, key, done)
            return Found(step, step + 1, blame.bad, current, blame.turn)
        current = done.after
    begin("the chunk done again")
    done = repeat(state, first, last)
    if done.is_finite:
        return None
    begin("the search for the first tensor")
    blame = blamed(method, feed, state, first, key, done)
    return Found(first, last, blame.bad, state, blame.turn)


def blamed(
    method: Method, feed: Feed, state: PyTree, first: int, key: Key[Array, ""], done: Done
) -> Blame:
    """Order the non-finite tensors of the step after `first` updates by cause.

    First come the tensors that are computed from no other non-finite tensor: the discriminator's
    weights come before a generator loss that is computed from them. Otherwise the order is that
    of `Tensors`, with metrics in the order in which the players report them.

    Args:
        state: the state before the step.
        done: result of the step, or of a chunk that begins with it.
    """
    row = jax.tree.map(lambda rows: rows[0], feed.rows(first, 1))
    origins = _origins(method, feed, state, row, first, key)
    batch = jax.jit(feed.batches)(feed.resident, row, key, jnp.int32(first))
    tensors = _inputs(state, batch) | named(done.metrics, done.after)
    bad = count({name: tensors[name] for name in origins})
    causes = [name for name in bad if not origins[name].names & bad.keys()]
    order = list(dict.fromkeys([*causes, *bad]))
    return Blame({name: bad[name] for name in order}, origins[order[0]].turn if order else None)


def _inputs(state: PyTree, batch: Batch) -> Tensors:
    return {f"before.{path}": x for path, x in by_path(state).items()} | {"batch.x": batch.x}


def _origins(
    method: Method, feed: Feed, state: PyTree, row: PyTree, first: int, key: Key[Array, ""]
) -> dict[str, Origin]:
    """Trace a step and find the origin of each of its tensors in the jaxpr.

    Outputs of one equation, such as a scan, count as computed at once, not from each other.
    """
    names: list[str] = []

    def step(state, number, row, resident, key):
        batch = feed.batches(resident, row, key, number)
        after, metrics = method.step(state, number, batch, key)
        tensors = _inputs(state, batch) | named(metrics, after)
        names[:] = tensors  # a returned dict would be sorted by name
        return list(tensors.values())

    jaxpr = jax.make_jaxpr(step)(state, jnp.int32(first), row, feed.resident, key).jaxpr
    equations = {var: eqn for eqn in jaxpr.eqns for var in eqn.outvars}
    outs = [None if isinstance(out, Literal) else out for out in jaxpr.outvars]

    def ancestors(var: Any) -> set[Any]:
        visited: set[Any] = set()
        queue = [var]
        while queue:
            eqn = equations.get(queue.pop())
            new = {v for v in eqn.invars if not isinstance(v, Literal)} - visited if eqn else set()
            visited |= new
            queue += new
        return visited

    origins = {}
    for name, out in zip(names, outs, strict=True):
        variables = ancestors(out)
        sources = {n for n, other in zip(names, outs, strict=True) if other in variables}
        origins[name] = Origin(sources, _turn(out, equations))
    return origins


def _turn(var: Any, equations: Mapping[Any, Any]) -> str | None:
    """Return the players whose turn computes a variable, from the named scope of its equation.

    An equation outside all turns with a single computed input, such as a sharding constraint,
    belongs to the turn of that input.

    Args:
        equations: variable -> the equation that computes it.
    """
    while (eqn := equations.get(var)) is not None:
        scopes = [str(scope.name) for scope in eqn.source_info.name_stack.stack]
        if turns := [s.removeprefix(TURN) for s in scopes if s.startswith(TURN)]:
            return turns[0]
        computed = [v for v in eqn.invars if not isinstance(v, Literal) and v in equations]
        var = computed[0] if len(computed) == 1 else None
    return None
