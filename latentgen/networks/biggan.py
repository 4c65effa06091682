"""The networks of BigGAN, for images of 8 to 256 pixels."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput, choose, positive
from latentgen.core.types import Net
from latentgen.networks.attention import SelfAttention
from latentgen.networks.conv import halvings, widths
from latentgen.networks.mlp import INITS, sizes
from latentgen.networks.net import from_linen
from latentgen.networks.sngan import (
    HALVINGS,
    DiscriminatorBlock,
    GeneratorBlock,
    Layers,
    end_image,
    score,
    split_class,
    start_image,
)

# Number of doublings between the smallest image and x -> channels, in multiples of `width`:
# of the generator's smallest image and blocks, and of the discriminator's blocks.
GENERATOR = {
    **dict.fromkeys((1, 2, 3), (4, 4, 4, 4)),
    4: (16, 16, 8, 4, 2),
    5: (16, 16, 8, 4, 2, 1),
    6: (16, 16, 8, 8, 4, 2, 1),
}
DISCRIMINATOR = {  # the last block does not halve the image
    **dict.fromkeys((1, 2, 3), (4, 4, 4, 4)),  # the last two blocks do not
    4: (1, 2, 4, 8, 16),
    5: (1, 2, 4, 8, 16, 16),
    6: (1, 2, 4, 8, 8, 16, 16),
}


class Generator(nn.Module):
    """Linear layer, blocks that double the image each, batch norm, ReLU, a 3x3 convolution."""

    shape: tuple[int, ...]
    width: int
    classes: int
    shared: int
    hierarchical: bool
    attention: tuple[int, ...]
    layers: Layers

    @nn.compact
    def __call__(self, z: Float[Array, "n d"], train: bool) -> Float[Array, "n h w c"]:
        blocks = _doublings(self.shape)
        smallest, *features = (self.width * each for each in GENERATOR[blocks][: blocks + 1])
        height, width = halvings(self.shape, (1,) * blocks)
        code, conditions = self._conditions(z, blocks)
        x = start_image(self.layers, code, (height, width, smallest), train)
        for i, (channels, c) in enumerate(zip(features, conditions, strict=True), 1):
            x = GeneratorBlock(channels, self.layers)(x, c, train)
            x = _attend(x, i, self.attention, self.layers, train)
        return end_image(self.layers, x, self.shape[-1], train)

    def _conditions(
        self, z: Float[Array, "n d"], blocks: int
    ) -> tuple[Float[Array, "n e"], list[Float[Array, "n c"] | None]]:
        """Return the code for the linear layer, and the condition of each block's batch norms."""
        code, hot = split_class(z, self.classes)
        if hot is not None and self.shared:
            embedding = nn.Dense(
                self.shared, use_bias=False, kernel_init=self.layers.init, name="shared"
            )
            hot = embedding(hot)
        if not self.hierarchical:
            return code, [hot] * blocks
        if code.shape[1] % (blocks + 1):
            raise BadInput(
                f"hierarchical=True does not fit codes of {code.shape[1]} coordinates: they must "
                f"be a multiple of {blocks + 1}, one part for each block and one for the first."
            )
        first, *rest = jnp.split(code, blocks + 1, axis=1)
        return first, [part if hot is None else jnp.concatenate([hot, part], 1) for part in rest]


class Discriminator(nn.Module):
    """Blocks that halve the image, one or two that do not, and `sngan.score` with bias."""

    width: int
    attention: tuple[int, ...]
    outputs: int
    layers: Layers

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n *shape"],
        hot: Float[Array, "n classes"] | None = None,
        *,
        train: bool,
    ) -> Float[Array, "n outputs"]:
        doublings = _doublings(x.shape[1:])
        channels, halving = DISCRIMINATOR[doublings], HALVINGS if doublings <= 3 else doublings
        halvings(x.shape[1:], (1,) * halving)
        for i, each in enumerate(channels, 1):
            resize = "halve" if i <= halving else "keep"
            block = DiscriminatorBlock(self.width * each, self.layers, resize, data=i == 1)
            x = _attend(block(x, train), i, self.attention, self.layers, train)
        return score(self, self.layers, x, hot, self.outputs, train, bias=True)


def _attend(
    x: Float[Array, "n h w c"], block: int, attention: Sequence[int], layers: Layers, train: bool
) -> Float[Array, "n h w c"]:
    if block not in attention:
        return x
    return SelfAttention(layers.dtype, layers.init, layers.norm, name=f"attention_{block}")(
        x, train
    )


