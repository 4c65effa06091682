"""The networks of spectrally normalized GANs, and the residual blocks that BigGAN shares."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from latentgen.core.errors import positive
from latentgen.core.types import Net
from latentgen.networks import convolution
from latentgen.networks.conv import Conv, halvings, widths
from latentgen.networks.mlp import sizes
from latentgen.networks.net import from_linen, keep_features
from latentgen.networks.norms import ConditionalBatchNorm, linear
from latentgen.networks.resnet import residual

Initializer = Callable[..., Array]
GLOROT = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
WIDE_GLOROT = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")  # sqrt(2) times as wide
HALVINGS, KEEPING = 2, 2  # blocks of the discriminator that halve the image, and that keep its size


class Layers(NamedTuple):
    """Options that all layers of a network share.

    norm: norm of kernels, 'none' or 'spectral'
    inner: initializer of the 3x3 kernels of blocks
    init: initializer of all other kernels
    gains: initializer of the kernels of conditional batch norm
    gain_norm: norm of the kernels of conditional batch norm
    uniform_biases: True: biases start at U(-1, 1) / sqrt(fan-in), as in PyTorch; else at 0
    epsilon: of batch norm
    """

    norm: str
    inner: Initializer
    init: Initializer
    gains: Initializer
    gain_norm: str
    uniform_biases: bool
    epsilon: float
    dtype: DTypeLike

    @property
    def wide(self) -> DTypeLike:
        """The dtype of first and last layers: float32, even if the other layers are narrower."""
        return jnp.promote_types(self.dtype, jnp.float32)

    def biases(self, fan_in: int) -> Initializer:
        """The initializer of the biases of a layer with `fan_in` inputs for each output."""
        return uniform(fan_in**-0.5) if self.uniform_biases else nn.initializers.zeros

    def conv(
        self, x: Float[Array, "n h w i"], features: int, size: int, train: bool, init: Initializer
    ) -> Float[Array, "n h w {features}"]:
        """A convolution with bias; called inside a linen module."""
        bias = self.biases(size * size * x.shape[-1])
        layer = Conv(features, convolution.conv, init, True, self.dtype, size, 1, bias_init=bias)
        return linear(layer, self.norm, x, train)

    def dense(
        self, name: str, x: Float[Array, "n i"], features: int, train: bool, bias: bool = True
    ) -> Float[Array, "n {features}"]:
        """A linear layer; called inside a linen module."""
        layer = nn.Dense(
            features,
            use_bias=bias,
            dtype=self.wide,
            kernel_init=self.init,
            bias_init=self.biases(x.shape[-1]),
            name=name,
        )
        return linear(layer, self.norm, x, train)

    def batch_norm(
        self, x: Float[Array, "n h w c"], c: Float[Array, "n d"] | None, train: bool
    ) -> Float[Array, "n h w c"]:
        """Conditional batch norm and ReLU; called inside a linen module."""
        layer = ConditionalBatchNorm(self.dtype, self.epsilon, self.gains, self.gain_norm)
        return nn.relu(layer(x, c, train))


def uniform(limit: float) -> Initializer:
    """An initializer of U(-limit, limit)."""

    def init(key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


class GeneratorBlock(nn.Module):
    """`resnet.residual` that doubles the image, with conditional batch norm and ReLU."""

    features: int
    layers: Layers

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w i"], c: Float[Array, "n d"] | None, train: bool
    ) -> Float[Array, "n 2*h 2*w o"]:
        def norm(x: Array) -> Array:
            return self.layers.batch_norm(x, c, train)

        conv = block_conv(self.layers, self.features, train)
        return residual(x, self.features, "double", norm, norm, conv)


class DiscriminatorBlock(nn.Module):
    """`resnet.residual` with ReLU and without normalization of activations.

    data: True: x is data, not the output of another block, and no ReLU precedes the block.
    """

    features: int
    layers: Layers
    resize: str
    data: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "n h w i"], train: bool) -> Float[Array, "n p q o"]:
        before = (lambda x: x) if self.data else nn.relu
        conv = block_conv(self.layers, self.features, train)
        return residual(x, self.features, self.resize, before, nn.relu, conv)


def block_conv(layers: Layers, features: int, train: bool) -> Callable[[Array, str], Array]:
    """Make the function `conv` of `resnet.residual`."""

    def conv(x: Array, layer: str) -> Array:
        if layer == "shortcut":
            return layers.conv(x, features, 1, train, layers.init)
        return layers.conv(x, features, 3, train, layers.inner)

    return conv


def start_image(
    layers: Layers, z: Float[Array, "n d"], shape: tuple[int, int, int], train: bool
) -> Float[Array, "n *shape"]:
    """The linear layer 'linear' from codes to the smallest image; called inside a linen module."""
    height, width, features = shape
    x = layers.dense("linear", z, height * width * features, train)
    return x.reshape(-1, height, width, features)


def end_image(
    layers: Layers, x: Float[Array, "n h w i"], features: int, train: bool
) -> Float[Array, "n h w {features}"]:
    """Batch norm, ReLU and a 3x3 convolution in float32; called inside a linen module."""
    x = layers.batch_norm(x, None, train)
    return layers._replace(dtype=layers.wide).conv(x, features, 3, train, layers.init)


def score(
    module: nn.Module,
    layers: Layers,
    x: Float[Array, "n h w c"],
    hot: Float[Array, "n classes"] | None,
    outputs: int,
    train: bool,
    bias: bool,
) -> Float[Array, "n {outputs}"]:
    """ReLU, sum over the pixels, a linear layer, and the projection on the class's embedding.

    l(x) + <v_y, features of x>; called inside a linen module.

    Args:
        module: the linen module that calls this.
        hot: one-hot class; None: no projection.
        bias: True if the linear layer has a bias.

    Reference: Miyato & Koyama 2018, arXiv:1802.05637, eq. 3.
    """
    features = keep_features(module, nn.relu(x).sum((1, 2), dtype=layers.wide))
    out = layers.dense("linear", features, outputs, train, bias)
    if hot is None:
        return out
    products = layers.dense("embedding", features, hot.shape[-1], train, bias=False)
    return out + (products * hot).sum(axis=1, keepdims=True)


def split_class(
    z: Float[Array, "n d"], classes: int
) -> tuple[Float[Array, "n e"], Float[Array, "n c"] | None]:
    """Split z into code and one-hot class; the class is None without classes."""
    return (z[:, :-classes], z[:, -classes:]) if classes else (z, None)


class Generator(nn.Module):
    """A linear layer, blocks that double the image each, batch norm, ReLU, a 3x3 convolution."""

    shape: tuple[int, ...]
    width: int
    classes: int
    layers: Layers

    @nn.compact
    def __call__(self, z: Float[Array, "n d"], train: bool) -> Float[Array, "n h w c"]:
        code, hot = split_class(z, self.classes)
        blocks = len(widths(self.shape, 1, 1))
        height, width = halvings(self.shape, (1,) * blocks)
        x = start_image(self.layers, code, (height, width, self.width), train)
        for _ in range(blocks):
            x = GeneratorBlock(self.width, self.layers)(x, hot, train)
        return end_image(self.layers, x, self.shape[-1], train)


class Discriminator(nn.Module):
    """Two blocks that halve the image, two that do not, and `score` without bias."""

    width: int
    outputs: int
    layers: Layers

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n h w c"],
        hot: Float[Array, "n classes"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "n outputs"]:
        halvings(x.shape[1:], (1,) * HALVINGS)
        for i in range(HALVINGS + KEEPING):
            resize = "halve" if i < HALVINGS else "keep"
            x = DiscriminatorBlock(self.width, self.layers, resize, data=i == 0)(x, train)
        return score(self, self.layers, x, hot, self.outputs, train, bias=False)


def _layers(norm: str, dtype: DTypeLike) -> Layers:
    return Layers(
        norm=norm,
        inner=WIDE_GLOROT,
        init=GLOROT,
        gains=nn.initializers.zeros,
        gain_norm="none",
        uniform_biases=False,
        epsilon=2e-5,
        dtype=dtype,
    )


def generator(
    shape: Sequence[int], *, width: int = 256, classes: int = 0, dtype: DTypeLike = jnp.float32
) -> Net:
    """SNGAN's generator, from codes with the one-hot class appended to images (n, h, w, c).

    A linear layer to an image with sides of 4 to 7 pixels, a residual block for each doubling,
    batch norm, ReLU and a 3x3 convolution; with classes, batch norm in blocks has a gain and a bias
    for each class. Outputs are unbounded: in the paper tanh follows. First and last layer are
    float32, as are all parameters.

    Args:
        shape: (h, w, c) of the image.
        width: channels of every block; 256 for 32x32 pixels in the paper.
        classes: number of classes; 0: none.

    Reference: Miyato et al. 2018, arXiv:1802.05957, appendix, table 4; Miyato & Koyama 2018,
    arXiv:1802.05637.

    Raises:
        BadInput: a size below 1, or an image that does not fit.
    """
    widths(shape, 1, 1)
    made = Generator(
        sizes("shape", shape), positive("width", width), classes, _layers("none", dtype)
    )
    return from_linen(made)


def discriminator(
    *, outputs: int, width: int = 128, classes: int = 0, dtype: DTypeLike = jnp.float32
) -> Net:
    """SNGAN's discriminator for 32x32 pixels, from images, and classes one-hot if any, to logits.

    Four residual blocks, of which the first two halve the image, ReLU, a sum over pixels, a linear
    layer without bias, and with classes the projection on the embedding of the class. All kernels
    and the embedding are spectrally normalized. Last layers are float32, as are all parameters.

    Spectral norm makes one power iteration in each application, and adds 1e-12 to squared norms
    of vectors, where the authors add it to the norms.

    Args:
        outputs: number of logits.
        width: channels of every block.
        classes: number of classes; the one-hot class is a second input; 0: none.

    Reference: Miyato et al. 2018, arXiv:1802.05957, appendix, table 4; Miyato & Koyama 2018,
    arXiv:1802.05637.

    Raises:
        BadInput: a size below 1; on use, an image whose sides are not multiples of 4.
    """
    del classes  # known from the second input
    made = Discriminator(
        positive("width", width), positive("outputs", outputs), _layers("spectral", dtype)
    )
    return from_linen(made)
