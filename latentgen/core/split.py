"""Sharding constraints within a step: examples are split over the mesh, parameters replicated.

Without a mesh, `shard_examples` and `gather_params` return their argument.
"""

import jax
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Shaped

from latentgen.core.types import PyTree


def _in_mesh() -> bool:
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and AxisType.Manual not in mesh.axis_types


def shard_examples(x: Shaped[Array, "n *shape"]) -> Shaped[Array, "n *shape"]:
    """Constrain x to be split over all devices of the mesh, along its first axis.

    The compiler propagates the split to the computation of x. Without the constraint every device
    would compute a generator's whole turn, because its loss may depend on no real example.
    """
    if not _in_mesh():
        return x
    axes = jax.sharding.get_abstract_mesh().axis_names
    return jax.lax.with_sharding_constraint(x, PartitionSpec(axes))


def gather_params(params: PyTree) -> PyTree:
    """Constrain params to be replicated; leaves that are stored split are gathered.

    Without the constraint the compiler may split activations along their features instead.
    """
    if not _in_mesh():
        return params
    return jax.lax.with_sharding_constraint(params, jax.tree.map(lambda _: PartitionSpec(), params))


def flatten_samples(x: Shaped[Array, "k n *shape"]) -> Shaped[Array, "kn *shape"]:
    """Merge the first two axes, k samples of each of n examples.

    Sample i of example j has the index i n + j. On a mesh it has the index j k + i, so that each
    device keeps the samples of its own examples.
    """
    if _in_mesh():
        x = x.swapaxes(0, 1)
    return x.reshape(-1, *x.shape[2:])


def unflatten_samples(x: Shaped[Array, "kn *shape"], k: int) -> Shaped[Array, "k n *shape"]:
    """Invert `flatten_samples`."""
    if _in_mesh():
        return x.reshape(-1, k, *x.shape[1:]).swapaxes(0, 1)
    return x.reshape(k, -1, *x.shape[1:])
