"""Training of one run on several devices: batches are split, the state is replicated or split.

The program is that of a single device. Arrays have shardings, and the compiler adds the
collectives: a mean over a batch, in a loss or in batch norm, is over the global batch. Results
equal those of one device up to the order of floating-point sums.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Key

from latentgen.core.errors import BadInput, positive
from latentgen.core.types import Batch, Method, PyTree
from latentgen.data.pipeline import Placement

DATA, FSDP = "data", "fsdp"
BATCH = PartitionSpec(None, None, (DATA, FSDP))  # rows: (steps, draws, batch, ...)
LARGE = 2**14
"""Least number of values of a leaf that is split; smaller ones are replicated."""


def make(devices: int | None = None, fsdp: int = 1) -> Mesh | None:
    """Make a mesh with axes ('data', 'fsdp') of all processes' devices; None for one device.

    Args:
        devices: number of devices of each process; None for all.
        fsdp: size of the axis 'fsdp', over which each large leaf of a state is split.

    Raises:
        BadInput: a process has fewer devices, or fsdp does not divide their number.
    """
    chosen = []
    for process in range(jax.process_count()):
        own = [device for device in jax.devices() if device.process_index == process]
        use = len(own) if devices is None else positive("--devices", devices)
        if use > len(own):
            raise BadInput(f"--devices={devices} must be at most {len(own)}, all there are.")
        chosen += own[:use]
    if len(chosen) % positive("--fsdp", fsdp):
        raise BadInput(f"--fsdp={fsdp} must divide {len(chosen)}, the number of devices.")
    if len(chosen) == 1:
        return None
    return Mesh(np.array(chosen).reshape(-1, fsdp), (DATA, FSDP), (AxisType.Auto,) * 2)


def check_batch(mesh: Mesh | AbstractMesh | None, batch_size: int, microbatches: int = 1) -> None:
    """Check that the number of devices divides the size of each part of a batch.

    Raises:
        BadInput: it does not.
    """
    if mesh is not None and batch_size % (microbatches * mesh.size):
        parts = f"config.microbatches={microbatches} times " if microbatches > 1 else ""
        raise BadInput(
            f"config.batch_size={batch_size} must be a multiple of {parts}{mesh.size}, the number "
            "of devices; --devices=N uses fewer."
        )


def spec(mesh: Mesh | AbstractMesh, shape: tuple[int, ...]) -> PartitionSpec:
    """Partition a leaf of the state: a large one is split along its largest divisible axis.

    It depends on the shape alone, so that parameters and their optimizer moments are split alike.
    """
    parts = mesh.shape[FSDP]
    axes = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if parts == 1 or np.prod(shape) < LARGE or not axes:
        return PartitionSpec()
    largest = max(axes, key=lambda axis: shape[axis])
    return PartitionSpec(*(FSDP if axis == largest else None for axis in range(len(shape))))


def shardings(mesh: Mesh, state: PyTree) -> PyTree:
    """Return the sharding of each leaf of a state, or of a pytree of its shapes."""
    return jax.tree.map(lambda leaf: NamedSharding(mesh, spec(mesh, leaf.shape)), state)


def _constrain(mesh: Mesh, state: PyTree) -> PyTree:
    return jax.lax.with_sharding_constraint(state, shardings(mesh, state))


def shard_method(method: Method, mesh: Mesh | None) -> Method:
    """Shard the state and the training steps of `method` over a mesh; None changes nothing.

    Call `init` under `jax.jit`, or move a state to the mesh by `put_state`. `terms`, `sample` and
    `probes` are not sharded: give them the state that `local` returns.
    """
    if mesh is None:
        return method

    def init(key: Key[Array, ""]) -> PyTree:
        return _constrain(mesh, method.init(key))

    def step(
        state: PyTree, step: Int[Array, ""], batches: Batch, key: Key[Array, ""]
    ) -> tuple[PyTree, dict[str, Array]]:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # read by core/split.py
            state, metrics = method.step(state, step, batches, key)
        return _constrain(mesh, state), metrics

    return method._replace(init=init, step=step)


def placement(mesh: Mesh | None, batch_size: int, microbatches: int = 1) -> Placement:
    """Return the placement of a feed: resident data replicated, rows split over all devices.

    Each process reads the rows of its own devices only.

    Raises:
        BadInput: the number of devices does not divide the size of each part of a batch.
    """
    if mesh is None:
        return Placement()
    check_batch(mesh, batch_size, microbatches)
    per_device = batch_size // mesh.size
    own = [i for i, device in enumerate(mesh.devices.flat) if _is_local(device)]
    part = slice(own[0] * per_device, (own[-1] + 1) * per_device)
    sharding = NamedSharding(mesh, BATCH)

    def send(rows: PyTree) -> PyTree:
        def to_global(local_rows: np.ndarray) -> Array:
            shape = (*local_rows.shape[:2], batch_size, *local_rows.shape[3:])
            return jax.make_array_from_process_local_data(sharding, local_rows, shape)

        return jax.tree.map(to_global, rows)

    return Placement(lambda x: put(x, NamedSharding(mesh, PartitionSpec())), send, part)


def _is_local(device: jax.Device) -> bool:
    return device.process_index == jax.process_index()


def put(x: Any, sharding: jax.sharding.Sharding) -> Array:
    """Move a host array, equal in all processes, to the mesh."""
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def put_state(state: PyTree, mesh: Mesh | None) -> PyTree:
    """Move a state of the host, or of one device, to the mesh; None changes nothing."""
    if mesh is None:
        return state
    return jax.tree.map(put, state, shardings(mesh, state))


def local(state: PyTree) -> PyTree:
    """Gather the whole state for this process; all processes must call it.

    Of a replicated leaf, the copy of the first local device is returned, valid until the next
    chunk is dispatched. A split leaf is gathered to the host, so that no device has to store all.
    """

    def leaf(x: Any) -> Any:
        if not isinstance(x, jax.Array) or len(x.sharding.device_set) == 1:
            return x
        if x.is_fully_replicated:
            return min(x.addressable_shards, key=lambda shard: shard.device.id).data
        assert isinstance(x.sharding, NamedSharding)
        return np.asarray(_gather(NamedSharding(x.sharding.mesh, PartitionSpec()))(x))

    return jax.tree.map(leaf, state)


@functools.cache
def _gather(replicated: NamedSharding) -> Callable[[Array], Array]:
    return jax.jit(lambda x: x, out_shardings=replicated)
