"""The words of the project: a network, a player's turn, a method, its state.

Every component is a NamedTuple of pure functions, as in `optax.GradientTransformation`. Nothing
here holds state, does I/O or reads a config.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax
from jaxtyping import Array, Int, Shaped

PyTree = Any
"""Any nest of dicts, tuples and arrays that jax.tree understands."""

Size = Any
"""A number of examples: an int, or a dimension that `jax.export` leaves open."""

Params = dict[str, PyTree]
"""One subtree per player: 'encoder', 'decoder', 'generator', 'discriminator', ..."""

Terms = dict[str, Array]
"""Named per-example quantities of an objective, each of shape (n,), in nats unless said."""


class Batch(NamedTuple):
    """One minibatch of a data set, preprocessed."""

    x: Shaped[Array, "n *shape"]
    label: Int[Array, " n"]


class Net(NamedTuple):
    """A network as two pure functions.

    init: (key, *inputs) -> (params, stats)
    apply: (params, stats, *inputs, train, key=None) -> (output, stats)

    `stats` is what a network remembers without gradients (batch-norm averages); with
    `train=False` it comes back as it went in. `key` feeds dropout and may be left out where the
    network has none.
    """

    init: Callable[..., tuple[PyTree, PyTree]]
    apply: Callable[..., tuple[Array, PyTree]]


TURN = "turn of "
"""What a turn computes is in a scope of this name and the players that it trains: for whoever
reads a program, as profilers do."""

OPTIMIZER = "optimizer"
"""The scope of what an optimizer computes within a turn."""


class Phase(NamedTuple):
    """One player's turn: a loss, what it trains, and how.

    loss: (params, stats, batch, key, step, train) -> (loss_n, (stats, terms)). `loss_n` holds one
        value per example; the game averages it, once, and takes the gradient.
    trains: the parameter subtrees that this turn updates, and the only ones whose stats it keeps.
    tx: the optax transformation; `game.ascend` turns a descent into an ascent.
    repeats: how many times in a row, each on a minibatch of its own (k discriminator steps).
    """

    loss: Callable[..., tuple[Array, tuple[Params, Terms]]]
    trains: tuple[str, ...]
    tx: optax.GradientTransformation
    repeats: int = 1


class State(NamedTuple):
    """All that training changes; with the step number, all that a checkpoint holds."""

    params: Params
    stats: Params
    opt: tuple[PyTree, ...]


class Method(NamedTuple):
    """A way to train a generator: a few pure functions over one explicit state.

    `state` is a `State`, or what a wrapper makes of it: only the method looks inside. `step` is
    the number of updates done before this one and `key` is the run's key, so that everything a
    step does is a function of (state, step, batches, key).

    init: (key) -> state
    step: (state, step, batches, key) -> (state, metrics); every leaf of `batches` leads with
        (draws, n); metrics are scalars.
    terms: (state, step, batch, key) -> Terms, the objective's terms as training sees them, per
        example, with networks in evaluation mode.
    sample: (state, key, n) -> synthetic x of shape (n, *shape); None for what generates nothing
    probes: further functions by name, each taking the state first; a method has those that it can
        answer. Codes of k samples for each of n examples have the shape (k, n, d).
        codes (state, key, n) -> z ~ p(z); decode (state, z, label=None) -> E[x|z];
        encode (state, x, label=None) -> the code at the centre of q(z|x);
        draw (state, batch, key, k) -> z ~ q(z|x), log q(z|x); log_posterior (state, batch, z);
        log_prior (state, z); log_likelihood (state, batch, z);
        observe (state, key, z, label=None) -> x ~ p(x|z); noise (state) -> the std of a normal
        p(x|z); discriminate (state, x) -> logits.
    draws: minibatches that one step eats, the largest `repeats`; a turn with fewer sees the last.
    """

    init: Callable[..., PyTree]
    step: Callable[..., tuple[PyTree, dict[str, Array]]]
    terms: Callable[..., Terms]
    sample: Callable[..., Array] | None
    probes: Mapping[str, Callable[..., Any]]
    draws: int = 1
