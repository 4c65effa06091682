"""latentgen's side of the speed part, in a process of its own: see `workers`."""

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.accelerator import flops, works
from experiments.benchmarks.accelerator.works import PRECISIONS, Work
from experiments.benchmarks.side_by_side import Took
from experiments.benchmarks.side_by_side import timed as timed_call
from experiments.benchmarks.trainer import Trainer

HELD: dict[str, Trainer] = {}
SIZES, DRY_SIZES = (4096, 8192), (128,)
DRY_MEMORY = 2**26
LEAST, MOST = 64, 2**17  # batch sizes; larger ones show nothing new of a card
DRY_LEAST = 4


def peak(precision: str, dry: bool) -> float:
    """FLOP/s of the fastest square product of random numbers in this precision."""
    products, compute = PRECISIONS[precision]
    best = 0.0
    for size in DRY_SIZES if dry else SIZES:
        a = jax.random.normal(jax.random.key(0), (size, size), jnp.dtype(compute))
        with jax.default_matmul_precision(products):
            multiply = jax.jit(jnp.dot).lower(a, a).compile()
        times = []
        for repeat in range(4):
            began = time.perf_counter()
            results = [multiply(a, a) for _ in range(10)]
            jax.block_until_ready(results)
            times += [time.perf_counter() - began] if repeat else []
        best = max(best, 10 * 2.0 * size**3 / statistics.median(times))
    return best


def build(key: str, work: Work, precision: str, batch: int, steps: int) -> dict[str, Any]:
    """Compile a call of so many steps, run it once, and keep it under this key."""
    began = time.perf_counter()
    trainer = works.trainer(work, precision, batch, steps)
    with jax.default_matmul_precision(PRECISIONS[precision][0]):
        traced = trainer.step.trace(*arguments(trainer))
        counted = flops.counted(traced.jaxpr, 1 / work.cycle) / steps
        program = traced.lower().compile()
    trainer.step = program
    if not bool(trainer()):
        raise FloatingPointError(f"{work.what} diverges")
    HELD[key] = trainer
    return {
        "parameters": parameters(trainer.state),
        "draws": trainer.run.method.draws,
        "bytes": needs(program),
        "flops": counted,
        "compile_seconds": round(time.perf_counter() - began, 1),
    }


def arguments(trainer: Trainer) -> tuple[Any, ...]:
    """A call's arguments to the compiled steps."""
    numbers = np.arange(trainer.done, trainer.done + trainer.chunk, dtype=np.int32)
    rows = trainer.feed.rows(trainer.done, trainer.chunk)
    return trainer.state, numbers, rows, trainer.feed.resident, trainer.run.key


def needs(program: Any) -> int:
    """Bytes that a compiled program needs while it runs, as the compiler estimates."""
    found = program.memory_analysis()
    held = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return int(held - found.alias_size_in_bytes)


def parameters(state: Any) -> int:
    """Number of the state's parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(state.params))


def timed(key: str) -> Took:
    """Time the call that `build` kept under this key."""
    return timed_call(HELD[key])[0]


def budget(dry: bool) -> int:
    """Bytes that a program may need."""
    stats = jax.devices()[0].memory_stats()
    return DRY_MEMORY if dry or stats is None else int(0.95 * stats["bytes_limit"])


def largest(key: str, work: Work, precision: str, steps: int, dry: bool) -> dict[str, Any]:
    """Build with the largest batch, a power of two, that fits the memory; returns `build`'s.

    The compiler's estimate at a small batch gives the first guess, so that few are compiled.
    """
    least, room = DRY_LEAST if dry else LEAST, budget(dry)
    most = 4 * least if dry else MOST
    need = {least: build(key, work, precision, least, steps)["bytes"]}
    fits = least
    batch = min(most, least * 2 ** max(1, int(np.log2(room / need[least]))))
    while batch not in need:
        HELD.clear()
        found = attempt(key, work, precision, batch, steps)
        need[batch] = room + 1 if found is None else found["bytes"]
        if need[batch] <= room:
            fits = max(fits, batch)
            batch = batch * 2 if 2 * need[batch] <= room and batch < most else batch
        else:
            batch = max(batch // 2, least)
    HELD.clear()
    return {"batch": fits, **build(key, work, precision, fits, steps)}


def attempt(key: str, work: Work, precision: str, batch: int, steps: int) -> dict | None:
    """`build`, or None where the memory does not suffice."""
    try:
        return build(key, work, precision, batch, steps)
    except Exception as error:
        if "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower():
            return None
        raise
