"""The mapping network of StyleGAN2: codes z, and classes, to styles w."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput, positive
from latentgen.core.types import Net, PyTree
from latentgen.networks.net import from_linen
from latentgen.networks.stylegan2.layers import Dense, normalized


class Mapping(nn.Module):
    """Dense layers with leaky ReLU on the normalized code and the normalized embedded class.

    classes: number of columns at the end of the input that are the one-hot class
    rate: learning rate of the layers relative to other networks
    decay: decay of the moving average of w, in the collection 'average'; None: no average
    """

    classes: int
    width: int
    layers: int
    rate: float
    decay: float | None

    @nn.compact
    def __call__(self, z: Float[Array, "n d"], train: bool) -> Float[Array, "n width"]:
        z = z.astype(jnp.promote_types(z.dtype, jnp.float32))
        code, one_hot = z[:, : z.shape[1] - self.classes], z[:, z.shape[1] - self.classes :]
        parts = [normalized(code)] if code.shape[1] else []
        if self.classes:
            parts.append(normalized(Dense(self.width, name="embedding")(one_hot)))
        w = jnp.concatenate(parts, axis=1)
        for i in range(self.layers):
            w = Dense(self.width, self.rate, active=True, name=f"dense_{i}")(w)
        if self.decay is not None:
            mean = self.variable("average", "w", lambda: jnp.zeros(self.width))
            if train:
                now = jax.lax.stop_gradient(w).mean(axis=0)
                mean.value = now + self.decay * (mean.value - now)
        return w


def mean_style(stats: PyTree) -> Float[Array, " width"]:
    """The moving average of w in the stats of a mapping network."""
    average: Array = stats["average"]["w"]
    return average


def mapping(
    *,
    width: int = 512,
    layers: int = 8,
    rate: float = 0.01,
    average: float = 0.995,
    classes: int = 0,
) -> Net:
    """A network from codes with the one-hot class appended, (n, d + classes), to w, (n, width).

    It computes in float32. In training a moving average of w is updated with the mean of w over the
    batch; `mean_style` returns it.

    Args:
        width: of w and of all layers.
        rate: learning rate of its layers relative to other networks.
        average: decay of the moving average of w.

    Reference: Karras et al. 2019, section 2 (arXiv:1812.04948).

    Raises:
        BadInput: a number is out of range.
    """
    positive("width", width)
    positive("layers", layers)
    if isinstance(rate, int | float) and not rate > 0:
        raise BadInput(f"rate={rate} must be above 0.")
    if isinstance(average, int | float) and not 0 <= average <= 1:
        raise BadInput(f"average={average} must be from 0 to 1.")
    return from_linen(Mapping(classes, width, layers, rate, average))
