"""Path length regularization: a step in w shall move the image by a fixed length.

Reference: Karras et al. 2020, section 3.2 (arXiv:1912.04958).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

DECAY = 0.01
"""Share of the new lengths in their moving average."""


def lengths_of(
    draw: Callable[[Float[Array, "n levels d"]], Float[Array, "n h w c"]],
    w: Float[Array, "n levels d"],
    noise: Float[Array, "n h w c"],
) -> Float[Array, " n"]:
    """|J^T y| of each example: J the derivative of the image in w, y the noise.

    The square is summed over the coordinates of w and averaged over the levels.

    Args:
        draw: styles -> images; image i depends on w_i only.
        noise: y, from N(0, I / (h w)).
    """
    slope = jax.grad(lambda w: (draw(w) * noise).sum())(w)
    return jnp.sqrt((slope**2).sum(axis=2).mean(axis=1))


def penalized(
    lengths: Float[Array, " n"], average: Float[Array, ""]
) -> tuple[Float[Array, " n"], Float[Array, ""]]:
    """Return (length - a)^2 and the average a, moved towards the mean of these lengths.

    a <- a + `DECAY` (mean length - a) first; it has a gradient in the lengths, as theirs
    (NVlabs/stylegan2-ada-pytorch d72cc7d, training/loss.py).

    Args:
        average: a before.
    """
    moved = average + DECAY * (lengths.mean() - average)
    return (lengths - moved) ** 2, jax.lax.stop_gradient(moved)
