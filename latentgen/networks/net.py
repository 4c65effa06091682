"""Adapter from a Flax linen module to `Net`: pure functions of parameters and stats."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from latentgen.core.errors import BadInput
from latentgen.core.types import Net, PyTree


def from_linen(module: nn.Module) -> Net:
    """Turn a linen module, called as module(*inputs, train=...), into a `Net`.

    The collection 'params' is `params`; all others together are `stats`. The features are what the
    module passes to `keep_features`.

    Args:
        module: takes the keyword `train` and draws its random numbers from the stream 'dropout'.
    """

    def init(key: Key[Array, ""], *inputs: Array) -> tuple[PyTree, PyTree]:
        stats = dict(module.init(key, *inputs, train=False))
        return stats.pop("params", {}), stats

    def apply(
        params: PyTree,
        stats: PyTree,
        *inputs: Array,
        train: bool,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Array, PyTree]:
        variables = {"params": params, **stats}
        run: Callable[..., Any] = module.apply
        rngs = None if key is None else {"dropout": key}
        if not train:
            return run(variables, *inputs, train=False, rngs=rngs), stats
        return run(variables, *inputs, train=True, rngs=rngs, mutable=list(stats))

    def features(
        params: PyTree,
        stats: PyTree,
        *inputs: Array,
        train: bool,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "n f"]:
        variables = {"params": params, **stats}
        rngs = None if key is None else {"dropout": key}
        mutable = [*stats, KEPT] if train else [KEPT]
        _, others = module.apply(variables, *inputs, train=train, rngs=rngs, mutable=mutable)
        kept = jax.tree.leaves(others.get(KEPT, {}))
        if not kept:
            raise BadInput(f"the network {type(module).__name__} keeps no features.")
        return jnp.concatenate([x.reshape(x.shape[0], -1) for x in kept], axis=1)

    return Net(init, apply, features)


KEPT = "intermediates"
"""Collection of features, which `module.init` leaves out of the variables."""


def keep_features(module: nn.Module, x: Float[Array, "n f"]) -> Float[Array, "n f"]:
    """Record x, the inputs of a last layer, as features of the network; return x."""
    module.sow(KEPT, "features", x)
    return x


OUTPUTS: dict[str, Callable[[Array, float, float], Array]] = {
    "sigmoid": lambda o, low, high: low + (high - low) * jax.nn.sigmoid(o),
    "tanh": lambda o, low, high: (low + high) / 2 + (high - low) / 2 * jnp.tanh(o),
    "linear": lambda o, low, high: o,
}
"""(outputs, low, high) -> x, which is in (low, high) except for 'linear'. For (-1, 1) 'sigmoid' is
tanh(outputs / 2) and 'tanh' is tanh(outputs)."""


def bound_output(net: Net, low: float, high: float, output: str = "sigmoid") -> Net:
    """Apply the function OUTPUTS[output] to the outputs of `net`."""

    def apply(*args: Any, **named: Any) -> tuple[Array, PyTree]:
        outputs, stats = net.apply(*args, **named)
        return OUTPUTS[output](outputs, low, high), stats

    return Net(net.init, apply)
