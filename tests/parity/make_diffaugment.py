"""Write diffaugment.npz: what the authors' DiffAugment makes of images, and its gradients.

    python tests/parity/make_diffaugment.py PATH

PATH is a clone of github.com/mit-han-lab/data-efficient-gans at 0b63395 (DiffAugment_pytorch.py).
Images and random numbers are those of `tests/parity/weights.py`, by name.
"""

import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from scipy.special import ndtr

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.parity.weights import direction, fill, summary

CASES = {  # policy, shape of the images
    "all": ("color,translation,cutout", (6, 3, 12, 9)),
    "grey": ("color,cutout,translation", (4, 1, 11, 12)),
}
NUMBERS = {
    "color": ("brightness", "saturation", "contrast"),
    **{each: (f"{each} rows", f"{each} columns") for each in ("translation", "cutout")},
}


def results(case, augment):
    policy, shape = CASES[case]
    names = iter([name for each in policy.split(",") for name in NUMBERS[each]])

    def uniform(shape):
        return torch.tensor(ndtr(fill(f"{case} {next(names)}", tuple(shape), 1.0)))

    def rand(*shape, dtype=None, device=None):
        return uniform(shape)

    def randint(low, high, size, device=None):
        return low + torch.floor(uniform(size) * (high - low)).long()

    images = torch.tensor(fill(f"{case} images", shape, 0.5), requires_grad=True)
    with mock.patch.multiple(torch, rand=rand, randint=randint):
        out = augment(images, policy)
    (out * torch.tensor(direction(case, shape), dtype=out.dtype)).sum().backward()
    return {case: out.detach().numpy(), f"{case} gradient": summary(case, images.grad.numpy())}


def main(path):
    sys.path.insert(0, path)
    from DiffAugment_pytorch import DiffAugment

    found = {}
    for case in CASES:
        found |= results(case, DiffAugment)
    np.savez_compressed(Path(__file__).with_name("diffaugment.npz"), **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
