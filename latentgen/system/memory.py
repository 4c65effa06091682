"""Whether a run can fit into memory: told from shapes alone, before anything is compiled.

Counted is what must be there at once: the state, the data, the rows of a chunk, and the largest
array that a matrix product or a convolution of a step reads or makes. Whatever else a program
needs is the compiler's business, so that no run is refused that would have fitted.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from latentgen.core.types import PyTree
from latentgen.system import machine

PRODUCTS = ("dot_general", "conv_general_dilated")


class Sized(NamedTuple):
    """An array in words, and its bytes."""

    words: str
    bytes: int


def there() -> int:
    """Bytes of memory that the devices of all processes have; on CPUs those of this machine."""
    each = [device.memory_stats() for device in jax.local_devices()]
    if all(stats and "bytes_limit" in stats for stats in each):
        own = sum(int(stats["bytes_limit"]) for stats in each if stats)
        return own * jax.process_count()
    return machine.memory().total * jax.process_count()


def sized(x: Any) -> Sized:
    """An array, or the shape and dtype of one."""
    dtype = getattr(x.dtype, "itemsize", 8)
    return Sized(f"{x.dtype} {'x'.join(map(str, x.shape))}", math.prod(x.shape) * dtype)


def total(tree: PyTree) -> int:
    """Bytes of all leaves of a tree of arrays or of their shapes."""
    return sum(sized(leaf).bytes for leaf in jax.tree.leaves(tree))


def largest(traced: Any) -> Sized:
    """The largest array of a traced program's products and convolutions, loops included."""
    found = (
        sized(var.aval)
        for eqn in _equations(traced.jaxpr.jaxpr)
        if eqn.primitive.name in PRODUCTS
        for var in (*eqn.invars, *eqn.outvars)
    )
    return max(found, key=lambda each: each.bytes, default=Sized("none", 0))


def _equations(jaxpr: Any) -> Iterator[Any]:
    for eqn in jaxpr.eqns:
        yield eqn
        for value in eqn.params.values():
            for inner in value if isinstance(value, list | tuple) else (value,):
                inner = getattr(inner, "jaxpr", inner)  # of a closed one
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def shown(size: int | float) -> str:
    """Bytes in words."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:,.4g} TiB"
