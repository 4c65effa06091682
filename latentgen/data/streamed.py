"""Batches of a data set that stays on the host, read ahead of training by Grain's threads."""

import itertools
import threading
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jaxtyping import Int

from latentgen.data.dataset import Examples

READ_AHEAD = 2**28
"""Maximum bytes of raw examples in the prefetch buffer of a streamed data set."""

PART = 2**23
"""Bytes of raw examples that a thread reads at a time, or those of one step if it has more."""


def read_ahead(
    examples: Examples, index: Callable[[int, int], np.ndarray], step_bytes: int
) -> Callable[[int, int], Examples]:
    """Return `rows` of a streamed set, which prefetches examples with Grain's threads.

    Requests of equal length that follow each other share an iterator; any other starts a new one.
    """
    expected = (-1, 0)
    chunks: Iterator[Examples] = iter(())

    def rows(first: int, steps: int) -> Examples:
        nonlocal expected, chunks
        if (first, steps) != expected:
            chunks = _chunks(examples, index, step_bytes, first, steps)
        expected = (first + steps, steps)
        return next(chunks)

    return rows


def _chunks(
    examples: Examples,
    index: Callable[[int, int], np.ndarray],
    step_bytes: int,
    first: int,
    steps: int,
) -> Iterator[Examples]:
    """Iterate over the raw batches of consecutive chunks, each of `steps` steps, from `first` on.

    Examples are copied once: every item of Grain's fills its part of the chunk's arrays.
    """
    import grain

    each = min(steps, max(1, PART // step_bytes))  # steps of an item
    parts = -(-steps // each)
    filled: dict[int, Examples] = {}
    lock = threading.Lock()

    class Parts:
        """A data source whose item fills a part of a chunk, and is the whole chunk."""

        def __len__(self) -> int:
            return 2**62

        def __getitem__(self, item: int) -> Examples:
            chunk, part = divmod(item, parts)
            start, stop = part * each, min(steps, (part + 1) * each)
            with lock:  # or several threads draw the order of a new epoch
                i = index(first + chunk * steps + start, stop - start)
                if chunk not in filled:
                    filled[chunk] = _empty(examples, (steps, *i.shape[1:]))
            out = filled[chunk]
            jax.tree.map(lambda a, b: _gather(a, i, b[start:stop]), Examples(*examples), out)
            return out

    buffer_size = min(max(2, READ_AHEAD // (each * step_bytes)), 2 * parts)
    options = grain.ReadOptions(num_threads=min(4, buffer_size), prefetch_buffer_size=buffer_size)
    items = iter(grain.MapDataset.source(Parts()).to_iter_dataset(options))
    for chunk in itertools.count():
        for _ in range(parts):
            next(items)
        yield filled.pop(chunk)


def _empty(examples: Examples, shape: tuple[int, ...]) -> Examples:
    """Allocate arrays for so many examples; memory is used where it is written."""
    return jax.tree.map(lambda a: np.empty((*shape, *a.shape[1:]), a.dtype), Examples(*examples))


def _gather(rows: np.ndarray, i: Int[np.ndarray, "..."], out: np.ndarray) -> None:
    """Copy the rows at indices i, all valid, to `out`."""
    if rows.flags.c_contiguous:
        np.take(rows, i, axis=0, out=out, mode="clip")  # mode="raise" would copy twice
    else:
        out[...] = rows[i]  # `take` would copy the whole array first
