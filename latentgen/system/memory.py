"""Memory that a run needs: at least, by its shapes, and exactly, by its compiled program.

Before anything is compiled there is a lower bound, so that no run is refused that would fit: the
state, the data, the rows of a chunk, and the largest input or output of a matrix product or
convolution in a step. The compiler decides which other arrays exist at the same time.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from latentgen.core.types import PyTree
from latentgen.system import machine

PRODUCTS = ("dot_general", "conv_general_dilated")
"""JAX primitives of matrix products and convolutions."""


class ArraySize(NamedTuple):
    """Size of an array.

    description: dtype and shape, such as 'float32 64x784'
    bytes: size in bytes
    """

    description: str
    bytes: int


def device_memory() -> int:
    """Return the bytes of memory of all processes' devices.

    A device without memory statistics, such as a CPU, uses the main memory of its machine.
    """
    stats = [device.memory_stats() for device in jax.local_devices()]
    if all(each and "bytes_limit" in each for each in stats):
        local = sum(int(each["bytes_limit"]) for each in stats if each)
        return local * jax.process_count()
    return machine.memory().total * jax.process_count()


def array_size(x: Any) -> ArraySize:
    """Return the size of an array, or of anything that has a shape and a dtype."""
    itemsize = getattr(x.dtype, "itemsize", 8)
    return ArraySize(f"{x.dtype} {'x'.join(map(str, x.shape))}", math.prod(x.shape) * itemsize)


def tree_bytes(tree: PyTree) -> int:
    """Return the bytes of all leaves of a tree of arrays or of shapes."""
    return sum(array_size(leaf).bytes for leaf in jax.tree.leaves(tree))


def largest_array(traced: Any) -> ArraySize:
    """Return the largest input or output of `PRODUCTS` in a traced program, loops included."""
    sizes = (
        array_size(var.aval)
        for eqn in _equations(traced.jaxpr.jaxpr)
        if eqn.primitive.name in PRODUCTS
        for var in (*eqn.invars, *eqn.outvars)
    )
    return max(sizes, key=lambda size: size.bytes, default=ArraySize("none", 0))


def program_bytes(compiled: Any) -> int:
    """Return the bytes of a compiled program's arguments, results and temporary arrays.

    0 if the compiler does not say.
    """
    found = compiled.memory_analysis()
    if found is None:
        return 0
    own = found.output_size_in_bytes - found.alias_size_in_bytes + found.temp_size_in_bytes
    return int(found.argument_size_in_bytes + own)


def _equations(jaxpr: Any) -> Iterator[Any]:
    """Yield the equations of a jaxpr and, recursively, of the jaxprs in their parameters."""
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            for inner in value if isinstance(value, list | tuple) else (value,):
                inner = getattr(inner, "jaxpr", inner)  # of a ClosedJaxpr
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def format_bytes(size: int | float) -> str:
    """Format a number of bytes with a binary unit, such as '1.5 GiB'."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:,.4g} TiB"
