"""What devices share in a step: each has some of the examples, all have the parameters.

Said where it shows, for a mesh of devices; without one, nothing is done.
"""

import jax
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Shaped

from latentgen.core.types import PyTree


def _meshed() -> bool:
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and AxisType.Manual not in mesh.axis_types


def shard_examples(x: Shaped[Array, "n *shape"]) -> Shaped[Array, "n *shape"]:
    """x as it is; on a mesh, each device has its share of the examples.

    The compiler reads from it how to split what x is made of. A generator's turn, in which no
    real example takes part, would otherwise be done whole by each device.
    """
    if not _meshed():
        return x
    axes = jax.sharding.get_abstract_mesh().axis_names
    return jax.lax.with_sharding_constraint(x, PartitionSpec(axes))


def gather_params(params: PyTree) -> PyTree:
    """params as they are; on a mesh, each device gathers them, also where it keeps a part only.

    Or the compiler might split the examples' features instead.
    """
    if not _meshed():
        return params
    return jax.lax.with_sharding_constraint(params, jax.tree.map(lambda _: PartitionSpec(), params))


def flatten_samples(x: Shaped[Array, "k n *shape"]) -> Shaped[Array, "kn *shape"]:
    """k values of each of n examples in a row, one example after the other on a mesh: so a device
    keeps the values of its own examples.
    """
    if _meshed():
        x = x.swapaxes(0, 1)
    return x.reshape(-1, *x.shape[2:])


def unflatten_samples(x: Shaped[Array, "kn *shape"], k: int) -> Shaped[Array, "k n *shape"]:
    """The inverse of `flatten_samples`."""
    if _meshed():
        return x.reshape(-1, k, *x.shape[1:]).swapaxes(0, 1)
    return x.reshape(k, -1, *x.shape[1:])
