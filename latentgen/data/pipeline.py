"""Batches for training and evaluation; the batch of step s is a pure function of (key, s).

Every epoch contains each example once, in a new order. With B = draws * batch, step s takes the
positions p = sB, ..., sB + B - 1. Position p is example order_e[p mod n] of epoch e = p // n, where
order_e is a permutation drawn from (key, e). Batches may span two epochs and no example is dropped.
There is no iterator state: a resumed run requests the rows of its next step.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Int32, Key, UInt32

from latentgen.core import devices
from latentgen.core.errors import BadInput, positive
from latentgen.core.keys import named_key
from latentgen.core.types import Batch, PyTree
from latentgen.data.dataset import Examples
from latentgen.data.preprocess import Preprocess
from latentgen.data.streamed import read_ahead


class Feed(NamedTuple):
    """Batches for training, in three parts that are combined in the scan over steps.

    resident: arrays that stay on the device, or () for a streamed set.
    rows: (first step, steps) -> inputs of these steps on the host, with leading axis `steps`:
        indices (steps, draws, batch) for a resident set, else raw examples and labels.
    batches: (resident, rows of one step, the run's key, step) -> preprocessed Batch with leaves
        (draws, batch, ...). A pure function that can be traced.
    """

    resident: PyTree
    rows: Callable[[int, int], PyTree]
    batches: Callable[[PyTree, PyTree, Key[Array, ""], Int[Array, ""]], Batch]


class Placement(NamedTuple):
    """Placement of a feed's arrays on devices; by default on a single device.

    keep: array -> the array on the device, where it stays
    send: rows of this process -> global rows of all processes
    part: slice of each batch that this process reads
    """

    keep: Callable[[Any], Array] = jax.device_put
    send: Callable[[PyTree], PyTree] = lambda rows: rows
    part: slice = slice(None)


@functools.partial(jax.jit, static_argnames=("rounds", "n"))
def _sort_keys(
    key: Key[Array, ""], epoch: Int[Array, ""], rounds: int, n: int
) -> UInt32[Array, "rounds n"]:
    key, keys = jax.random.fold_in(key, epoch), []
    for _ in range(rounds):
        key, subkey = jax.random.split(key)
        keys.append(jax.random.bits(subkey, (n,)))
    return jnp.stack(keys)


def _permutation(key: Key[Array, ""], epoch: int, n: int) -> Int[np.ndarray, " n"]:
    """Return `jax.random.permutation(fold_in(key, epoch), n)`, sorted by numpy.

    XLA's sort of 131,072 keys takes a CPU longer than a GPU takes for a step of that batch. A key
    and the position in one integer make an order without ties, so that any sort is a stable one.
    """
    rounds = math.ceil(3 * math.log(n) / math.log(2**32 - 1))  # as jax.random has it
    order = np.arange(n, dtype=np.int32)
    if not rounds:
        return order
    for keys in np.asarray(_sort_keys(key, jnp.int32(epoch), rounds, n)):
        packed = keys.astype(np.uint64) << np.uint64(32) | np.arange(n, dtype=np.uint64)
        packed.sort()
        order = order[packed & np.uint64(2**32 - 1)]
    return order


def _orders(key: Key[Array, ""], n: int) -> Callable[[int], Int[np.ndarray, " n"]]:
    """Return epoch -> permutation of n examples, computed on the CPU if JAX has that backend."""
    cpu = devices.cpu()
    key = jax.device_put(named_key(key, "order"), cpu)

    @functools.lru_cache(maxsize=4)
    def order(epoch: int) -> Int[np.ndarray, " n"]:
        with jax.default_device(cpu):
            return _permutation(key, epoch, n)

    return order


def indices(
    key: Key[Array, ""], n: int, batch_size: int, draws: int, label: np.ndarray | None = None
) -> Callable[[int, int], Int32[np.ndarray, "steps draws batch"]]:
    """Return (first step, steps) -> indices of the examples of these steps, of n examples.

    Args:
        label: labels by which classes get equal shares: position p takes an example of class
            p mod k of the k classes, each of which has epochs of its own; None: one epoch of all.
    """
    if label is not None:
        return _balanced(key, label, batch_size, draws)
    order = _orders(key, n)

    def rows(first: int, steps: int) -> Int32[np.ndarray, "steps draws batch"]:
        each = draws * batch_size
        start, stop = first * each, (first + steps) * each
        out = np.empty(stop - start, np.int32)
        p = start
        while p < stop:
            epoch, at = divmod(p, n)
            part = order(epoch)[at : at + stop - p]
            out[p - start : p - start + len(part)] = part
            p += len(part)
        return out.reshape(steps, draws, batch_size)

    return rows


def _balanced(
    key: Key[Array, ""], label: np.ndarray, batch_size: int, draws: int
) -> Callable[[int, int], Int32[np.ndarray, "steps draws batch"]]:
    """Return `indices` of batches in which the classes take turns."""
    members = [np.flatnonzero(label == c).astype(np.int32) for c in np.unique(label)]
    k = len(members)
    orders = [
        _orders(jax.random.fold_in(named_key(key, "balance"), c), len(rows))
        for c, rows in enumerate(members)
    ]

    def rows(first: int, steps: int) -> Int32[np.ndarray, "steps draws batch"]:
        each = draws * batch_size
        p = np.arange(first * each, (first + steps) * each)
        out = np.empty(len(p), np.int32)
        for c, of_class in enumerate(members):
            at = p % k == c
            epoch, position = np.divmod(p[at] // k, len(of_class))
            out[at] = [of_class[orders[c](int(e))[i]] for e, i in zip(epoch, position, strict=True)]
        return out.reshape(steps, draws, batch_size)

    return rows


Augmentation = Callable[[Any, Key[Array, ""]], Array]
"""(x of a minibatch, key) -> x."""


def feed(
    examples: Examples,
    preprocess: Preprocess,
    batch_size: int,
    draws: int,
    key: Key[Array, ""],
    stream_above: int = 2**30,
    placement: Placement = Placement(),  # noqa: B008
    augment: Augmentation | None = None,
    balanced: bool = False,
) -> Feed:
    """Make the training batches of a run.

    Args:
        examples: the training split.
        preprocess: applied to each batch with a key of its own.
        batch_size: examples in a minibatch.
        draws: number of minibatches of a step.
        key: the run's key.
        stream_above: a split of more bytes than this stays on the host.
        placement: placement of the arrays on devices.
        augment: (x, key) -> x, applied to each minibatch after preprocessing.
        balanced: every class has the same share of the batches.

    Raises:
        BadInput: batch_size is below 1 or larger than the split.
    """
    n = len(examples.label)
    if positive("config.batch_size", batch_size) > n:
        raise BadInput(f"config.batch_size={batch_size} must be at most {n}, the training split.")
    all_indices = indices(key, n, batch_size, draws, examples.label if balanced else None)

    def index(first: int, steps: int) -> Int32[np.ndarray, "steps draws part"]:
        return all_indices(first, steps)[:, :, placement.part]

    def prepared(raw: PyTree, key: Key[Array, ""], step: Int[Array, ""]) -> Batch:
        x = preprocess.forward(raw.x, jax.random.fold_in(named_key(key, "preprocess"), step))
        if augment is not None:
            keys = jax.random.fold_in(named_key(key, "augment"), step)
            x = jax.vmap(augment)(x, jax.random.split(keys, len(x)))
        return Batch(x, raw.label, raw.factors)

    def gather(
        resident: Examples, i: Int[Array, "draws batch"], key: Key[Array, ""], step: Int[Array, ""]
    ) -> Batch:
        return prepared(jax.tree.map(lambda rows: rows[i], resident), key, step)

    def streamed(
        resident: tuple[()], raw: Examples, key: Key[Array, ""], step: Int[Array, ""]
    ) -> Batch:
        return prepared(raw, key, step)

    size = math.prod(examples.x.shape) * examples.x.dtype.itemsize
    if size <= stream_above:
        resident = jax.tree.map(placement.keep, Examples(*examples))
        return Feed(resident, lambda first, steps: placement.send(index(first, steps)), gather)
    raw = read_ahead(examples, index, size // n * draws * batch_size)
    return Feed((), lambda first, steps: placement.send(raw(first, steps)), streamed)


def chosen(
    examples: Examples, indices: Int[np.ndarray, " n"], preprocess: Preprocess, key: Key[Array, ""]
) -> Batch:
    """Preprocess the examples of a split at these indices."""
    x = preprocess.forward(jnp.asarray(examples.x.take(indices, axis=0)), key)
    factors = None if examples.factors is None else jnp.asarray(examples.factors[indices])
    return Batch(x, jnp.asarray(examples.label[indices]), factors)


@functools.partial(jax.jit, static_argnames="forward")
def _forward(
    forward: Callable[..., Array], raw: Any, at: Int[Array, " n"], key: Key[Array, ""]
) -> Array:
    return jax.vmap(forward)(raw, jax.vmap(jax.random.fold_in, (None, 0))(key, at))


def iterate_split(
    examples: Examples, preprocess: Preprocess, batch_size: int, key: Key[Array, ""]
) -> Iterator[tuple[Batch, int]]:
    """Iterate over a split in order, for evaluation.

    The noise of preprocessing is a function of (key, index in the split), so that two passes with
    the same key give the same data for any batch sizes.

    Yields:
        (batch, valid): batches on the device, all of size batch_size. Only the first `valid`
        examples count; the last batch is padded with copies of its last example.
    """
    n = len(examples.label)
    key = named_key(key, "preprocess")
    for i in range(-(-n // positive("batch_size", batch_size))):
        at = np.minimum(np.arange(i * batch_size, (i + 1) * batch_size), n - 1)
        yield _at(examples, at, preprocess, key), min(batch_size, n - i * batch_size)


def examples_at(
    examples: Examples, indices: Int[np.ndarray, " n"], preprocess: Preprocess, key: Key[Array, ""]
) -> Batch:
    """Preprocess the examples at these indices with the noise that `iterate_split` gives them."""
    return _at(examples, indices, preprocess, named_key(key, "preprocess"))


def _at(
    examples: Examples, indices: Int[np.ndarray, " n"], preprocess: Preprocess, key: Key[Array, ""]
) -> Batch:
    raw = np.asarray(examples.x.take(indices, axis=0))
    x = _forward(preprocess.forward, raw, jnp.asarray(indices), key)
    factors = None if examples.factors is None else jnp.asarray(examples.factors[indices])
    return Batch(x, jnp.asarray(examples.label[indices]), factors)
