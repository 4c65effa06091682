"""A linen module as two pure functions: the border behind which flax stays."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Key

from latentgen.core.types import Net, PyTree


def from_linen(module: nn.Module) -> Net:
    """The network `module(*inputs, train=...)` as a pair of pure functions.

    The collection 'params' is `params`; all others together are `stats`.

    Args:
        module: takes the keyword `train` and draws dropout from the stream 'dropout'.
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
        if not train:
            return run(variables, *inputs, train=False), stats
        rngs = None if key is None else {"dropout": key}
        return run(variables, *inputs, train=True, rngs=rngs, mutable=list(stats))

    return Net(init, apply)


def bounded(net: Net, low: float, high: float) -> Net:
    """`net` with its outputs in (low, high): low + (high - low) sigmoid(outputs)."""

    def apply(*args: Any, **named: Any) -> tuple[Array, PyTree]:
        outputs, stats = net.apply(*args, **named)
        return low + (high - low) * jax.nn.sigmoid(outputs), stats

    return Net(net.init, apply)
