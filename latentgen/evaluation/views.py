"""Codes with which to inspect a generator, for methods that have the probes they need."""

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
    """Return the method's probe of this name.

    Raises:
        BadInput: the method has no such probe; the message lists those it has.
    """
    if name not in method.probes:
        raise BadInput(
            f"this method has no {name!r}, which this needs; it has {', '.join(method.probes)}."
        )
    return method.probes[name]


def decoded(
    method: Method, state: PyTree, z: Float[Array, "n *d"], label: Int[Array, " n"] | None = None
) -> Shaped[np.ndarray, "n *shape"]:
    """Decode codes, `AT_ONCE` at a time to bound the device's memory."""
    decode = jax.jit(probe(method, "decode"))
    padding = -len(z) % AT_ONCE if len(z) > AT_ONCE else 0  # one shape, one compilation
    inputs = [jnp.pad(z, ((0, padding), *[(0, 0)] * (z.ndim - 1)))]
    inputs += [] if label is None else [jnp.pad(label, (0, padding))]
    parts = [
        decode(state, *(a[i : i + AT_ONCE] for a in inputs)) for i in range(0, len(z), AT_ONCE)
    ]
    return np.concatenate([np.asarray(part) for part in parts])[: len(z)]


def prior(method: Method, state: PyTree, key: Key[Array, ""], num: int) -> Float[Array, "n d"]:
    """Draw z ~ p(z)."""
    return probe(method, "codes")(state, key, num)


def prior_by_index(
    method: Method, state: PyTree, key: Key[Array, ""], indices: Int[Array, " n"]
) -> Float[Array, "n d"]:
    """Draw z_i ~ p(z) from a key of its own, so that it does not depend on the other indices."""
    codes = probe(method, "codes")
    draw = lambda i: codes(state, jax.random.fold_in(key, i), 1)[0]  # noqa: E731
    return jax.vmap(draw)(indices)


def aggregate(
    method: Method, state: PyTree, key: Key[Array, ""], batch: Batch
) -> Float[Array, "n d"]:
    """Draw z ~ q(z|x_i); if x_i are drawn from the training set, z ~ the aggregate posterior."""
    return probe(method, "draw")(state, batch, key, 1)[0][0]


def aggregate_log_prob(
    method: Method, state: PyTree, z: Float[Array, "m d"], batches: Sequence[Batch]
) -> Float[Array, " m"]:
    """Compute log 1/N sum_j q(z|x_j) in nats, over the N examples of all batches.

    Codes are processed AT_ONCE at a time, with one batch at a time.
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
    """Return the centre of q(z|x_i), which is the mean of a normal."""
    return probe(method, "encode")(state, batch.x, batch.label)


def paths(
    method: Method, state: PyTree, key: Key[Array, ""], rows: int, columns: int
) -> Float[Array, "rows_columns d"]:
    """Make rows of codes on a straight line between two codes of the prior, ends included."""
    start, stop = jnp.split(probe(method, "codes")(state, key, 2 * rows), 2)
    weight = jnp.linspace(0.0, 1.0, columns)[None, :, None]
    z = (1 - weight) * start[:, None] + weight * stop[:, None]
    return z.reshape(rows * columns, -1)


def traversals(
    method: Method, state: PyTree, key: Key[Array, ""], rows: int, columns: int
) -> Float[Array, "rows_columns d"]:
    """Make rows in which one coordinate of a code moves from its 1% to its 99% quantile.

    The quantiles are estimated from 10,000 codes of the prior. There are at most as many rows as
    coordinates. A method whose codes have a meaning has a probe `traverse` of its own instead.
    """
    if "traverse" in method.probes:
        z = method.probes["traverse"](state, key, columns)[:rows]
        return z.reshape(-1, z.shape[-1])
    codes = probe(method, "codes")
    pool = codes(state, key, 10_000)
    centre = codes(state, jax.random.fold_in(key, 1), 1)
    rows = min(rows, pool.shape[1])
    values = jnp.quantile(pool, jnp.linspace(0.01, 0.99, columns), axis=0)
    moved = jnp.eye(rows, pool.shape[1], dtype=bool)[:, None, :]
    return jnp.where(moved, values[None], centre[None]).reshape(rows * columns, -1)
