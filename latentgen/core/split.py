"""Which arrays lead with the examples of a batch: said where it shows, for a mesh of devices."""

import jax
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Shaped


def by_example(x: Shaped[Array, "n *shape"]) -> Shaped[Array, "n *shape"]:
    """x as it is; on a mesh, each device has its share of the examples.

    The compiler reads from it how to split what x is made of. A generator's turn, in which no
    real example takes part, would otherwise be done whole by each device.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or AxisType.Manual in mesh.axis_types:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(mesh.axis_names))
