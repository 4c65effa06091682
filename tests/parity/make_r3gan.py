"""R3GAN's outputs and gradients by its authors' code: r3gan.npz.

    python -m tests.parity.make_r3gan CLONE

CLONE is a checkout of github.com/brownvc/R3GAN at 19a7ddf; needs torch. Everything runs on a CPU in
float32. Weights, codes and images are those of `weights.fill`, by name.
"""

import sys
import types
from pathlib import Path

import numpy as np
import packaging.version

from tests.parity.weights import fill, summary

FILE = Path(__file__).with_name("r3gan.npz")
# From 4x4 up; where the width stays there is no 1x1 convolution.
WIDTHS, GROUPS, BLOCKS = (16, 16, 8), (4, 2, 8), (2, 1, 2)
CODE, CLASSES, EMBEDDING, SCORED = 6, 2, 5, 7
IMAGES, SIDE, GAMMA = 3, 16, 0.3
PRESETS = {  # train.py: widths and groups from 4x4 up, classes
    "cifar10": ([768] * 4, [96] * 4, 10),
    "ffhq64": ([768] * 4 + [384], [96] * 4 + [48], 0),
    "ffhq256": ([768] * 4 + [384, 192, 96], [96] * 4 + [48, 24, 12], 0),
    "imagenet32": ([1536] * 4, [96] * 4, 1000),
    "imagenet64": ([1536] * 5, [96] * 5, 1000),
}


def inputs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, real images (n, c, h, w), and one-hot classes."""
    z, x = fill("z", (IMAGES, CODE), 1.0), fill("x", (IMAGES, 3, SIDE, SIDE), 0.5)
    return z, x, np.eye(CLASSES, dtype=np.float32)[np.arange(IMAGES) % CLASSES]


def build(networks, classes):
    """The authors' generator and discriminator, small."""
    condition = {} if not classes else {"ConditionDimension": classes}
    g = networks.Generator(
        CODE, WIDTHS, GROUPS, BLOCKS, 2, ConditionEmbeddingDimension=EMBEDDING * bool(classes),
        **condition,
    )  # fmt: skip
    d = networks.Discriminator(
        WIDTHS[::-1], GROUPS[::-1], BLOCKS[::-1], 2,
        ConditionEmbeddingDimension=SCORED * bool(classes), **condition,
    )  # fmt: skip
    return g, d


def gradients(network, player):
    return {
        f"{player}.{name}": summary(f"{player}.{name}", value.grad.numpy())
        for name, value in network.named_parameters()
    }


def run(torch, networks, trainer, classes):
    """Images, logits, and the gradients of both turns of the game."""
    g, d = build(networks, classes)
    for player, network in (("g", g), ("d", d)):
        for name, value in network.named_parameters():
            value.data = torch.tensor(fill(f"{player}.{name}", tuple(value.shape)))
    z, x, y = (torch.tensor(a) for a in inputs())
    y = y if classes else None
    found = {"images": g(z, y).detach().numpy(), "logits": d(x, y).detach().numpy()}
    game = trainer.AdversarialTraining(g, d)
    d.requires_grad_(False)
    game.AccumulateGeneratorGradients(z, x, y)
    found |= gradients(g, "g")
    d.requires_grad_(True)
    g.requires_grad_(False)
    game.AccumulateDiscriminatorGradients(z, x, y, GAMMA)
    return found | gradients(d, "d")


def counts(torch, networks):
    """Numbers of parameters of generator and discriminator of the presets."""
    found = {}
    for name, (widths, groups, classes) in PRESETS.items():
        g_classes, d_classes = {}, {}
        if classes:
            g_classes = {"ConditionDimension": classes, "ConditionEmbeddingDimension": 64}
            d_classes = g_classes | {"ConditionEmbeddingDimension": widths[0]}
        blocks = [2] * len(widths)
        with torch.device("meta"):
            g = networks.Generator(64, widths, groups, blocks, 2, **g_classes)
            d = networks.Discriminator(widths[::-1], groups[::-1], blocks, 2, **d_classes)
        found[f"count.{name}"] = np.array([sum(p.numel() for p in n.parameters()) for n in (g, d)])
    return found


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    # Newer setuptools are without the one function that their code takes from it.
    sys.modules["pkg_resources"] = types.SimpleNamespace(parse_version=packaging.version.parse)
    import torch
    from R3GAN import Networks, Trainer

    found = counts(torch, Networks)
    for classes in (0, CLASSES):
        results = run(torch, Networks, Trainer, classes)
        found |= {f"{classes}.{name}": value for name, value in results.items()}
    np.savez_compressed(FILE, **found)


if __name__ == "__main__":
    main()
