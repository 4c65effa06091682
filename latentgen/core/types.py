"""Types of the project: a network, a player's turn, a method, its state.

Each component is a NamedTuple of pure functions, like `optax.GradientTransformation`. None holds
state, does I/O or reads a config.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax
from jaxtyping import Array, Int, Shaped

PyTree = Any
"""Any pytree of arrays."""

Size = Any
"""Number of examples: an int, or a symbolic dimension of `jax.export`."""

Params = dict[str, PyTree]
"""One subtree per player: 'encoder', 'decoder', 'generator', 'discriminator', ..."""

Terms = dict[str, Array]
"""Per-example quantities of an objective by name, each of shape (n,), by default in nats."""


class Batch(NamedTuple):
    """One minibatch of a data set, preprocessed.

    factors: the index of each ground-truth factor's value; None where a set has none.
    """

    x: Shaped[Array, "n *shape"]
    label: Int[Array, " n"]
    factors: Int[Array, "n k"] | None = None


class Net(NamedTuple):
    """A network as two pure functions.

    init: (key, *inputs) -> (params, stats)
    apply: (params, stats, *inputs, train, key=None) -> (output, stats)
    features: arguments as for `apply` -> (n, f), the inputs of the last linear layer of an encoder
        or discriminator; None: it has no features

    `stats` are variables without gradients, such as batch-norm averages; with `train=False` they
    are returned unchanged. `key` is for dropout; a network without dropout needs none.
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    apply: Callable[..., tuple[Array, PyTree]]
    features: Callable[..., Array] | None = None


TURN = "turn of "
"""Prefix of the named scope of a turn; the names of the players that it trains follow. Profilers
and `training/divergence.py` read it."""

OPTIMIZER = "optimizer"
"""Named scope of the optimizer's update within a turn."""


class Phase(NamedTuple):
    """One player's turn: a loss, the players that it trains, and their optimizer.

    loss: (params, stats, batch, key, step, train) -> (loss_n, (stats, terms)). `loss_n` has shape
        (n,), one value per example; `game.update_players` descends its mean.
    trains: players whose parameters and stats this turn updates.
    tx: the optax transformation; `game.ascend` turns a descent into an ascent.
    repeats: updates in a row, each on its own minibatch (k discriminator steps).
    every: k; the phase is played in steps 0, k, 2k, ..., with k times its loss, as for lazy
        regularization.
    shares: index of an earlier phase that trains the same players, whose optimizer and optimizer
        state this phase uses in place of `tx`; None: its own.
    """

    loss: Callable[..., tuple[Array, tuple[Params, Terms]]]
    trains: tuple[str, ...]
    tx: optax.GradientTransformation
    repeats: int = 1
    every: int = 1
    shares: int | None = None


class State(NamedTuple):
    """State of training; a checkpoint is this state and the number of updates done.

    params, stats: one subtree per player
    opt: one optimizer state per phase; () for a phase that shares the optimizer of another
    """

    params: Params
    stats: Params
    opt: tuple[PyTree, ...]


class Method(NamedTuple):
    """A trainable model as pure functions of one explicit state.

    `state` is opaque to callers: a `State`, or the state of a wrapper such as `with_ema`. `step`
    is the number of updates done before this one and `key` is the run's key: a step is a function
    of (state, step, batches, key) alone.

    init: (key) -> state
    step: (state, step, batches, key) -> (state, metrics); the leaves of `batches` have leading
        axes (draws, n); metrics are scalars.
    terms: (state, step, batch, key) -> Terms, the per-example terms of the training objective,
        with networks in evaluation mode.
    sample: (state, key, n) -> synthetic x of shape (n, *shape); None if the method cannot sample
    probes: further functions by name, state first; each method has those that its model defines.
        k codes of each of n examples have shape (k, n, d).
        codes (state, key, n) -> z ~ p(z); decode (state, z, label=None) -> E[x|z];
        encode (state, x, label=None) -> the code at the centre of q(z|x), of shape (n, d);
        draw (state, batch, key, k) -> z ~ q(z|x), log q(z|x); log_posterior (state, batch, z);
        log_prior (state, z); log_likelihood (state, batch, z);
        observe (state, key, z, label=None) -> x ~ p(x|z); noise (state) -> the std of a normal
        p(x|z); discriminate (state, x) -> logits.
        If a discriminator predicts the class or infers codes c: classify (state, x) -> logits of
        the classes; infer (state, x) -> Q(c|x); traverse (state, key, columns) -> rows of codes.
        With a mapping network: style (state, z, label=None) -> w; decode_style (state, w) -> x;
        mean_style (state) -> the moving average of w; style_levels (state) -> the number of styles
        that the generator takes for one x.
    draws: minibatches of one step: the largest `repeats` of its phases
    accumulate: (parts) -> the same method with each gradient accumulated over `parts` parts of a
        minibatch, see `game.update_players`; None if the method cannot do so.
    """

    init: Callable[..., PyTree]
    step: Callable[..., tuple[PyTree, dict[str, Array]]]
    terms: Callable[..., Terms]
    sample: Callable[..., Array] | None
    probes: Mapping[str, Callable[..., Any]]
    draws: int = 1
    accumulate: Callable[[int], "Method"] | None = None
