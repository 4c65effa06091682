"""MADE: a network whose outputs for coordinate i see only the coordinates before i."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput, choose
from latentgen.core.types import Net
from latentgen.networks.mlp import ACTIVATIONS, WIDTHS, sizes
from latentgen.networks.net import from_linen

SMALL = nn.initializers.variance_scaling(1e-4, "fan_in", "normal")  # lecun / 100


class MaskedDense(nn.Module):
    """y = x (kernel * mask) + context matrix + bias, the mask 1 where a unit may see another.

    The degree of a unit is how many of the first coordinates it may depend on; that of input i
    (from 0) is i + 1. A unit sees those of its own degree or less.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    kernel_init: Callable[..., Array]

    @nn.compact
    def __call__(self, x: Float[Array, "n i"], context: Float[Array, "n c"]) -> Float[Array, "n o"]:
        before, after = (jnp.asarray(np.array(each)) for each in (self.before, self.after))
        mask = before[:, None] <= after[None]  # a tracer: no array on the host, however large
        kernel = self.param("kernel", self.kernel_init, mask.shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, mask.shape[1:], jnp.float32)
        y = x @ (kernel * mask.astype(jnp.float32)) + bias[None]
        if context.shape[1] == 0:
            return y
        shape = (context.shape[1], mask.shape[1])
        return y + context @ self.param("context", self.kernel_init, shape, jnp.float32)


class MADE(nn.Module):
    """Masked hidden layers, then two outputs for each coordinate, all of which see the context."""

    hidden: tuple[int, ...]
    activation: str

    @nn.compact
    def __call__(
        self, z: Float[Array, "n d"], context: Float[Array, "n c"], train: bool
    ) -> Float[Array, "n 2*d"]:
        del train
        dim = z.shape[1]
        x, degrees = z, tuple(range(1, dim + 1))
        for width in self.hidden:
            # 0 ... dim - 1, as evenly as the width allows. Units of degree 0 see only the context,
            # and are all that the first coordinate's outputs see.
            following = tuple(unit * dim // width for unit in range(width))
            pieces = WIDTHS.get(self.activation, 1)  # those of one unit share its degree
            layer = MaskedDense(degrees, pieces * following, nn.initializers.lecun_normal())
            x = ACTIVATIONS[self.activation](layer(x, context))
            degrees = following
        # Outputs i and d + i have degree i: coordinate i itself they must not see.
        return MaskedDense(degrees, 2 * tuple(range(dim)), SMALL)(x, context)


def made(hidden: Sequence[int] = (64,), activation: str = "elu") -> Net:
    """A network from z (n, d) and a context (n, c), c >= 0, to (n, 2d), autoregressive in z.

    Outputs i and d + i depend on z[:, :i] and on all of the context, and start near 0. The
    parameters are float32.

    Args:
        hidden: widths of the hidden layers, at least one. A width of d or more serves every
            coordinate.
        activation: see ACTIVATIONS.

    Raises:
        BadInput: no hidden layer, a width below 1, or an unknown activation.

    Reference: Germain et al. 2015, equations 12 and 13 (arXiv:1502.03509).
    """
    choose("activation", activation, ACTIVATIONS)
    if not hidden:
        raise BadInput("hidden=() must name at least one width.")
    return from_linen(MADE(sizes("hidden", hidden), activation))
