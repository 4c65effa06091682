"""Write ada.npz: what the authors' augmentations make of images, and the gradients of them.

    python tests/parity/make_ada.py PATH

PATH is a clone of github.com/NVlabs/stylegan2-ada-pytorch at d72cc7d (training/augment.py), or of
github.com/brownvc/R3GAN at 19a7ddf, whose augment.py computes the same. Images and random numbers
are those of `tests/parity/weights.py`, by name. The authors reflect an image only as far as some
image of its batch needs; here they are made to reflect as far as they ever do.
"""

import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from scipy.special import ndtr

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.parity.weights import direction, fill, summary

BLIT = dict(xflip=1, rotate90=1, xint=1)
GEOM = dict(scale=1, rotate=1, aniso=1, xfrac=1)
COLOR = dict(brightness=1, contrast=1, lumaflip=1, hue=1, saturation=1)
R3GAN = BLIT | GEOM | dict.fromkeys(COLOR, 0.5) | dict(cutout=1)
REST = dict(imgfilter=1, noise=1, cutout=1)
CASES = {  # operations, p, shape of the images
    "bgc": (BLIT | GEOM | COLOR, 0.8, (6, 3, 16, 16)),
    "r3gan": (R3GAN, 0.5, (6, 3, 12, 12)),
    "grey": (BLIT | GEOM | COLOR, 0.9, (4, 1, 12, 10)),
    "rest": (REST, 0.7, (4, 3, 24, 22)),
}
PERCENTILES = (0.1, 0.5, 0.9)
NUMBERS = {"xint": 2, "xfrac": 2, "cutout": 2}
NORMAL = ("scale", "aniso", "xfrac", "brightness", "contrast", "saturation", "imgfilter", "noise")


def calls(operations):
    """Names of the random numbers in the order in which the authors draw them."""
    order = [*BLIT, "scale", "rotate", "aniso", "rotate_after", "xfrac", *COLOR, *REST]
    for name in order:
        if name.removesuffix("_after") not in operations:
            continue
        both = [f"{name} number", f"{name} chance"]
        if name == "imgfilter":
            yield from (f"{each} {band}" for band in range(4) for each in both)
        elif name == "noise":
            yield from (*both, "noise pixels")
        else:
            yield from (reversed(both) if name == "cutout" else both)


def pipe(module, case):
    operations, p, shape = CASES[case]
    made = module.AugmentPipe(**operations)
    made.p.fill_(p)
    images = torch.tensor(fill(f"{case} images", shape, 0.5), requires_grad=True)
    names = calls(operations)

    def rand(size, device=None):
        return torch.tensor(ndtr(fill(f"{case} {next(names)}", tuple(size), 1.0)))

    def randn(size, device=None):
        return torch.tensor(fill(f"{case} {next(names)}", tuple(size), 1.0))

    return made, images, mock.patch.multiple(torch, rand=rand, randn=randn)


def reflecting_fully(misc):
    """Authors' `misc.constant` but for the least margin, which is the largest."""
    constant = misc.constant

    def largest(value, *args, **kwargs):
        full = isinstance(value, list) and value == [0, 0, 0, 0]
        return constant([10**6] * 4 if full else value, *args, **kwargs)

    return mock.patch.object(misc, "constant", largest)


def results(name, out, images):
    (out * torch.tensor(direction(name, tuple(out.shape)), dtype=out.dtype)).sum().backward()
    return {name: out.detach().numpy(), f"{name} gradient": summary(name, images.grad.numpy())}


def main(path):
    sys.path.insert(0, path)
    from torch_utils import misc
    from training import augment

    found = {}
    for case in CASES:
        made, images, random = pipe(augment, case)
        with random, reflecting_fully(misc):
            found |= results(case, made(images), images)
    for percentile in PERCENTILES:
        made, images, random = pipe(augment, "bgc")
        with random, reflecting_fully(misc):
            out = made(images, debug_percentile=percentile)
        found |= results(f"bgc at {percentile}", out[:2], images)
    bank = augment.AugmentPipe(imgfilter=1).Hz_fbank
    np.savez_compressed(Path(__file__).with_name("ada.npz"), bank=bank.numpy(), **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
