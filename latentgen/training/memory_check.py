"""Check that a run fits into memory, before anything is written to its folder."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from latentgen.core.errors import BadInput
from latentgen.core.types import Batch, PyTree
from latentgen.data import pipeline, sources
from latentgen.storage import workdir
from latentgen.system import memory
from latentgen.training.hooks import AT_ONCE
from latentgen.training.setup import PAIRS, Run

COUNTS = {
    *(
        "seed",
        "steps",
        "skip_diverged",
        "microbatches",
        "data.validation",
        "method.ema_start",
        "method.warmup_steps",
    ),
    *("every.validate", "every.sample", "every.checkpoint", "every.evaluate"),
    *("evaluate.samples", "stop.patience"),
}
"""Integers of a config that are no sizes of arrays."""


def arguments(run: Run, feed: pipeline.Feed) -> tuple[Any, ...]:
    """Return the shapes of the arguments of a chunk of steps, see `loop.Program`.

    Args:
        feed: the run's batches.

    Raises:
        BadInput: these arrays do not fit; to trace what cannot fit may take for ever.
    """
    steps = min(run.experiment.every.log, run.experiment.steps)
    numbers = jax.ShapeDtypeStruct((steps,), np.int32)
    shapes = run.state, numbers, _rows(run, feed, steps), feed.resident, run.key
    _check_fits(run, _sizes(shapes))
    return shapes


def check_traced(run: Run, shapes: tuple[Any, ...], traced: Any) -> None:
    """Check that a run can fit, before anything is compiled.

    Args:
        shapes: see `arguments`.
        traced: the chunk of steps, traced with them.

    Raises:
        BadInput: it does not fit; the message names the largest size in the config. Tracing may
            raise BadInput as well.
    """
    traces = [traced, *_trace_eval_fns(run, shapes[0])]
    largest = max(map(memory.largest_array, traces), key=lambda array: array.bytes)
    _check_fits(run, _sizes(shapes) | {f"an array {largest.description}": largest.bytes})


def check_program(run: Run, traced: Any) -> None:
    """Compile a chunk of steps and check that it fits.

    Args:
        traced: see `check_traced`; the first call reuses the compiled program, on one device.

    Raises:
        BadInput: it does not fit.
    """
    needed = memory.program_bytes(traced.lower().compile())
    _check_fits(run, {"its compiled steps": needed})


def _sizes(shapes: tuple[Any, ...]) -> dict[str, int]:
    """Return the bytes of a chunk's arguments, by description."""
    state, numbers, rows, resident, _ = shapes
    return {
        "its state": memory.tree_bytes(state),
        f"the rows of {len(numbers):,} steps": memory.tree_bytes(rows),
        "its data": memory.tree_bytes(resident),
    }


def _check_fits(run: Run, sizes: Mapping[str, int]) -> None:
    if (needed := sum(sizes.values())) > (available := memory.device_memory()):
        items = ", ".join(f"{name} {memory.format_bytes(size)}" for name, size in sizes.items())
        raise BadInput(
            f"{_largest_size(run.config)} is the largest size in a config whose run needs "
            f"{memory.format_bytes(needed)} of memory at once ({items}); there are "
            f"{memory.format_bytes(available)}."
        )


def _rows(run: Run, feed: pipeline.Feed, steps: int) -> PyTree:
    """Return the shapes of the rows of a chunk, see `Feed.rows`."""
    shape = (steps, run.method.draws, run.experiment.batch_size)
    if feed.resident != ():
        return jax.ShapeDtypeStruct(shape, np.int32)
    rows: PyTree = run.dataset.splits["train"]
    return jax.tree.map(
        lambda rows: jax.ShapeDtypeStruct((*shape, *rows.shape[1:]), rows.dtype),
        sources.Examples(*rows),
    )


def _trace_eval_fns(run: Run, state: PyTree) -> list[Any]:
    """Trace `EvalFns` but for `init`: terms and, if there are any, samples and reconstructions."""
    fns, n = run.eval_fns, min(AT_ONCE, len(run.dataset.splits["train"].label))
    traces = [_trace(fns.terms, state, 0, _batch_shape(run, n), run.key)]
    if fns.sample is not None:
        traces.append(_trace(fns.sample, state, run.key))
    if fns.reconstruct is not None:
        traces.append(_trace(fns.reconstruct, state, _batch_shape(run, PAIRS)))
    return traces


def _batch_shape(run: Run, n: int) -> Batch:
    x = jax.ShapeDtypeStruct((n, *run.dataset.shape), np.float32)
    return Batch(x, jax.ShapeDtypeStruct((n,), np.int32))  # type: ignore[arg-type]


def _trace(fn: Any, *inputs: PyTree) -> Any:
    """Trace a function; the later call of a partial of a jitted one reuses the trace."""
    jitted: Any = fn.func if isinstance(fn, partial) else jax.jit(fn)
    return jitted.trace(*getattr(fn, "args", ()), *inputs)


def _largest_size(config: Mapping[str, Any]) -> str:
    largest = {}
    for key, value in workdir.flatten(config).items():
        sizes = value if isinstance(value, list | tuple) else [value]
        if key not in COUNTS and sizes and all(type(size) is int for size in sizes):
            largest[key] = max(sizes)
    key = max(largest, key=lambda name: largest[name])
    return f"config.{key}={workdir.flatten(config)[key]}"
