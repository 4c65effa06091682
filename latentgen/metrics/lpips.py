"""LPIPS, a distance of two images by the activations of a network trained on ImageNet."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def lpips(
    x: Sequence[Float[Array, "n _ _ _"]],
    y: Sequence[Float[Array, "n _ _ _"]],
    weights: Sequence[Float[Array | np.ndarray, " _"]],
) -> Float[Array, " n"]:
    """Compute d(x, y) = sum_l mean_hw w_l . (f_l(x) - f_l(y))^2, each f_l of unit norm.

    Args:
        x: activations of the first images, a layer each.
        y: activations of the second images.
        weights: of the squared difference in each channel, a layer each, none below 0; the w_l
            of the paper's equation are their roots.

    Returns:
        The distance of each pair, without a unit; 0 for equal images.

    Reference: Zhang et al. 2018, arXiv:1801.03924, eq. 1.
    """
    layers = zip(x, y, weights, strict=True)
    return jnp.stack(
        [
            ((_unit(a) - _unit(b)) ** 2 * w[None, None, None]).sum(axis=-1).mean(axis=(1, 2))
            for a, b, w in layers
        ]
    ).sum(axis=0)


def _unit(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Divide by the norm over channels; 0 stays 0, and has a gradient."""
    return x / jnp.sqrt((x**2).sum(axis=-1, keepdims=True) + 1e-20)
