"""Class labels as inputs of networks."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from latentgen.core.types import Size


def concat_label(
    x: Float[Array, "n *shape"], label: Int[Array, " n"], classes: int
) -> Float[Array, "n *wider"]:
    """x with the one-hot class appended to its last axis, in every pixel of an image.

    classes: 0 leaves x as it is.
    """
    if not classes:
        return x
    hot = jax.nn.one_hot(label, classes, dtype=x.dtype)
    hot = hot.reshape(x.shape[0], *(1,) * (x.ndim - 2), classes)
    return jnp.concatenate([x, jnp.broadcast_to(hot, (*x.shape[:-1], classes))], axis=-1)


def cycle_labels(n: Size, classes: int) -> Int[Array, " n"]:
    """Return n labels 0, 1, ..., classes - 1, 0, ...: the default classes of samples."""
    return jnp.arange(n) % max(classes, 1)
