"""Stacked data sets: three grey images as colour planes, which gives 1,000 modes.

The mode of an example is 100 a + 10 b + c, for the labels a, b, c of its planes, so that a
classifier of ten classes can count modes. Metz et al. 2017 (arXiv:1611.02163, appendix) stack
MNIST; here any grey data set of ten classes can be stacked.
"""

import numpy as np
from jaxtyping import Int32, UInt8

PREFIX = "stacked_"
CLASSES, PLANES = 10, 3
TRAIN = 128_000  # examples, as in Lin et al. 2018 (PacGAN, arXiv:1712.04086)


def stacked(
    x: UInt8[np.ndarray, "n h w 1"], label: Int32[np.ndarray, " n"], size: int, seed: int
) -> tuple[UInt8[np.ndarray, "m h w 3"], Int32[np.ndarray, " m"]]:
    """Stack `size` triples of images, drawn with replacement; return them and their modes.

    Args:
        seed: seed of numpy's RandomState, whose stream never changes; another for each split.
    """
    chosen = np.random.RandomState(seed).randint(len(x), size=(size, PLANES))
    planes = np.ascontiguousarray(np.moveaxis(x[chosen][..., 0], 1, -1))
    mode = label[chosen] @ CLASSES ** np.arange(PLANES)[::-1]
    return planes, mode.astype(np.int32)
