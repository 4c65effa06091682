"""Self-attention over the pixels of an image, as GANs have it."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput
from latentgen.networks import convolution
from latentgen.networks.conv import Conv
from latentgen.networks.norms import linear


class SelfAttention(nn.Module):
    """y = x + gamma o(softmax(q(x) k(x)^T) v(x)), gamma a parameter that starts at 0.

    q, k, v and o are 1x1 convolutions without bias, to c/8, c/8, c/2 and c channels. Keys and
    values are the largest of 2x2 pixels, each channel on its own. The softmax is float32.

    kernel_init: initializer of the kernels.
    norm: of the kernels: 'none' or 'spectral'.

    Reference: Zhang et al. 2019, arXiv:1805.08318, with the widths, the max-pooling and the last
    convolution of its authors' code, which BigGAN (arXiv:1809.11096) shares.

    Raises:
        BadInput: fewer than 8 channels, or sides that do not halve.
    """

    dtype: DTypeLike
    kernel_init: Callable[..., Array]
    norm: str = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n h w c"]:
        n, height, width, channels = x.shape
        if channels < 8 or height % 2 or width % 2:
            raise BadInput(
                f"self-attention does not fit {height}x{width} pixels of {channels} channels: it "
                "needs even sides and at least 8 channels."
            )

        def conv(name: str, features: int, x: Array) -> Array:
            layer = Conv(
                features, convolution.conv, self.kernel_init, False, self.dtype, 1, 1, name=name
            )
            return linear(layer, self.norm, x, train)

        queries = conv("query", channels // 8, x).reshape(n, height * width, -1)
        keys = largest(conv("key", channels // 8, x)).reshape(n, height * width // 4, -1)
        values = largest(conv("value", channels // 2, x)).reshape(n, height * width // 4, -1)
        logits = jnp.einsum("nqc,nkc->nqk", queries, keys)
        weights = jax.nn.softmax(logits.astype(jnp.promote_types(self.dtype, jnp.float32)))
        mixed = jnp.einsum("nqk,nkc->nqc", weights.astype(self.dtype), values)
        mixed = conv("output", channels, mixed.reshape(n, height, width, -1))
        gamma = self.param("gamma", nn.initializers.zeros, (), jnp.float32)
        return x + gamma.astype(self.dtype) * mixed


def largest(x: Float[Array, "n h w c"]) -> Float[Array, "n h//2 w//2 c"]:
    """The largest of 2x2 pixels, each channel on its own."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))
