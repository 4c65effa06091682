"""Fully connected networks, and how any hidden layer goes on: norm, activation, dropout."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput, choose, positive
from latentgen.core.types import Net, PyTree
from latentgen.networks.net import from_linen, keep_features
from latentgen.networks.norms import NORMS, linear, norm

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": nn.relu,
    "leaky_relu": lambda x: nn.leaky_relu(x, 0.2),
    "elu": nn.elu,
    "tanh": jnp.tanh,
    "softplus": nn.softplus,
    "gelu": nn.gelu,
    "swish": nn.swish,
    "glu": nn.glu,  # x sigmoid(y), from layers twice as wide (arXiv:1612.08083)
    # max_k x_k, from layers five times as wide (arXiv:1302.4389)
    "maxout": lambda x: x.reshape(*x.shape[:-1], WIDTHS["maxout"], -1).max(axis=-2),
}

WIDTHS: dict[str, int] = {
    "glu": 2,
    "maxout": 5,  # pieces, as in PacGAN's discriminator (arXiv:1712.04086)
}
"""How often wider than its outcome the layer before an activation is, where not once."""

INITS: dict[str, Callable[..., Array]] = {
    "lecun": nn.initializers.lecun_normal(),
    "he": nn.initializers.he_normal(),
    "glorot": nn.initializers.glorot_uniform(),
    "orthogonal": nn.initializers.orthogonal(),  # arXiv:1312.6120; the kernel as a matrix
    "normal02": nn.initializers.normal(0.02),  # DCGAN, arXiv:1511.06434, section 4
    # N(0, 1 / fan-out), biases too, and N(0, 1) in the last layer: see below
    "titsias": nn.initializers.variance_scaling(1.0, "fan_out", "normal"),
}
LAST_INITS: dict[str, Callable[..., Array]] = {
    "titsias": nn.initializers.normal(1.0),  # the code of Titsias & Ruiz 2019, arXiv:1808.02078
}
"""Initializers of the last layer's kernel, where it has not that of the others."""


def _as_wide_as_kernels(key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
    return nn.initializers.normal(shape[-1] ** -0.5)(key, shape, dtype)


BIASES: dict[str, Callable[..., Array]] = {"titsias": _as_wide_as_kernels}
LAST_BIASES: dict[str, Callable[..., Array]] = {"titsias": nn.initializers.normal(1.0)}
"""Initializers of biases, where they do not begin at 0."""


class Style(NamedTuple):
    """Options that all hidden layers share, by their names in ACTIVATIONS, NORMS and INITS."""

    activation: str
    norm: str
    dropout: float
    init: str
    dtype: DTypeLike

    def width(self, units: int) -> int:
        """Return the width of a linear layer whose activation has `units` outputs."""
        return WIDTHS.get(self.activation, 1) * units

    @property
    def bias(self) -> bool:
        """True if a normalized layer has a bias; batch norm would subtract it again."""
        return self.norm != "batch"

    @property
    def kernel(self) -> Callable[..., Array]:
        """The initializer of kernels."""
        return INITS[self.init]

    @property
    def biases(self) -> Callable[..., Array]:
        """The initializer of biases."""
        return BIASES.get(self.init, nn.initializers.zeros)

    @property
    def last_biases(self) -> Callable[..., Array]:
        """The initializer of the last layer's biases."""
        return LAST_BIASES.get(self.init, nn.initializers.zeros)

    @property
    def last_kernel(self) -> Callable[..., Array]:
        """The initializer of the last layer's kernel."""
        return LAST_INITS.get(self.init, INITS[self.init])

    @property
    def linear(self) -> DTypeLike:
        """The dtype of the last layer: float32, whatever narrower type computes the rest."""
        return jnp.promote_types(self.dtype, jnp.float32)


def style(activation: str, norm: str, dropout: float, init: str, dtype: DTypeLike) -> Style:
    """The checked options of hidden layers.

    Raises:
        BadInput: a name is unknown, or `dropout` is not in [0, 1).
    """
    choose("activation", activation, ACTIVATIONS)
    choose("norm", norm, NORMS)
    choose("init", init, INITS)
    if not 0 <= dropout < 1:
        raise BadInput(f"dropout={dropout} must be at least 0 and below 1.")
    return Style(activation, norm, dropout, init, dtype)


def sizes(key: str, values: Sequence[int]) -> tuple[int, ...]:
    """`values` as a tuple.

    Raises:
        BadInput: one of them is below 1.
    """
    return tuple(positive(key, value) for value in values)


def finish(
    x: Float[Array, "n *shape"], style: Style, train: bool, normalized: bool = True
) -> Float[Array, "n *narrower"]:
    """Apply norm, activation and dropout after a hidden layer; call it inside a linen module."""
    layer = norm(style.norm, style.dtype) if normalized else None
    x = x if layer is None else layer(x, train)
    x = ACTIVATIONS[style.activation](x)
    return nn.Dropout(style.dropout, deterministic=not train)(x)


class Hidden(nn.Module):
    """A stack of fully connected hidden layers."""

    widths: tuple[int, ...]
    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], train: bool) -> Float[Array, "n e"]:
        for width in self.widths:
            dense = nn.Dense(
                self.style.width(width),
                use_bias=self.style.bias,
                dtype=self.style.dtype,
                kernel_init=self.style.kernel,
                bias_init=self.style.biases,
            )
            x = finish(linear(dense, self.style.norm, x, train), self.style, train)
        return x


