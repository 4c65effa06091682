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

from latentgen.core.keys import stream
from latentgen.core.types import Batch, Method, Params, Phase, PyTree, State, Terms


def ascend(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """`tx` climbing instead of descending: it is handed the gradient of -C."""
    return optax.chain(optax.scale(-1.0), tx)


def turn(
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
        loss, aux = phase.loss(params | mine, stats, batch, key, step, True)
        return loss.mean(), aux

    gradient, (moved, terms) = jax.grad(mean_loss, has_aux=True)(mine)
    updates, opt = phase.tx.update(gradient, opt, mine)
    params = params | optax.apply_updates(mine, updates)
    stats = stats | {name: moved[name] for name in phase.trains if name in moved}
    return state._replace(params=params, stats=stats), opt, jax.tree.map(jnp.mean, terms)


def game(
    init: Callable[[Key[Array, ""]], tuple[Params, Params]],
    phases: Sequence[Phase],
    sample: Callable[[State, Key[Array, ""], int], Array],
    probes: Mapping[str, Callable[..., Any]],
) -> Method:
    """Phases become a method: in each step every player has its turn, in order.

    A player with repeats > 1 takes that many turns in a row, each on a minibatch of its own; its
    metrics are their mean. A player with fewer repeats than `draws` sees the last minibatches.

    Args:
        init: (key) -> (params, stats), one subtree per player.
        phases: the turns of one step.
        sample: (state, key, n) -> synthetic x.
        probes: see `Method`.
    """
    draws = max(phase.repeats for phase in phases)

    def init_state(key: Key[Array, ""]) -> State:
        params, stats = init(stream(key, "init"))
        opt = tuple(
            phase.tx.init({name: params[name] for name in phase.trains}) for phase in phases
        )
        return State(params, stats, opt)

    def step(
        state: State, step: Int[Array, ""], batches: Batch, key: Key[Array, ""]
    ) -> tuple[State, dict[str, Array]]:
        key = jax.random.fold_in(stream(key, "step"), step)
        opts, metrics = list(state.opt), {}
        for i, phase in enumerate(phases):

            def repeat(carry, inputs, phase=phase):
                state, opt, terms = turn(phase, *carry, *inputs, step)
                return (state, opt), terms

            mine = jax.tree.map(lambda b, k=phase.repeats: b[draws - k :], batches)
            keys = jax.random.split(jax.random.fold_in(key, i), phase.repeats)
            carry = (state, opts[i])
            if phase.repeats == 1:  # without a loop of one, which XLA would keep
                carry, terms = repeat(carry, (jax.tree.map(lambda b: b[0], mine), keys[0]))
            else:
                carry, terms = jax.lax.scan(repeat, carry, (mine, keys))
            state, opts[i] = carry
            metrics |= jax.tree.map(jnp.mean, terms)
        return state._replace(opt=tuple(opts)), metrics

    def terms(state: State, step: Int[Array, ""], batch: Batch, key: Key[Array, ""]) -> Terms:
        found: Terms = {}
        for i, phase in enumerate(phases):
            phase_key = jax.random.fold_in(key, i)
            _, (_, terms) = phase.loss(state.params, state.stats, batch, phase_key, step, False)
            found |= terms
        return found

    return Method(init_state, step, terms, sample, probes, draws)


def run_chunk(
    method: Method,
    batches: Callable[[PyTree, PyTree, Key[Array, ""]], Batch],
    state: PyTree,
    steps: Int[Array, " s"],
    rows: PyTree,
    resident: PyTree,
    key: Key[Array, ""],
) -> tuple[PyTree, dict[str, Array]]:
    """A run: `lax.scan` of `method.step` over the numbered steps.

    Args:
        batches: (resident, rows of one step, key) -> minibatches with leading axes (draws, n).
        rows: what each step eats, leading axis s.
        resident: arrays that all steps read from.
        key: the run's key.

    Returns:
        The state after the steps, and the metrics with leading axis s.
    """

    def body(state, inputs):
        step, row = inputs
        data_key = jax.random.fold_in(stream(key, "data"), step)
        return method.step(state, step, batches(resident, row, data_key), key)

    return jax.lax.scan(body, state, (steps, rows))
