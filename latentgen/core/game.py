"""A game: players take turns; each turn (`Phase`) is a loss with an optax transformation.

A variational autoencoder is a game of one player. A generative adversarial network is a game of
two players on one cost C(D, G): in each step D ascends C, then G descends it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
    """Turn a descent into an ascent: `tx` receives the gradient of -C in place of that of C."""
    return optax.chain(optax.scale(-1.0), tx)


def players(
    nets: Mapping[str, tuple[Net, *tuple[tuple[int, ...], ...]]],
) -> Callable[[Key[Array, ""]], tuple[Params, Params]]:
    """Make the function that initializes every player's network, each with its own key.

    Args:
        nets: player -> (network, shape of one example of each of its inputs).

    Returns:
        key -> (params, stats), each with one subtree per player.
    """

    def init(key: Key[Array, ""]) -> tuple[Params, Params]:
        keys = jax.random.split(key, len(nets))
        variables = {
            name: net.init(k, *(jnp.zeros((1, *shape)) for shape in shapes))
            for k, (name, (net, *shapes)) in zip(keys, nets.items(), strict=True)
        }
        return {name: params for name, (params, _) in variables.items()}, {
            name: stats for name, (_, stats) in variables.items()
        }

    return init


def update_players(
    phase: Phase,
    state: State,
    opt: PyTree,
    batch: Batch,
    key: Key[Array, ""],
    step: Int[Array, ""],
    microbatches: int = 1,
) -> tuple[State, PyTree, dict[str, Array]]:
    """Update the players that a phase trains, once.

    theta <- theta + tx(grad_theta mean_n loss_n(theta, others))

    The parameters and stats of all other players stay bitwise equal: the discriminator's turn
    runs the generator in training mode, but the generator's batch-norm averages do not change.

    Args:
        opt: the phase's optimizer state.
        batch: one minibatch, leading axis n.
        step: updates done before this step.
        microbatches: number of equal parts of the minibatch. Gradients are computed for one part
            at a time, which saves memory, and averaged: this is the gradient of the whole minibatch
            if the loss is a mean over examples. Each part has its own key, and batch norm sees one
            part at a time.

    Returns:
        The new state, the new optimizer state, and the mean of each term.
    """
    params, stats, _ = state
    trained = {name: params[name] for name in phase.trains}

    def mean_loss(
        trained: Params, stats: Params, batch: Batch, key: Key[Array, ""]
    ) -> tuple[Array, tuple[Params, dict[str, Array]]]:
        loss, aux = phase.loss(gather_params(params | trained), stats, batch, key, step, True)
        new_stats, terms = aux
        kept = {name: new_stats[name] for name in phase.trains if name in stats}
        return shard_examples(loss).mean(), (stats | kept, jax.tree.map(jnp.mean, terms))

    gradient_of = jax.grad(mean_loss, has_aux=True)
    if microbatches == 1:
        gradient, (stats, terms) = gradient_of(trained, stats, batch, key)
    else:
        mean_of = partial(gradient_of, trained)
        gradient, (stats, terms) = _accumulated(mean_of, stats, batch, key, microbatches)
    with jax.named_scope(OPTIMIZER):
        updates, opt = phase.tx.update(gradient, opt, trained)
        params = params | optax.apply_updates(trained, updates)
    return state._replace(params=params, stats=stats), opt, terms


def _accumulated(
    gradient_of: Callable[..., tuple[Params, tuple[Params, dict[str, Array]]]],
    stats: Params,
    batch: Batch,
    key: Key[Array, ""],
    parts: int,
) -> tuple[Params, tuple[Params, dict[str, Array]]]:
    """Average gradient and terms over the parts of a minibatch; pass stats from part to part.

    Part i has the examples i, i + parts, i + 2 parts, ..., so that each device keeps its own
    examples.

    Args:
        gradient_of: (stats, batch, key) -> (gradient, (stats, terms)).
    """
    split = jax.tree.map(lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), batch)
    keys = jax.random.split(key, parts)

    def body(carry: PyTree, inputs: PyTree) -> tuple[PyTree, None]:
        stats, total = carry
        gradient, (stats, terms) = gradient_of(stats, *inputs)
        return (stats, jax.tree.map(jnp.add, total, (gradient, terms))), None

    def first_part(stats: Params, inputs: PyTree) -> Any:
        return gradient_of(stats, *jax.tree.map(lambda x: x[0], inputs))

    gradient, (_, terms) = jax.eval_shape(first_part, stats, (split, keys))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (gradient, terms))
    (stats, total), _ = jax.lax.scan(body, (stats, zeros), (split, keys))
    gradient, terms = jax.tree.map(lambda x: x / parts, total)
    return gradient, (stats, terms)


def update_repeatedly(
    phase: Phase,
    state: State,
    opt: PyTree,
    batches: Batch,
    keys: Key[Array, " r"],
    step: Int[Array, ""],
    microbatches: int = 1,
) -> tuple[State, PyTree, dict[str, Array]]:
    """Update `phase.repeats` times, each time on the next minibatch; average the metrics.

    Args:
        batches: leading axes (r, n), r = `phase.repeats`.
        keys: one for each update.
        microbatches: see `update_players`.
    """

    def body(carry: PyTree, inputs: PyTree) -> tuple[PyTree, dict[str, Array]]:
        (state, opt), (batch, key) = carry, inputs
        state, opt, metrics = update_players(phase, state, opt, batch, key, step, microbatches)
        return (state, opt), metrics

    (state, opt), metrics = jax.lax.scan(body, (state, opt), (batches, keys))
    return state, opt, jax.tree.map(jnp.mean, metrics)


def _update_lazily(
    update: Callable[..., tuple[State, PyTree, dict[str, Array]]],
    phase: Phase,
    state: State,
    opt: PyTree,
    batches: Batch,
    keys: Key[Array, "..."],
    step: Int[Array, ""],
    microbatches: int,
) -> tuple[State, PyTree, dict[str, Array]]:
    """Update in steps 0, k, 2k, ... only, k = `phase.every`, with loss and terms multiplied by k.

    In all other steps state and optimizer state stay as they are, and the terms are 0.
    """

    def loss(*args: Any) -> tuple[Array, tuple[Params, Terms]]:
        value, (stats, terms) = phase.loss(*args)
        return phase.every * value, (stats, jax.tree.map(lambda t: phase.every * t, terms))

    lazy = phase._replace(loss=loss)
    # jit: one trace serves both the shapes of the terms and the update.
    run = jax.jit(partial(update, lazy, microbatches=microbatches))
    rest = (batches, keys, step)
    terms = jax.eval_shape(run, state, opt, *rest)[2]

    def skip(state: State, opt: PyTree) -> tuple[State, PyTree, dict[str, Array]]:
        return state, opt, jax.tree.map(lambda t: jnp.zeros(t.shape, t.dtype), terms)

    play = lambda state, opt: run(state, opt, *rest)  # noqa: E731
    return jax.lax.cond(step % phase.every == 0, play, skip, state, opt)


def game(
    init: Callable[[Key[Array, ""]], tuple[Params, Params]],
    phases: Sequence[Phase],
    sample: Callable[[State, Key[Array, ""], int], Array] | None,
    probes: Mapping[str, Callable[..., Any]],
    microbatches: int = 1,
) -> Method:
    """Make the method whose training step plays the phases in order.

    A step takes `draws` minibatches: the largest `repeats` of any phase. A phase with r `repeats`
    makes r updates in a row, on the last r of these minibatches. So an epoch counts the examples
    that the discriminator sees, as in the papers. A phase that is played in every k-th step only
    reports k times its terms in these steps and 0 in all others, so that the average over many
    steps is that of the terms.

    Args:
        init: (key) -> (params, stats), one subtree per player.
        phases: the turns of one step.
        sample: (state, key, n) -> synthetic x of shape (n, *shape); None if the method has none.
        probes: see `Method`.
        microbatches: see `update_players`.

    Raises:
        ValueError: a phase shares the optimizer of one that trains other players.
    """
    draws = max(phase.repeats for phase in phases)
    for phase in phases:
        if phase.shares is not None and phases[phase.shares].trains != phase.trains:
            raise ValueError(f"phases that share an optimizer train the same: {phase.trains}")

    def init_state(key: Key[Array, ""]) -> State:
        params, stats = init(named_key(key, "init"))
        opt = tuple(
            phase.tx.init({name: params[name] for name in phase.trains})
            if phase.shares is None
            else ()
            for phase in phases
        )
        return State(params, stats, opt)

    def step(
        state: State, step: Int[Array, ""], batches: Batch, key: Key[Array, ""]
    ) -> tuple[State, dict[str, Array]]:
        key = jax.random.fold_in(named_key(key, "step"), step)
        opts = list(state.opt)
        metrics: dict[str, Array] = {}
        for i, phase in enumerate(phases):
            owner = i if phase.shares is None else phase.shares
            phase = phase._replace(tx=phases[owner].tx)
            update, minibatches, keys = _turn(phase, batches, jax.random.fold_in(key, i))
            with jax.named_scope(TURN + _trained_players(phase, state)):
                state, opts[owner], terms = update(
                    phase, state, opts[owner], minibatches, keys, step, microbatches
                )
            metrics = _merge_terms(metrics, terms)
        return state._replace(opt=tuple(opts)), metrics

    def terms(state: State, step: Int[Array, ""], batch: Batch, key: Key[Array, ""]) -> Terms:
        merged: Terms = {}
        for i, phase in enumerate(phases):
            phase_key = jax.random.fold_in(key, i)
            _, (_, terms) = phase.loss(state.params, state.stats, batch, phase_key, step, False)
            merged = _merge_terms(merged, terms)
        return merged

    accumulate = partial(game, init, phases, sample, probes)
    return Method(
        init=init_state,
        step=step,
        terms=terms,
        sample=sample,
        probes=probes,
        draws=draws,
        accumulate=accumulate,
    )


def _turn(
    phase: Phase, batches: Batch, key: Key[Array, ""]
) -> tuple[Callable[..., tuple[State, PyTree, dict[str, Array]]], Batch, Key[Array, "..."]]:
    """Choose the update of a phase, its minibatches and their keys.

    Args:
        batches: minibatches of a step, leading axis `draws`; a phase takes the last ones.
        key: split into one for each minibatch.
    """
    minibatches = jax.tree.map(lambda b: b[-phase.repeats :], batches)
    keys = jax.random.split(key, phase.repeats)
    update: Callable[..., tuple[State, PyTree, dict[str, Array]]] = update_repeatedly
    if phase.repeats == 1:  # a scan of length 1 would only add a loop
        update, keys = update_players, keys[0]
        minibatches = jax.tree.map(lambda b: b[0], minibatches)
    if phase.every > 1:
        update = partial(_update_lazily, update)
    return update, minibatches, keys


def _trained_players(phase: Phase, state: State) -> str:
    """Join the names of the phase's players that have parameters; a fixed prior has none."""
    return " and ".join(name for name in phase.trains if jax.tree.leaves(state.params[name]))


def _merge_terms(terms: Terms, more: Terms) -> Terms:
    if duplicates := terms.keys() & more.keys():
        raise ValueError(f"two players report the same terms: {', '.join(sorted(duplicates))}")
    return terms | more


def scan_body(
    method: Method,
    batches: Callable[[PyTree, PyTree, Key[Array, ""], Int[Array, ""]], Batch],
    resident: PyTree,
    key: Key[Array, ""],
) -> Callable[[PyTree, PyTree], tuple[PyTree, dict[str, Array]]]:
    """Make the body of a scan over steps: (state, (step, row)) -> (state, metrics).

    Args:
        batches, resident, key: see `run_chunk`.
    """

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
    """Run a chunk of s training steps: `lax.scan` of `method.step`.

    Args:
        batches: (resident, rows of one step, key, step) -> minibatches with leading axes
            (draws, n).
        steps: number of updates done before each step.
        rows: input of `batches` for each step, leading axis s.
        resident: input of `batches` that is the same in all steps.
        key: the run's key.

    Returns:
        The state after the last step, and the metrics with leading axis s.
    """
    return jax.lax.scan(scan_body(method, batches, resident, key), state, (steps, rows))
