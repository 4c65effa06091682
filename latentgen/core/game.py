"""A game: players take turns, and a turn is a loss with an optax transformation.

A variational autoencoder is the one-player game. A generative adversarial network is the
two-player game on one cost C(D, G), which D ascends and G descends, in turn.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key

from latentgen.core.keys import named_key
from latentgen.core.split import gather_params, shard_examples
from latentgen.core.types import (
    OPTIMIZER,
    TURN,
    Batch,
    Method,
    Net,
    Params,
    Phase,
    PyTree,
    State,
    Terms,
)


def ascend(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """`tx` climbing instead of descending: it is handed the gradient of -C."""
    return optax.chain(optax.scale(-1.0), tx)


def players(
    nets: Mapping[str, tuple[Net, tuple[int, ...]]],
) -> Callable[[Key[Array, ""]], tuple[Params, Params]]:
    """key -> (params, stats) of every player, each network with a key of its own.

    Args:
        nets: player -> its network, and the shape of one example that it takes.
    """

    def init(key: Key[Array, ""]) -> tuple[Params, Params]:
        keys = jax.random.split(key, len(nets))
        made = {
            name: net.init(k, jnp.zeros((1, *shape)))
            for k, (name, (net, shape)) in zip(keys, nets.items(), strict=True)
        }
        return {n: params for n, (params, _) in made.items()}, {
            n: stats for n, (_, stats) in made.items()
        }

    return init


def update_players(
    phase: Phase, state: State, opt: PyTree, batch: Batch, key: Key[Array, ""], step: Int[Array, ""]
) -> tuple[State, PyTree, dict[str, Array]]:
    """One player's update: the gradient of its mean loss, its own parameters and stats only.

    theta <- theta + tx(grad_theta mean_n loss_n(theta, others))

    Other players' parameters stay bitwise as they were, and so do their stats: a discriminator's
    turn runs the generator without moving the generator's batch-norm averages.
    """
    params, stats, _ = state
    mine = {name: params[name] for name in phase.trains}

    def mean_loss(mine: Params) -> tuple[Array, tuple[Params, Terms]]:
        loss, aux = phase.loss(gather_params(params | mine), stats, batch, key, step, True)
        return shard_examples(loss).mean(), aux

    gradient, (new_stats, terms) = jax.grad(mean_loss, has_aux=True)(mine)
    with jax.named_scope(OPTIMIZER):
        updates, opt = phase.tx.update(gradient, opt, mine)
        params = params | optax.apply_updates(mine, updates)
    stats = stats | {name: new_stats[name] for name in phase.trains if name in stats}
    return state._replace(params=params, stats=stats), opt, jax.tree.map(jnp.mean, terms)


def update_repeatedly(
    phase: Phase,
    state: State,
    opt: PyTree,
    batches: Batch,
    keys: Key[Array, " k"],
    step: Int[Array, ""],
) -> tuple[State, PyTree, dict[str, Array]]:
    """`phase.repeats` updates in a row, each on a minibatch of its own; metrics are their mean."""

    def one(carry: PyTree, inputs: PyTree) -> tuple[PyTree, dict[str, Array]]:
        (state, opt), (batch, key) = carry, inputs
        state, opt, metrics = update_players(phase, state, opt, batch, key, step)
        return (state, opt), metrics

    (state, opt), metrics = jax.lax.scan(one, (state, opt), (batches, keys))
    return state, opt, jax.tree.map(jnp.mean, metrics)


def game(
    init: Callable[[Key[Array, ""]], tuple[Params, Params]],
    phases: Sequence[Phase],
    sample: Callable[[State, Key[Array, ""], int], Array] | None,
    probes: Mapping[str, Callable[..., Any]],
) -> Method:
    """Make a method of phases: in each step every player is updated, in order.

    A player with repeats > 1 takes that many turns in a row, each on a minibatch of its own. A
    player with fewer repeats than `draws` sees the last minibatches, so that an epoch is counted
    in the discriminator's data, as papers count it.

    Args:
        init: (key) -> (params, stats), one subtree per player.
        phases: the turns of one step.
        sample: (state, key, n) -> synthetic x.
        probes: see `Method`.
    """
    draws = max(phase.repeats for phase in phases)

    def init_state(key: Key[Array, ""]) -> State:
        params, stats = init(named_key(key, "init"))
        opt = tuple(
            phase.tx.init({name: params[name] for name in phase.trains}) for phase in phases
        )
        return State(params, stats, opt)

    def step(
        state: State, step: Int[Array, ""], batches: Batch, key: Key[Array, ""]
    ) -> tuple[State, dict[str, Array]]:
        key = jax.random.fold_in(named_key(key, "step"), step)
        opts = list(state.opt)
        metrics: dict[str, Array] = {}
        for i, phase in enumerate(phases):
            mine = jax.tree.map(lambda b, k=phase.repeats: b[-k:], batches)
            keys = jax.random.split(jax.random.fold_in(key, i), phase.repeats)
            update: Callable[..., tuple[State, PyTree, dict[str, Array]]] = update_repeatedly
            if phase.repeats == 1:  # no loop of one
                update, mine, keys = update_players, jax.tree.map(lambda b: b[0], mine), keys[0]
            with jax.named_scope(TURN + _said(phase, state)):
                state, opts[i], found = update(phase, state, opts[i], mine, keys, step)
            metrics = _join(metrics, found)
        return state._replace(opt=tuple(opts)), metrics

    def terms(state: State, step: Int[Array, ""], batch: Batch, key: Key[Array, ""]) -> Terms:
        found: Terms = {}
        for i, phase in enumerate(phases):
            phase_key = jax.random.fold_in(key, i)
            _, (_, terms) = phase.loss(state.params, state.stats, batch, phase_key, step, False)
            found = _join(found, terms)
        return found

    return Method(init_state, step, terms, sample, probes, draws)


def _said(phase: Phase, state: State) -> str:
    """The players that have something to train; a fixed prior has not."""
    return " and ".join(name for name in phase.trains if jax.tree.leaves(state.params[name]))


def _join(terms: Terms, more: Terms) -> Terms:
    if twice := terms.keys() & more.keys():
        raise ValueError(f"two players report the same terms: {', '.join(sorted(twice))}")
    return terms | more


def scan_body(
    method: Method,
    batches: Callable[[PyTree, PyTree, Key[Array, ""], Int[Array, ""]], Batch],
    resident: PyTree,
    key: Key[Array, ""],
) -> Callable[[PyTree, PyTree], tuple[PyTree, dict[str, Array]]]:
    """(state, (step, row)) -> (state, metrics), to be scanned; arguments as for `run_chunk`."""

    def body(state: PyTree, inputs: PyTree) -> tuple[PyTree, dict[str, Array]]:
        step, row = inputs
        return method.step(state, step, batches(resident, row, key, step), key)

    return body


def run_chunk(
    method: Method,
    batches: Callable[[PyTree, PyTree, Key[Array, ""], Int[Array, ""]], Batch],
    state: PyTree,
    steps: Int[Array, " s"],
    rows: PyTree,
    resident: PyTree,
    key: Key[Array, ""],
) -> tuple[PyTree, dict[str, Array]]:
    """A run: `lax.scan` of `method.step` over the numbered steps.

    Args:
        batches: (resident, rows of one step, key, step) -> minibatches with leading axes
            (draws, n).
        rows: what each step eats, leading axis s.
        resident: arrays that all steps read from.
        key: the run's key.

    Returns:
        The state after the steps, and the metrics with leading axis s.
    """
    return jax.lax.scan(scan_body(method, batches, resident, key), state, (steps, rows))