def _doublings(shape: Sequence[int]) -> int:
    """Return the number of doublings from the smallest image, with sides of 4 to 7, to `shape`."""
    found = len(widths(shape, 1, 1))
    if found not in GENERATOR:
        raise BadInput(f"an image of {shape[0]}x{shape[1]} does not fit: at most 7 x 64 pixels do.")
    return found


def _layers(init: str, dtype: DTypeLike, gain_norm: str = "spectral") -> Layers:
    kernel = choose("init", init, INITS)
    return Layers(
        norm="spectral",
        inner=kernel,
        init=kernel,
        gains=kernel,
        gain_norm=gain_norm,
        uniform_biases=True,
        epsilon=1e-5,
        dtype=dtype,
    )


def _blocks(attention: Sequence[int], blocks: int) -> tuple[int, ...]:
    """Return `attention` as a tuple; raise BadInput if it names a block that does not exist."""
    for block in attention:
        if not 1 <= block <= blocks:
            raise BadInput(f"attention={tuple(attention)!r} must name blocks from 1 to {blocks}.")
    return tuple(attention)


def generator(
    shape: Sequence[int],
    *,
    width: int = 64,
    classes: int = 0,
    shared: int = 0,
    hierarchical: bool = False,
    attention: Sequence[int] = (),
    init: str = "orthogonal",
    dtype: DTypeLike = jnp.float32,
) -> Net:
    """BigGAN's generator, from codes with the one-hot class appended to images (n, h, w, c).

    A linear layer to an image with sides of 4 to 7 pixels, a residual block for each doubling,
    batch norm, ReLU and a 3x3 convolution. Gains and biases of batch norm in blocks are linear in
    the class, or its embedding, and in the block's part of a hierarchical code. All kernels but
    embeddings are spectrally normalized. Outputs are unbounded: in the paper tanh follows. First
    and last layer are float32, as are all parameters.

    Args:
        shape: (h, w, c) of the image.
        width: base number of channels; blocks have 1 to 16 times as many.
        classes: number of classes; 0: none.
        shared: dimension of the class embedding that all blocks share; 0: every batch norm has its
            own gain and bias for each class, which are not normalized.
        hierarchical: split the code into equal parts, one for the linear layer and one for the
            batch norms of each block, which get it besides the class.
        attention: blocks, counted from 1, that are followed by self-attention.
        init: initializer of kernels, a name in INITS; biases start as in PyTorch.

    Reference: Brock et al. 2019, arXiv:1809.11096, appendix B, for 128 pixels and more; Brock's
    code (ajbrock/BigGAN-PyTorch 9845943) for 32 and 64.

    Raises:
        BadInput: an unknown name, a size below 1, an image or blocks that do not fit, or a
            hierarchical code without shared embedding; on use, a code that does not split.
    """
    blocks = _doublings(shape)
    if classes and hierarchical and not shared:
        raise BadInput("hierarchical=True with classes needs shared above 0.")
    table = not shared and not hierarchical  # a gain and a bias for each class
    made = Generator(
        sizes("shape", shape),
        positive("width", width),
        classes,
        shared,
        hierarchical,
        _blocks(attention, blocks),
        _layers(init, dtype, "none" if table else "spectral"),
    )
    return from_linen(made)


def discriminator(
    *,
    outputs: int,
    width: int = 64,
    classes: int = 0,
    attention: Sequence[int] = (),
    init: str = "orthogonal",
    dtype: DTypeLike = jnp.float32,
) -> Net:
    """BigGAN's discriminator, from images, and classes one-hot if any, to logits.

    Residual blocks that halve the image down to sides of 4 to 7 pixels, and one that keeps its size
    (up to three doublings, as for 32x32 pixels: two that halve it, two that keep its size); ReLU, a
    sum over pixels, a linear layer, and with classes the projection on the embedding of the class.
    All kernels and the embedding are spectrally normalized. Last layers are float32, as are all
    parameters.

    Args:
        outputs: number of logits.
        width: base number of channels; blocks have 1 to 16 times as many.
        classes: number of classes; the one-hot class is a second input; 0: none.
        attention: blocks, counted from 1, that are followed by self-attention.
        init: initializer of kernels, a name in INITS; biases start as in PyTorch.

    Reference: as `generator`.

    Raises:
        BadInput: an unknown name, or a size below 1; on use, an image that does not fit.
    """
    del classes  # known from the second input
    made = Discriminator(
        positive("width", width),
        _blocks(attention, max(map(len, DISCRIMINATOR.values()))),
        positive("outputs", outputs),
        _layers(init, dtype),
    )
    return from_linen(made)