class Linear(nn.Module):
    """The last layer: no norm, no activation, float32."""

    outputs: int
    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], train: bool) -> Float[Array, "n {self.outputs}"]:
        how = self.style
        dense = nn.Dense(
            self.outputs,
            dtype=how.linear,
            kernel_init=how.last_kernel,
            bias_init=how.last_biases,
        )
        return linear(dense, how.norm, keep_features(self, x), train)


class MLP(nn.Module):
    """Anything of shape (n, ...) -> hidden layers -> (n, *shape)."""

    hidden: tuple[int, ...]
    shape: tuple[int, ...]
    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "n *inputs"], train: bool) -> Float[Array, "n *outputs"]:
        x = Hidden(self.hidden, self.style)(x.reshape(x.shape[0], -1), train)
        x = Linear(math.prod(self.shape), self.style)(x, train)
        return x.reshape(x.shape[0], *self.shape)


class Twin(nn.Module):
    """Two stacks that share nothing; the outputs of the one, then those of the other."""

    hidden: tuple[int, ...]
    outputs: int
    style: Style

    @nn.compact
    def __call__(self, x: Float[Array, "n *inputs"], train: bool) -> Float[Array, "n outputs"]:
        halves = [MLP(self.hidden, (self.outputs // 2,), self.style)(x, train) for _ in range(2)]
        return jnp.concatenate(halves, axis=1)


def encoder(
    hidden: Sequence[int] = (400,),
    *,
    outputs: int,
    activation: str = "relu",
    norm: str = "none",
    dropout: float = 0.0,
    init: str = "lecun",
    dtype: DTypeLike = jnp.float32,
) -> Net:
    """A network from x of shape (n, *shape) to (n, outputs).

    Every hidden layer is followed by norm, activation and dropout; the last layer is linear and
    float32, as are all parameters.

    Raises:
        BadInput: an unknown name, or a size below 1.
    """
    return decoder((positive("outputs", outputs),), hidden, activation, norm, dropout, init, dtype)


def decoder(
    shape: Sequence[int],
    hidden: Sequence[int] = (400,),
    activation: str = "relu",
    norm: str = "none",
    dropout: float = 0.0,
    init: str = "lecun",
    dtype: DTypeLike = jnp.float32,
) -> Net:
    """A network from codes (n, d) to (n, *shape), mirroring `encoder`.

    Raises:
        BadInput: an unknown name, or a size below 1.
    """
    how = style(activation, norm, dropout, init, dtype)
    return from_linen(MLP(sizes("hidden", hidden), sizes("shape", shape), how))


def affine_params(kernel: Float[Array, "i o"], bias: Float[Array, " o"]) -> PyTree:
    """The parameters with which an MLP without hidden layers is x -> x kernel + bias."""
    return {"Linear_0": {"Dense_0": {"kernel": kernel, "bias": bias}}}


def twin_encoder(
    hidden: Sequence[int] = (400,),
    *,
    outputs: int,
    activation: str = "relu",
    norm: str = "none",
    dropout: float = 0.0,
    init: str = "lecun",
    dtype: DTypeLike = jnp.float32,
) -> Net:
    """Two networks in one, each giving half of the outputs: one for the mean, one for the std.

    Reference: the encoder of Titsias & Ruiz 2019 (arXiv:1808.02078).

    Raises:
        BadInput: an unknown name, a size below 1, or an odd number of outputs.
    """
    if outputs % 2:
        raise BadInput(f"outputs={outputs} must be even for two networks.")
    how = style(activation, norm, dropout, init, dtype)
    return from_linen(Twin(sizes("hidden", hidden), positive("outputs", outputs), how))
