"""Classifier of images, for the evaluation of generators.

Its last hidden layer gives the features of Frechet and kernel distances; its logits count modes.
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
    """Components of a classifier.

    features: x -> (n, width), before the relu
    head: features -> (n, classes) logits
    """

    features: Net
    head: Net
    width: int


def classifier(model: Model, tx: optax.GradientTransformation, x_shape: tuple[int, ...]) -> Method:
    """Make a classifier: a game of one player on the cross-entropy -log p(label | x) in nats.

    It cannot sample. Probes:

    features (state, x) -> features after the relu, (n, width)
    classify (state, x) -> logits, (n, classes)
    """

    def run(
        params: Params, stats: Params, x: Array, train: bool, key: Key[Array, ""] | None
    ) -> tuple[Float[Array, "n f"], Float[Array, "n c"], Params]:
        features_key, head_key = (None, None) if key is None else jax.random.split(key)
        pre_activation, features_stats = model.features.apply(
            params["features"], stats["features"], x, train=train, key=features_key
        )
        features = jax.nn.relu(pre_activation)
        logits, head_stats = model.head.apply(
            params["head"], stats["head"], features, train=train, key=head_key
        )
        return features, logits, {"features": features_stats, "head": head_stats}

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
