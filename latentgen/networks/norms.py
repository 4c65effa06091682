"""Normalization of hidden layers: over the batch, over the layer, of their kernels, or none."""

from collections.abc import Callable

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from latentgen.core.errors import choose

MOMENTUM = 0.9  # as in DCGAN: averages over some ten minibatches, near to a generator that moves
EPSILON = 1e-5


class BatchNorm(nn.Module):
    """y = scale (x - mean) / sqrt(var + eps) + bias, per feature over the batch and the image.

    In training mean and (biased) variance are the minibatch's, and the averages in the collection
    'batch_stats' move: average <- .9 average + .1 batch. In evaluation they are the averages.

    Reference: Ioffe & Szegedy 2015, arXiv:1502.03167, algorithm 1.
    """

    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "n *shape"], train: bool) -> Float[Array, "n *shape"]:
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=MOMENTUM,
            epsilon=EPSILON,
            dtype=self.dtype,
            use_fast_variance=False,  # E x^2 - (E x)^2 cancels where the mean is large
        )(x)


class LayerNorm(nn.Module):
    """y = scale (x - mean) / sqrt(var + eps) + bias, per example over all hidden units.

    On images mean and variance are over height, width and channels; scale and bias are per
    channel.

    Reference: Ba et al. 2016, arXiv:1607.06450, eq. 3.
    """

    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "n *shape"], train: bool) -> Float[Array, "n *shape"]:
        return nn.LayerNorm(
            epsilon=EPSILON,
            dtype=self.dtype,
            reduction_axes=tuple(range(1, x.ndim)),
            feature_axes=-1,
            use_fast_variance=False,
        )(x)


NORMS: dict[str, Callable[[DTypeLike], nn.Module] | None] = {
    "none": None,
    "batch": BatchNorm,
    "layer": LayerNorm,
    "spectral": None,  # normalizes what comes before: see `linear`
}


def norm(name: str, dtype: DTypeLike) -> nn.Module | None:
    """The normalization called `name`, or None where nothing follows a layer.

    Raises:
        BadInput: the name is unknown.
    """
    made = choose("norm", name, NORMS)
    return made and made(dtype)


def linear(
    layer: nn.Module, name: str, x: Float[Array, "n *shape"], train: bool
) -> Float[Array, "n *wider"]:
    """layer(x); under the norm 'spectral' with layer's kernel over its largest singular value.

    W / (v^T W u), where W is the kernel as a matrix with one column for each output,
    v = W u / |W u|, and then u = W^T v / |W^T v|: one power iteration, from the u kept in the
    collection 'batch_stats', where training keeps the new one and evaluation the old one. u and v
    are constants to gradients. Biases stay as they are. Called inside a linen module.

    Args:
        layer: a linen module, dense or a convolution.
        name: of the norm.

    Reference: Miyato et al. 2018, algorithm 1 (arXiv:1802.05957).
    """
    if name != "spectral":
        return layer(x)
    return nn.SpectralNorm(layer)(x, update_stats=train)
