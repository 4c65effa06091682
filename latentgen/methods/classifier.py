"""A classifier of images: not a generator, but what generators are judged by.

Its last hidden layer gives the features of Frechet and kernel distances, its logits count modes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from latentgen.core.game import game, players
from latentgen.core.types import Batch, Method, Net, Params, Phase, State, Terms


class Model(NamedTuple):
    """Images -> features of `width` before their relu; features -> (n, classes) logits."""

    features: Net
    head: Net
    width: int


def classifier(model: Model, tx: optax.GradientTransformation, x_shape: tuple[int, ...]) -> Method:
    """A game of one player, who descends the cross-entropy -log p(label | x) in nats.

    It has no codes and cannot sample; its probes are features (state, x) -> (n, width), at least 0,
    and classify (state, x) -> logits (n, classes).
    """

    def run(
        params: Params, stats: Params, x: Array, train: bool, key: Key[Array, ""] | None
    ) -> tuple[Float[Array, "n f"], Float[Array, "n c"], Params]:
        first, second = (None, None) if key is None else jax.random.split(key)
        before, seen = model.features.apply(
            params["features"], stats["features"], x, train=train, key=first
        )
        features = jax.nn.relu(before)
        logits, head_stats = model.head.apply(
            params["head"], stats["head"], features, train=train, key=second
        )
        return features, logits, {"features": seen, "head": head_stats}

    def loss(
        params: Params,
        stats: Params,
        batch: Batch,
        key: Key[Array, ""],
        step: Int[Array, ""],
        train: bool,
    ) -> tuple[Float[Array, " n"], tuple[Params, Terms]]:
        _, logits, new_stats = run(params, stats, batch.x, train, key)
        log_p = jax.nn.log_softmax(logits)
        cross_entropy = -jnp.take_along_axis(log_p, batch.label[:, None], axis=1)[:, 0]
        accuracy = (logits.argmax(axis=1) == batch.label).astype(jnp.float32)
        return cross_entropy, (new_stats, {"cross_entropy": cross_entropy, "accuracy": accuracy})

    def features(state: State, x: Float[Array, "n *shape"]) -> Float[Array, "n f"]:
        return run(state.params, state.stats, x, False, None)[0]

    def classify(state: State, x: Float[Array, "n *shape"]) -> Float[Array, "n c"]:
        return run(state.params, state.stats, x, False, None)[1]

    init = players({"features": (model.features, x_shape), "head": (model.head, (model.width,))})
    probes: dict[str, Callable] = {"features": features, "classify": classify}
    return game(init, [Phase(loss, ("features", "head"), tx)], None, probes)
