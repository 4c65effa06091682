"""Ways to look at a generator, for any method that has the probes they need."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from latentgen.core.types import Method, PyTree
from latentgen.errors import BadInput
from latentgen.probability.distributions import normal_sample

PAIR_COLUMNS = 8


class View(NamedTuple):
    """Synthetic examples, the codes they come from, and how many make a row of a picture."""

    x: Float[Array, "n *shape"]
    codes: Float[Array, "n d"] | None
    columns: int | None = None


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


def prior(method: Method, state: PyTree, key: Key[Array, ""], num: int) -> View:
    """x decoded from z ~ p(z)."""
    z = probe(method, "codes")(state, key, num)
    return View(probe(method, "decode")(state, z), z)


def aggregate(
    method: Method, state: PyTree, key: Key[Array, ""], x: Float[Array, "n *shape"]
) -> View:
    """x decoded from z ~ q(z|x_i): the mixture of normals, one per training example.

    Args:
        x: examples drawn from the training set, one for each code.
    """
    z = normal_sample(probe(method, "encode")(state, x), key)
    return View(probe(method, "decode")(state, z), z)


def reconstruct(method: Method, state: PyTree, x: Float[Array, "n *shape"]) -> View:
    """Input beside output: x_0, decode(mean of q(z|x_0)), x_1, ..."""
    z = probe(method, "encode")(state, x).mean
    both = jnp.stack([x, probe(method, "decode")(state, z)], axis=1)
    return View(both.reshape(-1, *x.shape[1:]), z, PAIR_COLUMNS)


def interpolate(
    method: Method, state: PyTree, key: Key[Array, ""], rows: int, columns: int
) -> View:
    """Each row a straight path between two codes drawn from the prior, ends included."""
    start, stop = jnp.split(probe(method, "codes")(state, key, 2 * rows), 2)
    weight = jnp.linspace(0.0, 1.0, columns)[None, :, None]
    z = (1 - weight) * start[:, None] + weight * stop[:, None]
    z = z.reshape(rows * columns, -1)
    return View(probe(method, "decode")(state, z), z, columns)


def traverse(method: Method, state: PyTree, key: Key[Array, ""], rows: int, columns: int) -> View:
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
    z = jnp.where(moved, values[None], centre[None]).reshape(rows * columns, -1)
    return View(probe(method, "decode")(state, z), z, columns)
