"""How much of the one set lies where the other is dense: precision, recall, density, coverage.

All four count points in balls. The ball around an example reaches to the k-th nearest other example
of its own set, the boundary included; the balls of a set together stand for its manifold.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from latentgen.errors import BadInput


class PrecisionRecall(NamedTuple):
    """Both in [0, 1].

    precision: the share of synthetic examples in a ball around a real one
    recall: the share of real examples in a ball around a synthetic one
    """

    precision: Float[Array, ""]
    recall: Float[Array, ""]


class DensityCoverage(NamedTuple):
    """Both by balls around real examples.

    density: in how many a synthetic example lies, on average and in units of k; may exceed 1
    coverage: the share that hold a synthetic example
    """

    density: Float[Array, ""]
    coverage: Float[Array, ""]


def precision_recall(
    real: Float[Array, "n d"], synthetic: Float[Array, "m d"], k: int = 3, block: int = 1000
) -> PrecisionRecall:
    """precision = 1/m sum_j 1[y_j in a real ball], recall = 1/n sum_i 1[x_i in a synthetic ball].

    Memory holds `block` x `block` distances at a time; the values do not depend on it.

    Raises:
        BadInput: k or block < 1, or a side of k examples or fewer.

    Reference: Kynkaanniemi et al. 2019, eqs. 1-2 (arXiv:1904.06991).
    """
    inside_real, _ = _members(real, radii(real, k, block), synthetic, block)
    inside_synthetic, _ = _members(synthetic, radii(synthetic, k, block), real, block)
    return PrecisionRecall(_share(inside_real, real), _share(inside_synthetic, real))


def density_coverage(
    real: Float[Array, "n d"], synthetic: Float[Array, "m d"], k: int = 5, block: int = 1000
) -> DensityCoverage:
    """density = 1/(k m) sum_ij 1[y_j in B_i], coverage = 1/n sum_i 1[some y_j in B_i].

    B_i is the ball around the real example x_i. For two sets of one distribution the expected
    density is 1 and the expected coverage 1 - (n - 1)...(n - k) / ((m + n - 1)...(m + n - k)).

    Raises:
        BadInput: k or block < 1, or no more than k real examples.

    Reference: Naeem et al. 2020, arXiv:2002.09797.
    """
    balls, members = _members(real, radii(real, k, block), synthetic, block)
    return DensityCoverage(balls.astype(real.dtype).mean() / k, _share(members, real))


def radii(x: Float[Array, "n d"], k: int, block: int = 1000) -> Float[Array, " n"]:
    """The distance of each example to the k-th nearest other; 0 where k others are its copies.

    Raises:
        BadInput: k or block < 1, or no more than k examples.
    """
    n = len(x)
    if block < 1:
        raise BadInput(f"block={block} must be at least 1.")
    if not 1 <= k < n:
        raise BadInput(f"k={k} must be at least 1 and less than the {n} examples.")
    block = min(block, n)
    index = jnp.arange(n)

    def rows(of: tuple[Array, Array]) -> Float[Array, " a"]:
        row, u = of

        def columns(nearest: Array, of: tuple[Array, Array]) -> tuple[Array, None]:
            column, v = of
            # Neither itself, told by its index since copies do count, nor what fills up a block.
            other = (row[:, None] != column[None, :]) & (column >= 0)[None, :]
            distance = jnp.where(other, _distances(u, v), jnp.inf)
            both = jnp.concatenate([nearest, distance], axis=1)
            return -jax.lax.top_k(-both, k)[0], None

        none = jnp.full((block, k), jnp.inf, x.dtype)
        return jax.lax.scan(columns, none, blocks)[0][:, -1]

    blocks = (_blocks(index, block, -1), _blocks(x, block, 0))
    return jax.lax.map(rows, blocks).reshape(-1)[:n]


def _members(
    centers: Float[Array, "n d"],
    radii: Float[Array, " n"],
    points: Float[Array, "m d"],
    block: int,
) -> tuple[Int[Array, " m"], Int[Array, " n"]]:
    """In how many balls each point lies, and how many points each ball holds."""
    n, m = len(centers), len(points)
    # Blocks of one shape here and in `radii`, so that equal distances come out equal.
    block_n, block_m = min(block, n), min(block, m)
    valid = _blocks(jnp.ones(m, bool), block_m, False)
    point_blocks = (valid, _blocks(points, block_m, 0))

    def rows(balls: Int[Array, "b q"], of: tuple[Array, Array]) -> tuple[Array, Array]:
        radius, u = of

        def columns(of: tuple[Array, Array]) -> tuple[Array, Array]:
            real, v = of
            inside = (_distances(u, v) <= radius[:, None]) & real[None, :]
            return inside.sum(axis=0), inside.sum(axis=1)

        balls_of_points, points_of_balls = jax.lax.map(columns, point_blocks)
        return balls + balls_of_points, points_of_balls.sum(axis=0)

    # A ball of radius -1 is empty.
    center_blocks = (_blocks(radii, block_n, -1), _blocks(centers, block_n, 0))
    balls, members = jax.lax.scan(rows, jnp.zeros(valid.shape, int), center_blocks)
    return balls.reshape(-1)[:m], members.reshape(-1)[:n]


def _distances(x: Float[Array, "a d"], y: Float[Array, "b d"]) -> Float[Array, "a b"]:
    """|x_i - y_j|, feature by feature.

    |x|^2 + |y|^2 - 2 x.y would lose the distance of near neighbours and give copies one other than
    0. The order of the sum is the same for all pairs, however they are cut into blocks, so that
    ties stay ties.
    """

    def add(squares: Array, feature: tuple[Array, Array]) -> tuple[Array, None]:
        first, second = feature
        return squares + (first[:, None] - second[None, :]) ** 2, None

    squares = jnp.zeros((len(x), len(y)), x.dtype)
    return jnp.sqrt(jax.lax.scan(add, squares, (x.T, y.T), unroll=16)[0])


def _blocks(x: Array, block: int, fill: int) -> Array:
    """x of shape (n, ...) as (blocks, block, ...), the last filled up."""
    widths = ((0, -len(x) % block), *((0, 0) for _ in x.shape[1:]))
    return jnp.pad(x, widths, constant_values=fill).reshape(-1, block, *x.shape[1:])


def _share(counts: Int[Array, " n"], like: Array) -> Float[Array, ""]:
    """The share of counts above 0, in the precision of `like`."""
    return (counts > 0).astype(like.dtype).mean()
