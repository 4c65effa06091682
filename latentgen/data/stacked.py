"""Three grey images as the colour planes of one: 1,000 modes that a classifier of ten can count.

The mode of an example is 100 a + 10 b + c, for the labels a, b, c of its planes. Metz et al. 2017
(arXiv:1611.02163, appendix) make it of MNIST; here any grey set of ten classes will do.
"""

import numpy as np
from jaxtyping import Int32, UInt8

PREFIX = "stacked_"
CLASSES, PLANES = 10, 3
TRAIN = 128_000  # examples, as in Lin et al. 2018 (PacGAN, arXiv:1712.04086)


def stacked(
    x: UInt8[np.ndarray, "n h w 1"], label: Int32[np.ndarray, " n"], size: int, seed: int
) -> tuple[UInt8[np.ndarray, "m h w 3"], Int32[np.ndarray, " m"]]:
    """`size` examples of three images each, drawn with replacement, always the same; their modes.

    Args:
        seed: of numpy's frozen RandomState stream; another one for each split.
    """
    chosen = np.random.RandomState(seed).randint(len(x), size=(size, PLANES))
    planes = np.ascontiguousarray(np.moveaxis(x[chosen][..., 0], 1, -1))
    mode = label[chosen] @ CLASSES ** np.arange(PLANES)[::-1]
    return planes, mode.astype(np.int32)
