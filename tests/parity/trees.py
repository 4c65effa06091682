"""Compare our networks with the authors'; a function maps each of our leaves to theirs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from latentgen.core.types import Net
from tests.parity.weights import close, direction, fill, summary


class Leaf(NamedTuple):
    """The authors' name of one of our tensors, and its way into their layout.

    name: '' if they do not keep it
    split: our tensor is first reshaped to this, if given
    axes: then transposed
    merged: then reshaped to this, if given
    scale, offset: of `fill`
    """

    name: str
    axes: tuple[int, ...]
    split: tuple[int, ...] | None = None
    merged: tuple[int, ...] | None = None
    scale: float | None = None
    offset: float = 0.0

    def theirs(self, ours: np.ndarray) -> np.ndarray:
        split = ours if self.split is None else ours.reshape(self.split)
        turned = split.transpose(self.axes)
        return turned if self.merged is None else turned.reshape(self.merged)

    def filled(self, prefix: str, shape: tuple[int, ...]) -> np.ndarray:
        """Our tensor of this shape, made by the authors' name in their layout."""
        split = self.split or shape
        turned = tuple(split[axis] for axis in self.axes)
        made = fill(prefix + self.name, self.merged or turned, self.scale, self.offset)
        return np.asarray(made).reshape(turned).transpose(np.argsort(self.axes)).reshape(shape)


def conv(name: str) -> Leaf:
    """(k, k, i, o), there (o, i, k, k)."""
    return Leaf(name, (3, 2, 0, 1))


def dense(name: str) -> Leaf:
    """(i, o), there (o, i)."""
    return Leaf(name, (1, 0))


def to_image(name: str, shape: tuple[int, ...], image: tuple[int, int, int]) -> Leaf:
    """The last axis is an image (h, w, c), which is (c, h, w) and, of a kernel, first there."""
    h, w, c = image
    rest = len(shape) - 1
    last = tuple(rest + axis for axis in (2, 0, 1))
    if name.endswith(("weight", ".W")):
        return Leaf(name, (*last, 0), (*shape[:-1], *image), (c * h * w, shape[0]))
    return Leaf(name, (*range(rest), *last), (*shape[:-1], *image), (*shape[:-1], c * h * w))


def joined(net: Net) -> Net:
    """`net` as a function of codes and one-hot classes apart, where it takes them side by side."""
    return Net(
        lambda key, *parts: net.init(key, jnp.concatenate(parts, axis=1)),
        lambda params, stats, *parts, **options: net.apply(
            params, stats, jnp.concatenate(parts, axis=1), **options
        ),
    )


Kernel = Callable[[str], Leaf]
Leaves = Callable[[tuple[str, ...], tuple[int, ...]], Leaf]


def compare(
    net: Net, inputs: Sequence[Any], leaves: Leaves, prefix: str, stored: Mapping[str, np.ndarray]
) -> list[str]:
    """Run what the script ran; return a line for everything that differs from what it stored.

    Args:
        inputs: of the network; the first has a gradient, and is (n, h, w, c) where theirs is
            (n, c, h, w).
        leaves: (path, shape) of a leaf of params or stats -> theirs.
        prefix: of names in `fill` and `stored`.
    """
    made = jax.tree_util.tree_map_with_path(
        lambda path, a: jnp.asarray(leaf_of(leaves, path[1:], a).filled(prefix, a.shape)),
        jax.eval_shape(net.init, jax.random.key(0), *inputs),
    )
    y_like, _ = jax.eval_shape(lambda *a: net.apply(*a, train=True), *made, *inputs)
    along = direction(prefix + "output", outer(y_like).shape)
    along = jnp.asarray(along.transpose(0, 2, 3, 1) if along.ndim == 4 else along, jnp.float32)

    @jax.jit
    def run(params: Any, stats: Any, x: Any, *rest: Any) -> tuple[Any, Any, Any, Any]:
        def loss(params: Any, x: Any) -> tuple[Any, Any]:
            y, moved = net.apply(params, stats, x, *rest, train=True)
            return (y * along).sum(), (y, moved)

        gradients, (y, moved) = jax.grad(loss, (0, 1), has_aux=True)(params, x)
        evaluated, _ = net.apply(params, moved, x, *rest, train=False)
        return gradients, y, moved, evaluated

    (gradients, x_gradient), y, moved, evaluated = run(*made, *inputs)
    found = {
        "gradients": summaries(leaves, gradients, prefix)
        | {"input": summary(prefix + "input", outer(x_gradient))},
        "buffers": summaries(leaves, moved, prefix),
    }
    wrong = [
        f"{prefix}{name}"
        for name, ours in (("output", y), ("evaluation", evaluated))
        if not close(part(outer(ours)), stored[f"{prefix}{name}"])
    ]
    if not close(summary(prefix + "output", outer(y)), stored[f"{prefix}output.summary"]):
        wrong.append(f"{prefix}output.summary")
    for kind, ours in found.items():
        theirs = dict(zip(stored[f"{prefix}{kind}.names"], stored[f"{prefix}{kind}"], strict=True))
        if ours.keys() != theirs.keys():
            return [*wrong, f"{prefix}{kind}: {sorted(ours.keys() ^ theirs.keys())}"]
        largest = max(norm for norm, _ in theirs.values())
        wrong += [
            f"{prefix}{kind}.{name}: {ours[name]} for {value}"
            for name, value in theirs.items()
            if not alike(ours[name], value, largest)
        ]
    return wrong


def alike(ours: np.ndarray, theirs: np.ndarray, largest: float) -> bool:
    """True if two summaries are the same to 1e-5, or both are what rounding leaves of others.

    A bias before a batch norm has no gradient but that: a sum of large numbers that cancel.
    """
    if max(np.abs(ours).max(), np.abs(theirs).max()) <= 1e-5 * largest:
        return True
    return np.abs(ours - theirs).max() <= 1e-5 * max(np.abs(theirs).max(), 1e-2 * largest)


def leaf_of(leaves: Leaves, path: tuple[Any, ...], like: Any) -> Leaf:
    return leaves(tuple(entry.key for entry in path), like.shape)


def summaries(leaves: Leaves, tree: Any, prefix: str) -> dict[str, np.ndarray]:
    found = {}
    for path, value in jax.tree_util.tree_leaves_with_path(tree):
        if not (leaf := leaf_of(leaves, path, value)).name:
            continue
        found[leaf.name] = summary(prefix + leaf.name, leaf.theirs(np.asarray(value)))
    return found


def outer(y: Any) -> Any:
    """An image in their layout; anything else as it is."""
    if len(y.shape) != 4:
        return y
    if isinstance(y, jax.ShapeDtypeStruct):
        n, h, w, c = y.shape
        return jax.ShapeDtypeStruct((n, c, h, w), y.dtype)
    return np.asarray(y).transpose(0, 3, 1, 2)


def part(y: Any) -> np.ndarray:
    """The part of an output that the scripts store."""
    return np.asarray(y[:, :, 1::5, 2::5] if y.ndim == 4 else y)


def count(net: Net, *shapes: tuple[int, ...]) -> int:
    """The number of parameters for inputs of these shapes, one example each."""
    inputs = [jax.ShapeDtypeStruct((1, *shape), jnp.float32) for shape in shapes]
    params, _ = jax.eval_shape(net.init, jax.random.key(0), *inputs)
    return sum(leaf.size for leaf in jax.tree.leaves(params))
