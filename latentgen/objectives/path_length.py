"""Path length regularization: steps of equal length in w should change images equally.

Reference: Karras et al. 2020, section 3.2 (arXiv:1912.04958).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

DECAY = 0.01
"""Weight of the new lengths in their moving average: `pl_decay` in the authors' code."""


def lengths_of(
    draw: Callable[[Float[Array, "n levels d"]], Float[Array, "n h w c"]],
    w: Float[Array, "n levels d"],
    noise: Float[Array, "n h w c"],
) -> Float[Array, " n"]:
    """|J^T y| of each example: J the derivative of the image in w, y the noise.

    The squared norm is a sum over the coordinates of w and a mean over the levels.

    Args:
        draw: styles -> images; image i depends on w_i only.
        noise: y, from N(0, I / (h w)).
    """
    product = jax.grad(lambda w: (draw(w) * noise).sum())(w)  # J^T y
    return jnp.sqrt((product**2).sum(axis=2).mean(axis=1))


def penalized(
    lengths: Float[Array, " n"], average: Float[Array, ""]
) -> tuple[Float[Array, " n"], Float[Array, ""]]:
    """Return the penalty (length - a)^2 of each example, and the new moving average a.

    a <- a + `DECAY` (mean length - a) comes first, and the penalty's gradient includes that of a in
    the lengths, as in the authors' code (NVlabs/stylegan2-ada-pytorch d72cc7d, training/loss.py).

    Args:
        average: a before this update.
    """
    moved = average + DECAY * (lengths.mean() - average)
    return (lengths - moved) ** 2, jax.lax.stop_gradient(moved)
