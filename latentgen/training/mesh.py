"""One run on many devices: each has its share of every batch, and the state, or its share of it.

A run's program stays the one that is written for a single device. Arrays say where they live, and
the compiler adds what the devices must tell each other: the mean over a batch is the mean over
the global batch, in a loss as in batch norm. Results are those of one device up to the order of
floating-point sums.
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
from latentgen.data.pipeline import Place

DATA, FSDP = "data", "fsdp"
BATCH = PartitionSpec(None, None, (DATA, FSDP))  # rows: (steps, draws, batch, ...)
LARGE = 2**14
"""Values: a smaller leaf is held whole by each device, also where larger ones are split."""


def make(devices: int | None = None, fsdp: int = 1) -> Mesh | None:
    """All processes' devices as ('data', 'fsdp'); None for one device, which needs no mesh.

    Args:
        devices: how many of each process's own; None for all.
        fsdp: neighbours over which each large leaf of a state is split.

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


def check_batch(mesh: Mesh | AbstractMesh | None, batch_size: int) -> None:
    """Raise BadInput where the devices cannot have equal shares of a batch."""
    if mesh is not None and batch_size % mesh.size:
        raise BadInput(
            f"config.batch_size={batch_size} must be a multiple of {mesh.size}, the number of "
            "devices; --devices=N uses fewer."
        )


def spec(mesh: Mesh | AbstractMesh, shape: tuple[int, ...]) -> PartitionSpec:
    """Return the partition of a state's leaf: a large one, along its largest divisible axis.

    It depends on the shape alone, so that an optimizer's moments lie where their parameters do.
    """
    parts = mesh.shape[FSDP]
    axes = [axis for axis, size in enumerate(shape) if size % parts == 0]
    if parts == 1 or np.prod(shape) < LARGE or not axes:
        return PartitionSpec()
    largest = max(axes, key=lambda axis: shape[axis])
    return PartitionSpec(*(FSDP if axis == largest else None for axis in range(len(shape))))


def shardings(mesh: Mesh, state: PyTree) -> PyTree:
    """A sharding for each leaf of a state, or of its shapes."""
    return jax.tree.map(lambda leaf: NamedSharding(mesh, spec(mesh, leaf.shape)), state)


def _held(mesh: Mesh, state: PyTree) -> PyTree:
    return jax.lax.with_sharding_constraint(state, shardings(mesh, state))


def shard_method(method: Method, mesh: Mesh | None) -> Method:
    """`method` whose steps are taken by all devices of a mesh together; itself without a mesh.

    Its state comes from its own `init` under `jax.jit`, or from `put`. What looks at a state
    (terms, samples, probes) stays as it is and is given that of `local`.
    """
    if mesh is None:
        return method

    def init(key: Key[Array, ""]) -> PyTree:
        return _held(mesh, method.init(key))

    def step(
        state: PyTree, step: Int[Array, ""], batches: Batch, key: Key[Array, ""]
    ) -> tuple[PyTree, dict[str, Array]]:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):  # by_example looks for it
            state, metrics = method.step(state, step, batches, key)
        return _held(mesh, state), metrics

    return method._replace(init=init, step=step)


def place(mesh: Mesh | None, batch_size: int) -> Place:
    """Return a feed's placement: resident data on every device, rows split over all devices.

    Each process reads only the rows of its own devices.

    Raises:
        BadInput: the devices cannot have equal shares of a batch.
    """
    if mesh is None:
        return Place()
    check_batch(mesh, batch_size)
    each = batch_size // mesh.size
    own = [i for i, device in enumerate(mesh.devices.flat) if _mine(device)]
    part = slice(own[0] * each, (own[-1] + 1) * each)
    split = NamedSharding(mesh, BATCH)

    def send(rows: PyTree) -> PyTree:
        def whole(mine: np.ndarray) -> Array:
            shape = (*mine.shape[:2], batch_size, *mine.shape[3:])
            return jax.make_array_from_process_local_data(split, mine, shape)

        return jax.tree.map(whole, rows)

    return Place(lambda x: put(x, NamedSharding(mesh, PartitionSpec())), send, part)


def _mine(device: jax.Device) -> bool:
    return device.process_index == jax.process_index()


def put(x: Any, sharding: jax.sharding.Sharding) -> Array:
    """An array of the host, known to every process, as one of the mesh."""
    x = np.asarray(x)
    return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])


def put_state(state: PyTree, mesh: Mesh | None) -> PyTree:
    """A state of the host, or of one device, where training keeps it."""
    if mesh is None:
        return state
    return jax.tree.map(put, state, shardings(mesh, state))


def local(state: PyTree) -> PyTree:
    """The whole state, for this process to look at; all processes must call it.

    A leaf that each device holds whole stays on the first one, uncopied, until the next chunk is
    sent; one that is split comes to the host, so that no device has to hold all of them.
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
def _gather(whole: NamedSharding) -> Callable[[Array], Array]:
    return jax.jit(lambda x: x, out_shardings=whole)
