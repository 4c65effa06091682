"""Turns one value of a run into NaN: in a batch, in a gradient, or in parameters.

    python -m tests.studies.faults.poison gradient generator 17,23 \
        latentgen.run --config experiments/gan.py --workdir runs/poisoned
    python -m tests.studies.faults.poison gradient generator 17,23 \
        latentgen.replay --workdir runs/poisoned

The same value is replaced whenever these steps are done, so that the fault is reproducible.
"""

import contextlib
import runpy
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int

from latentgen.core import game
from latentgen.core.types import Batch, Phase, PyTree
from latentgen.data import pipeline

WHAT = ("data", "gradient", "parameters")


class Poison(NamedTuple):
    """A value to replace by NaN, and the steps at which to do it.

    what: 'data', 'gradient' or 'parameters'
    player: whose gradient or parameters; ignored for data.
    steps: counted from 1.
    """

    what: str
    player: str
    steps: tuple[int, ...]

    def now(self, number: Int[Array, ""]) -> Bool[Array, ""]:
        """True if the step after `number` updates is one of `steps`."""
        return jnp.isin(number + 1, jnp.array(self.steps))


def spoiled(tree: PyTree, now: Bool[Array, ""]) -> PyTree:
    """`tree`, and where `now`, with NaN for the first value of its first leaf."""
    first, *rest = jax.tree.leaves(tree)
    first = first.at[(0,) * first.ndim].set(jnp.where(now, jnp.nan, first[(0,) * first.ndim]))
    return jax.tree.unflatten(jax.tree.structure(tree), [first, *rest])


def _turn(poison: Poison, turn: Any) -> Any:
    """`game.update_players` with the gradient or the parameters of a player spoiled."""

    def poisoned(phase: Phase, *given: Any) -> Any:
        if poison.what == "data" or poison.player not in phase.trains:
            return turn(phase, *given)
        (_, _, _, _, step, *_), tx = given, phase.tx
        now = poison.now(step)
        if poison.what == "gradient":

            def update(gradient: Any, opt: Any, params: Any) -> Any:
                bad = spoiled(gradient[poison.player], now)
                return tx.update({**gradient, poison.player: bad}, opt, params)

            return turn(phase._replace(tx=optax.GradientTransformation(tx.init, update)), *given)
        state, opt, terms = turn(phase, *given)
        bad = spoiled(state.params[poison.player], now)
        return state._replace(params={**state.params, poison.player: bad}), opt, terms

    return poisoned


def _feed(poison: Poison, make: Any) -> Any:
    """`pipeline.feed` whose batches have a spoiled pixel or coordinate."""

    def poisoned(*given: Any, **named: Any) -> Any:
        found = make(*given, **named)

        def batches(resident: Any, row: Any, key: Any, number: Int[Array, ""]) -> Batch:
            batch = found.batches(resident, row, key, number)
            return batch._replace(x=spoiled(batch.x, poison.now(number)))

        return found._replace(batches=batches)

    return poisoned


@contextlib.contextmanager
def poisoned(poison: Poison) -> Iterator[None]:
    """Spoil all training within the context."""
    turn, feed = game.update_players, pipeline.feed
    game.update_players = _turn(poison, turn)
    if poison.what == "data":
        pipeline.feed = _feed(poison, feed)
    try:
        yield
    finally:
        game.update_players, pipeline.feed = turn, feed


if __name__ == "__main__":
    what, player, steps, module, *words = sys.argv[1:]
    if what not in WHAT:
        sys.exit(f"{what!r} cannot be spoiled; valid: {', '.join(WHAT)}")
    sys.argv = [module, *words]
    with poisoned(Poison(what, player, tuple(map(int, steps.split(","))))):
        runpy.run_module(module, run_name="__main__")
