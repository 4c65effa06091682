"""Standard errors of values that are no means: by leaving out a part of the examples at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from latentgen.core.types import PyTree


def jackknife_error(left_out: Float[Array, "g *values"]) -> Float[Array, "*values"]:
    """((g - 1)/g sum_i (v_i - mean)^2)^(1/2), v_i the value of all groups but the i-th.

    The groups are of one size. For a mean of n values in n groups it is s / sqrt(n).

    Reference: Tukey 1958, Bias and confidence in not-quite large samples; Efron & Tibshirani 1993,
    An Introduction to the Bootstrap, section 11.
    """
    g = len(left_out)
    return jnp.sqrt((g - 1) * left_out.var(axis=0))


def groups_left_out(key: Key[Array, ""], n: int, groups: int) -> list[Int[np.ndarray, " kept"]]:
    """For each of the groups, the examples that are not in it.

    Examples are dealt to groups at random, floor(n / groups) to each; what is left of them is in
    none and always there.
    """
    order, size = np.asarray(jax.random.permutation(key, n)), n // groups
    return [np.sort(np.delete(order, np.s_[g * size : (g + 1) * size])) for g in range(groups)]


def group_numbers(key: Key[Array, ""], n: int, groups: int) -> Int[np.ndarray, " n"]:
    """Return the group of each example, dealt as in `summaries`; `groups` for those in none."""
    order, each = np.asarray(jax.random.permutation(key, n)), n // groups if groups else 0
    found = np.full(n, groups)
    found[order[: each * groups]] = np.repeat(np.arange(groups), each)
    return found


def summaries(
    make: Callable[[Array], PyTree], x: Float[Array, "n d"], key: Key[Array, ""], groups: int
) -> PyTree:
    """`make` of each group's examples and, last, of those in none; leaves lead with groups + 1.

    Args:
        groups: dealt as in `groups_left_out`; 0: all are in none.
    """
    each = len(x) // groups if groups else 0
    order = jax.random.permutation(key, len(x))
    dealt = x[order[: each * groups]].reshape(groups, each, x.shape[1])
    found = [make(part) for part in (*dealt, x[order[each * groups :]])]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)


def fold(
    merge: Callable[[PyTree, PyTree], PyTree], of_groups: PyTree, keep: Float[Array, " g"]
) -> PyTree:
    """The groups that are kept (1), merged; those left out (0) count for nothing.

    Args:
        merge: joins two of `of_groups`; zeros join as nothing.
    """

    def add(total: PyTree, of: tuple[PyTree, Array]) -> tuple[PyTree, None]:
        found, kept = of
        mine = jax.tree.map(lambda a: jnp.where(kept > 0, a, jnp.zeros_like(a)), found)
        return merge(total, mine), None

    none = jax.tree.map(lambda a: jnp.zeros_like(a[0]), of_groups)
    return jax.lax.scan(add, none, (of_groups, keep))[0]
