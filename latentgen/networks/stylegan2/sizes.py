"""Sizes of StyleGAN2's networks: images of 4x4, 8x8, ... pixels, and their channels."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike

from latentgen.core.errors import BadInput, positive

SMALLEST = 4
"""Side of the smallest image."""


class Size(NamedTuple):
    """One size of images within a network.

    channels: number of channels of its layers
    dtype: dtype that its convolutions compute in
    """

    side: int
    channels: int
    dtype: DTypeLike


class Width(NamedTuple):
    """Channels by size, and precision.

    base, largest: a layer of side r has min(base // r, largest) channels
    half: number of sizes, from the image inwards, that compute in bfloat16; never that of 4x4
    """

    base: int
    largest: int
    half: int
    dtype: DTypeLike

    def checked(self) -> "Width":
        """Return self if all numbers are valid.

        Raises:
            BadInput: a number is too small.
        """
        positive("channel_base", self.base)
        positive("channel_max", self.largest)
        if self.half < 0:
            raise BadInput(f"half={self.half} must be at least 0.")
        return self

    def sizes(self, shape: Sequence[int]) -> tuple[Size, ...]:
        """Return the sizes from 4x4 pixels up to the image.

        Raises:
            BadInput: the image is not square with a side of 8, 16, 32, ... pixels, or a size has
                no channels.
        """
        side = shape[0] if len(shape) == 3 else 0
        if side < 2 * SMALLEST or side & (side - 1) or shape[1] != side:
            given = "x".join(map(str, shape))
            raise BadInput(
                f"an image of {given} does not fit network='stylegan2': it must be square with a "
                "side of 8, 16, 32, 64, 128, 256, ... pixels; data.pad_to or data.size changes it."
            )
        if side > self.base:
            raise BadInput(f"channel_base={self.base} must be at least the image's side, {side}.")
        sides = [2**i for i in range(2, side.bit_length())]
        first_half = max(side * 2 // 2**self.half, 2 * SMALLEST)
        dtypes = [jnp.bfloat16 if s >= first_half else self.dtype for s in sides]
        return tuple(
            Size(s, min(self.base // s, self.largest), dtype)
            for s, dtype in zip(sides, dtypes, strict=True)
        )
