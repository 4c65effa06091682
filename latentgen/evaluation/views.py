"""Codes to look at a generator by, for any method that has the probes they need."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Shaped

from latentgen.core.errors import BadInput
from latentgen.core.types import Batch, Method, PyTree
from latentgen.metrics import latents

AT_ONCE = 500


def probe(method: Method, name: str) -> Callable[..., Any]:
    """The method's probe of this name.

    Raises:
        BadInput: it has none; lists those it has.
    """
    if name not in method.probes:
        raise BadInput(
            f"this method has no {name!r}, which this needs; it has {', '.join(method.probes)}."
        )
    return method.probes[name]


def decoded(
    method: Method, state: PyTree, z: Float[Array, "n d"], label: Int[Array, " n"] | None = None
) -> Shaped[np.ndarray, "n *shape"]:
    """The examples of these codes, `AT_ONCE` at a time, so that the device's memory is bounded."""
    decode = jax.jit(probe(method, "decode"))
    whole = -len(z) % AT_ONCE if len(z) > AT_ONCE else 0  # one shape, one compilation
    inputs = [jnp.pad(z, ((0, whole), (0, 0)))]
    inputs += [] if label is None else [jnp.pad(label, (0, whole))]
    parts = [
        decode(state, *(a[i : i + AT_ONCE] for a in inputs)) for i in range(0, len(z), AT_ONCE)
    ]
    return np.concatenate([np.asarray(part) for part in parts])[: len(z)]


def prior(method: Method, state: PyTree, key: Key[Array, ""], num: int) -> Float[Array, "n d"]:
    """z ~ p(z)."""
    return probe(method, "codes")(state, key, num)


def aggregate(
    method: Method, state: PyTree, key: Key[Array, ""], batch: Batch
) -> Float[Array, "n d"]:
    """z ~ q(z|x_i): where the x_i are drawn from the training set, the aggregate posterior."""
    return probe(method, "draw")(state, batch, key, 1)[0][0]


def aggregate_log_prob(
    method: Method, state: PyTree, z: Float[Array, "m d"], batches: Sequence[Batch]
) -> Float[Array, " m"]:
    """log 1/N sum_j q(z|x_j) in nats, over the N examples of all batches: its density at any z.

    Memory holds AT_ONCE codes beside one batch.
    """
    log_posterior = probe(method, "log_posterior")

    @jax.jit
    def pairwise(state: PyTree, z: Float[Array, "m d"], batch: Batch) -> Float[Array, "m b"]:
        return log_posterior(state, batch, latents.all_pairs(z, batch.x.shape[0]))

    blocks = [z[i : i + AT_ONCE] for i in range(0, len(z), AT_ONCE)]
    found = [
        latents.log_aggregate(lambda z, batch: pairwise(state, z, batch), block, batches)
        for block in blocks
    ]
    return jnp.concatenate(found)


def centres(method: Method, state: PyTree, batch: Batch) -> Float[Array, "n d"]:
    """The centre of q(z|x_i): its mean, where it is normal."""
    return probe(method, "encode")(state, batch.x, batch.label)


def paths(
    method: Method, state: PyTree, key: Key[Array, ""], rows: int, columns: int
) -> Float[Array, "rows_columns d"]:
    """Each row a straight path between two codes drawn from the prior, ends included."""
    start, stop = jnp.split(probe(method, "codes")(state, key, 2 * rows), 2)
    weight = jnp.linspace(0.0, 1.0, columns)[None, :, None]
    z = (1 - weight) * start[:, None] + weight * stop[:, None]
    return z.reshape(rows * columns, -1)


def traversals(
    method: Method, state: PyTree, key: Key[Array, ""], rows: int, columns: int
) -> Float[Array, "rows_columns d"]:
    """Each row one coordinate of one code, moved through the prior from its 1% to its 99% quantile.

    The quantiles are those of 10,000 codes of the prior, whatever it is. Rows stop at the last
    coordinate.
    """
    codes = probe(method, "codes")
    pool = codes(state, key, 10_000)
    centre = codes(state, jax.random.fold_in(key, 1), 1)
    rows = min(rows, pool.shape[1])
    values = jnp.quantile(pool, jnp.linspace(0.01, 0.99, columns), axis=0)
    moved = jnp.eye(rows, pool.shape[1], dtype=bool)[:, None, :]
    return jnp.where(moved, values[None], centre[None]).reshape(rows * columns, -1)
