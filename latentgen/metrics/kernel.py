"""The kernel distance of two sets of features: squared maximum mean discrepancy, cubic kernel."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from latentgen.core.errors import BadInput


def kernel_distance(
    real: Float[Array, "n d"], synthetic: Float[Array, "m d"], block: int = 1000
) -> Float[Array, ""]:
    """mean_{i!=j} k(x_i, x_j) + mean_{i!=j} k(y_i, y_j) - 2 mean_ij k(x_i, y_j), all pairs.

    k(x, y) = (x.y / d + 1)^3. Unbiased, and so below 0 now and then where both are alike. Memory
    holds `block` x `block` kernel values at a time; the value does not depend on it.

    Raises:
        BadInput: fewer than 2 examples on a side, or block < 1.

    Reference: Gretton et al. 2012, A kernel two-sample test (the estimate); Binkowski et al. 2018,
    arXiv:1801.01401 (the kernel).
    """
    _at_least("block", block, 1)
    for key, x in (("real", real), ("synthetic", synthetic)):
        _at_least(f"{key}.n", len(x), 2)
    n, m = len(real), len(synthetic)
    # Any f(x) + f(y) may be taken from the kernel: it cancels in the sum of the three means. With
    #     k(x, y) - k(x, c) - k(c, y) + k(c, c),
    # c the mean of all, less is left to cancel: the means of k itself are larger than their
    # difference by orders of magnitude, and float32 would lose it. `_pairs` writes it without k.
    center = (real.sum(axis=0) + synthetic.sum(axis=0)) / (n + m)
    x, y = real - center[None, :], synthetic - center[None, :]
    within_x = _pairs(x, x, center, block, within=True) / (n - 1)
    within_y = _pairs(y, y, center, block, within=True) / (m - 1)
    return within_x + within_y - 2 * _pairs(x, y, center, block, within=False) / m


def kernel_distance_of_subsets(
    key: Key[Array, ""],
    real: Float[Array, "n d"],
    synthetic: Float[Array, "m d"],
    subsets: int = 100,
    size: int = 1000,
) -> Float[Array, " subsets"]:
    """The kernel distance of random subsets of both sides, each without repetition.

    Their mean and standard deviation are what papers report. The standard deviation is that of
    an estimate from `size` examples on a side: larger than that of `kernel_distance` on all.

    Raises:
        BadInput: subsets < 1, size < 2, or a side of fewer than `size` examples.

    Reference: Binkowski et al. 2018, arXiv:1801.01401, and the code that came with it.
    """
    _at_least("subsets", subsets, 1)
    _at_least("size", size, 2)
    for name, x in (("real", real), ("synthetic", synthetic)):
        _at_least(f"{name}.n", len(x), size)

    def one(key: Key[Array, ""]) -> Float[Array, ""]:
        first, second = jax.random.split(key)
        x = real[jax.random.permutation(first, len(real))[:size]]
        y = synthetic[jax.random.permutation(second, len(synthetic))[:size]]
        return kernel_distance(x, y)

    return jax.lax.map(one, jax.random.split(key, subsets))


def _pairs(
    x: Float[Array, "n d"],
    y: Float[Array, "m d"],
    center: Float[Array, " d"],
    block: int,
    within: bool,
) -> Float[Array, ""]:
    """1/n sum_ij of the centered kernel; `within` one set, without i = j.

    For x = c + u and y = c + v, with p = u.c/d, q = v.c/d, r = u.v/d and w = c.c/d + 1 + p + q,

        k(x, y) - k(x, c) - k(c, y) + k(c, c) = r (3 w^2 + 3 w r + r^2) + 3 p q (w + c.c/d + 1)

    Args:
        x: u_1, ..., u_n: features less the center.
        y: v_1, ..., v_m, the same array as x if `within`.
    """
    d = len(center)
    unit = (center**2).sum() / d + 1
    # Rows of zeros at the end add nothing: p = r = 0 there.
    block_x, block_y = min(block, len(x)), min(block, len(y))

    def rows(i: Array, u: Float[Array, "a d"]) -> Float[Array, ""]:
        p = jnp.matmul(u, center, precision="highest") / d

        def columns(j: Array, v: Float[Array, "b d"]) -> Float[Array, ""]:
            q = jnp.matmul(v, center, precision="highest") / d
            r = jnp.matmul(u, v.T, precision="highest") / d
            w = unit + p[:, None] + q[None, :]
            k = r * (3 * w**2 + 3 * w * r + r**2) + 3 * p[:, None] * q[None, :] * (w + unit)
            if within:
                row = i * block_x + jnp.arange(block_x)
                column = j * block_y + jnp.arange(block_y)
                k = jnp.where(row[:, None] == column[None, :], 0, k)
            return k.sum(axis=1).sum()

        return _map(columns, y, block_y).sum()

    return _map(rows, x, block_x).sum() / len(x)


def _map(
    f: Callable[[Array, Array], Array], x: Float[Array, "n d"], block: int
) -> Float[Array, " blocks"]:
    """f(index, block) of each block, the last filled up with rows of zeros."""
    blocks = jnp.pad(x, ((0, -len(x) % block), (0, 0))).reshape(-1, block, x.shape[1])
    return jax.lax.map(lambda both: f(*both), (jnp.arange(len(blocks)), blocks))


def _at_least(key: str, value: int, least: int) -> None:
    if value < least:
        raise BadInput(f"{key}={value} must be at least {least}.")
