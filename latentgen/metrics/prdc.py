"""Precision, recall, density and coverage of real and synthetic examples.

The four metrics count points in balls. The ball around an example reaches to the k-th nearest other
example of its own set, the boundary included; the union of a set's balls estimates its manifold.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from latentgen.core.errors import BadInput

SPARE = 8  # candidates beyond the k nearest


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


class Prdc(NamedTuple):
    """`PrecisionRecall` and `DensityCoverage` of the same two sets."""

    precision: Float[Array, ""]
    recall: Float[Array, ""]
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
    own, other = (several_radii(x, (k,), block) for x in (real, synthetic))
    (in_real, _), (_, in_synthetic) = _counts(real, own, synthetic, other, block)
    return PrecisionRecall(_share(in_real, real), _share(in_synthetic, real))


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
    none = jnp.zeros((0, len(synthetic)), synthetic.dtype)
    [(balls, members)] = _counts(real, several_radii(real, (k,), block), synthetic, none, block)
    return DensityCoverage(balls.astype(real.dtype).mean() / k, _share(members, real))


def prdc(
    real: Float[Array, "n d"],
    synthetic: Float[Array, "m d"],
    k_precision: int = 3,
    k_density: int = 5,
    block: int = 1000,
    own: Float[Array, "2 n"] | None = None,
) -> Prdc:
    """The four values of `precision_recall` and `density_coverage`; each distance computed once.

    Args:
        own: `several_radii` of the real examples for both k, where they are known.

    Raises:
        BadInput: see those two.
    """
    own = several_radii(real, (k_precision, k_density), block) if own is None else own
    other = several_radii(synthetic, (k_precision,), block)
    near, dense, (_, recalled) = _counts(real, own, synthetic, other, block)
    return Prdc(
        _share(near[0], real),
        _share(recalled, real),
        dense[0].astype(real.dtype).mean() / k_density,
        _share(dense[1], real),
    )


def radii(x: Float[Array, "n d"], k: int, block: int = 1000) -> Float[Array, " n"]:
    """The distance of each example to the k-th nearest other; 0 where k others are its copies.

    Raises:
        BadInput: k or block < 1, or no more than k examples.
    """
    return several_radii(x, (k,), block)[0]


def several_radii(
    x: Float[Array, "n d"], ks: tuple[int, ...], block: int = 1000
) -> Float[Array, "k n"]:
    """`radii` for several k at once."""
    n = len(x)
    if block < 1:
        raise BadInput(f"block={block} must be at least 1.")
    for k in ks:
        if not 1 <= k < n:
            raise BadInput(f"k={k} must be at least 1 and less than the {n} examples.")
    block = min(block, n)
    index = _blocks(jnp.arange(n), block, -1)
    blocks = (index, _blocks(x, block, 0))
    fast = x.dtype == jnp.float64
    centered = _blocks(x - x.mean(axis=0, keepdims=True), block, 0) if fast else blocks[1]

    def rows(of: tuple[Array, Array, Array]) -> Float[Array, "a k"]:
        row, u, near_0 = of
        direct = lambda: _nearest(row, u, blocks, max(ks))  # noqa: E731
        if not fast:
            return direct()
        found, sure = _nearest_by_products(row, u, near_0, x, (index, centered), max(ks))
        return jax.lax.cond(sure, lambda: found, direct)

    nearest = jax.lax.map(rows, (*blocks, centered)).reshape(-1, max(ks))[:n]
    return nearest[:, jnp.array(ks) - 1].T


def _nearest(
    row: Int[Array, " a"], u: Float[Array, "a d"], blocks: tuple[Array, Array], k: int
) -> Float[Array, "a k"]:
    """The distances to the k nearest others, each distance computed directly.

    Args:
        row: the places of the examples u.
        blocks: the places (-1: none) and features of all examples.
    """

    def columns(nearest: Array, of: tuple[Array, Array]) -> tuple[Array, None]:
        column, v = of
        distance = jnp.where(_other(row, column), jnp.sqrt(_squares(u, v)), jnp.inf)
        both = jnp.concatenate([nearest, distance], axis=1)
        return -jax.lax.top_k(-both, k)[0], None

    return jax.lax.scan(columns, jnp.full((len(row), k), jnp.inf, u.dtype), blocks)[0]


def _nearest_by_products(
    row: Int[Array, " a"],
    u: Float[Array, "a d"],
    near_0: Float[Array, "a d"],
    x: Float[Array, "n d"],
    blocks: tuple[Array, Array],
    k: int,
) -> tuple[Float[Array, "a k"], Bool[Array, ""]]:
    """`_nearest` among a few candidates found by matrix products, and whether that is sure.

    Sure is what no rounding can change: the candidate that is farthest lies farther than the k-th
    by more than the products may be wrong. Then no example left out is nearer.

    Args:
        near_0: u less the mean of all x.
        blocks: the places (-1: none) and features, less their mean, of all examples.
    """
    single = jnp.float32(2 * jnp.finfo(jnp.float32).eps)  # candidates are kept in float32

    def columns(kept: tuple[Array, Array, Array], of: tuple[Array, Array]) -> tuple[Any, None]:
        squares, places, error = kept
        column, v = of
        found, off = _squares_by_products(near_0, v)
        other = _other(row, column)
        found = jnp.where(other, jnp.maximum(found, 0), jnp.inf).astype(jnp.float32)
        both = jnp.concatenate([squares, found], axis=1)
        of_both = jnp.concatenate([places, jnp.broadcast_to(column, found.shape)], axis=1)
        least, at = jax.lax.top_k(-both, k + SPARE)
        error = jnp.maximum(error, jnp.where(other, off, 0).max(axis=1))
        return (-least, jnp.take_along_axis(of_both, at, axis=1), error), None

    shape = (len(row), k + SPARE)
    none = (jnp.full(shape, jnp.inf, jnp.float32), jnp.full(shape, -1), jnp.zeros(len(row)))
    (squares, places, error), _ = jax.lax.scan(columns, none, blocks)
    exact = jax.lax.map(
        lambda j: jnp.where(j >= 0, _squares_of_pairs(u, x[j]), jnp.inf), places.T
    ).T
    exact = jnp.sort(exact, axis=1)[:, :k]
    slack = 2 * error + single * exact[:, -1]
    every = (places < 0).any(axis=1)  # there are no more others than candidates
    sure = every | (squares[:, -1] > exact[:, -1] + slack) | (row < 0)
    return jnp.sqrt(exact), sure.all()


def _other(row: Int[Array, " a"], column: Int[Array, " b"]) -> Bool[Array, "a b"]:
    """Neither itself, told by its place since copies do count, nor what fills up a block."""
    return (row[:, None] != column[None, :]) & (column >= 0)[None, :]


def _counts(
    x: Float[Array, "n d"],
    x_radii: Float[Array, "q n"],
    y: Float[Array, "m d"],
    y_radii: Float[Array, "r m"],
    block: int,
) -> list[tuple[Int[Array, " m"], Int[Array, " n"]]]:
    """For each row of radii, first x's and then y's: how many balls or members each has.

    A ball is around its own side's example and holds the other side's. The first of a pair counts
    for each y, the second for each x.
    """
    n, m = len(x), len(y)
    block_n, block_m = min(block, n), min(block, m)
    fast = x.dtype == jnp.float64
    center = x.mean(axis=0, keepdims=True) if fast else jnp.zeros_like(x[:1])
    # A ball of radius -1 is empty; what fills up a block is in none.
    ys = tuple(
        _blocks(a, block_m, fill)
        for a, fill in ((jnp.ones(m, bool), False), (y_radii.T, -1), (y, 0), (y - center, 0))
    )
    xs = tuple(
        _blocks(a, block_n, fill)
        for a, fill in ((jnp.ones(n, bool), False), (x_radii.T, -1), (x, 0), (x - center, 0))
    )

    def rows(balls: Int[Array, "t b q"], one: tuple[Array, ...]) -> tuple[Array, Array]:
        def columns(other: tuple[Array, ...]) -> tuple[Array, Array]:
            both = one[0][:, None] & other[0][None, :]
            inside = [each & both for each in _inside(one, other, fast)]
            of_y = jnp.stack([each.sum(axis=0) for each in inside])
            return of_y, jnp.stack([each.sum(axis=1) for each in inside])

        of_y, of_x = jax.lax.map(columns, ys)
        return balls + of_y, of_x.sum(axis=0)

    kinds = len(x_radii) + len(y_radii)
    zero = jnp.zeros((len(ys[0]), kinds, block_m), int)
    balls, members = jax.lax.scan(rows, zero, xs)
    balls, members = (
        jnp.moveaxis(each, 1, 0).reshape(kinds, -1)[:, :size]
        for each, size in ((balls, m), (members, n))
    )
    return list(zip(balls, members, strict=True))


def _inside(
    one: tuple[Array, ...], other: tuple[Array, ...], fast: bool
) -> list[Bool[Array, "a b"]]:
    """For each kind of radius, of `one` first and then of `other`, whether each pair lies within.

    In double precision squares come from a matrix product, unless for some pair its error could
    decide: then all of the block are computed directly, as the radii were, so that ties stay ties.
    """
    (_, own, u, u_0), (_, others, v, v_0) = one, other
    kinds = [r[:, None] for r in own.T] + [r[None, :] for r in others.T]

    def direct() -> list[Array]:
        distances = jnp.sqrt(_squares(u, v))
        return [distances <= radius for radius in kinds]

    if not fast:
        return direct()
    squares, error = _squares_by_products(u_0, v_0)
    limits = [jnp.where(radius < 0, -jnp.inf, radius**2) for radius in kinds]
    rounding = 4 * jnp.finfo(u.dtype).eps
    doubtful = [(jnp.abs(squares - each) <= error + rounding * squares).any() for each in limits]
    return jax.lax.cond(
        jnp.stack(doubtful).any(), direct, lambda: [squares <= each for each in limits]
    )


def _squares(x: Float[Array, "a d"], y: Float[Array, "b d"]) -> Float[Array, "a b"]:
    """|x_i - y_j|^2, feature by feature.

    |x|^2 + |y|^2 - 2 x.y would lose the distance of near neighbours and give copies one other than
    0. The order of the sum is the same for all pairs, however they are cut into blocks, so that
    ties stay ties.
    """

    def add(squares: Array, feature: tuple[Array, Array]) -> tuple[Array, None]:
        first, second = feature
        return squares + (first[:, None] - second[None, :]) ** 2, None

    squares = jnp.zeros((len(x), len(y)), x.dtype)
    return jax.lax.scan(add, squares, (x.T, y.T), unroll=16)[0]


def _squares_of_pairs(x: Float[Array, "a d"], y: Float[Array, "a d"]) -> Float[Array, " a"]:
    """|x_i - y_i|^2, summed in the order of `_squares`."""

    def add(squares: Array, feature: tuple[Array, Array]) -> tuple[Array, None]:
        first, second = feature
        return squares + (first - second) ** 2, None

    return jax.lax.scan(add, jnp.zeros(len(x), x.dtype), (x.T, y.T), unroll=16)[0]


def _squares_by_products(
    x: Float[Array, "a d"], y: Float[Array, "b d"]
) -> tuple[Float[Array, "a b"], Float[Array, "a b"]]:
    """|x_i|^2 + |y_j|^2 - 2 x_i.y_j, and by how much it may differ from `_squares`.

    A sum of d products, in any order, is off by at most d eps/2 sum_k |x_k y_k| (Higham 2002,
    Accuracy and Stability of Numerical Algorithms, section 3.1), here four times that and more.

    Args:
        x, y: less one and the same center: the smaller they are, the smaller is the error.
    """
    sizes = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)[None, :]
    error = 4 * (x.shape[1] + 8) * jnp.finfo(x.dtype).eps * sizes
    return sizes - 2 * jnp.matmul(x, y.T, precision="highest"), error


def _blocks(x: Array, block: int, fill: int) -> Array:
    """x of shape (n, ...) as (blocks, block, ...), the last filled up."""
    widths = ((0, -len(x) % block), *((0, 0) for _ in x.shape[1:]))
    padded = jnp.pad(x, widths, constant_values=fill)
    return padded.reshape(len(padded) // block, block, *x.shape[1:])


def _share(counts: Int[Array, " n"], like: Array) -> Float[Array, ""]:
    """The share of counts above 0, in the precision of `like`."""
    return (counts > 0).astype(like.dtype).mean()
