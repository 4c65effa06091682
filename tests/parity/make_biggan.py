"""Write biggan.npz: what the networks of BigGAN's author compute, small, with our weights.

    python -m tests.parity.make_biggan CLONE

CLONE: a checkout of ajbrock/BigGAN-PyTorch at 9845943; needs PyTorch. CASES are its options.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.weights import direction, fill, summary

COMMON = {"no_optim": True, "skip_init": True, "n_classes": 3, "SN_eps": 1e-8}
CASES: dict[str, dict[str, Any]] = {
    "plain": {"resolution": 32, "G_shared": False, "dim_z": 6, "ch": 2, "attn": "0"},
    "attention": {
        **{"resolution": 32, "G_shared": True, "shared_dim": 5, "hier": True, "dim_z": 8},
        **{"ch": 2, "attn": "16"},
    },
    "wide": {
        **{"resolution": 64, "G_shared": True, "shared_dim": 5, "hier": True, "dim_z": 10},
        **{"ch": 1, "attn": "0"},
    },
}
LABELS = np.array([0, 2, 1])
FULL = {
    "cifar": {
        "resolution": 32,
        "G_shared": False,
        "dim_z": 128,
        "ch": 64,
        "attn": "0",
        "n_classes": 10,
    },
    "imagenet": {
        **{"resolution": 128, "G_shared": True, "shared_dim": 128, "hier": True, "dim_z": 120},
        **{"ch": 96, "attn": "64", "n_classes": 1000},
    },
}


def options(case: dict[str, Any], player: str) -> dict[str, Any]:
    case = dict(case)
    return COMMON | {f"{player}_ch": case.pop("ch"), f"{player}_attn": case.pop("attn")} | case


def set_weights(net: Any, prefix: str) -> None:
    """Fill parameters and buffers by their names."""
    import torch

    for name, value in net.state_dict().items():
        shape, last = tuple(value.shape), name.rsplit(".")[-1]
        kind: dict[str, float] = {}
        if last in ("gamma", "stored_var") or (last == "gain" and len(shape) == 1):
            kind = {"offset": 1.0, "scale": 0.1}
        elif last.startswith("u"):
            kind = {"scale": 1.0}
        if not last.startswith("sv"):
            value.copy_(torch.from_numpy(np.asarray(fill(prefix + name, shape, **kind))))


def record(net: Any, prefix: str, inputs: list[Any]) -> dict[str, np.ndarray]:
    """Outputs in training and then in evaluation, gradients in training, buffers after it."""
    import torch

    set_weights(net, prefix)
    net.train()
    inputs[0].requires_grad_()
    y = net(*inputs)
    (y * torch.from_numpy(direction(prefix + "output", tuple(y.shape))).float()).sum().backward()
    found = {"output": part(y), "output.summary": summary(prefix + "output", numbers(y))}
    gradients = {name: p.grad for name, p in net.named_parameters()} | {"input": inputs[0].grad}
    for kind, values in (("gradients", gradients), ("buffers", dict(net.named_buffers()))):
        found[f"{kind}.names"] = np.array(list(values))
        found[kind] = np.array([summary(prefix + name, numbers(v)) for name, v in values.items()])
    net.eval()
    with torch.no_grad():
        found["evaluation"] = part(net(*inputs))
    return {prefix + name: value for name, value in found.items()}


def numbers(value: Any) -> np.ndarray:
    return value.detach().numpy()


def part(y: Any) -> np.ndarray:
    """Some pixels of an image, all of anything else."""
    return numbers(y)[:, :, 1::5, 2::5] if y.ndim == 4 else numbers(y)


def main(clone: str) -> None:
    sys.path.insert(0, clone)
    import BigGAN
    import torch

    found: dict[str, np.ndarray] = {}
    label = torch.from_numpy(LABELS)
    for name, case in CASES.items():
        generator = BigGAN.Generator(**options(case, "G"))
        z = torch.from_numpy(fill(f"{name}.z", (len(LABELS), case["dim_z"]), 1.0))
        of_embedding, shared = generator.forward, generator.shared
        generator.forward = lambda z, y, f=of_embedding, s=shared: f(z, s(y))
        found |= record(generator, f"{name}.generator.", [z, label])
        discriminator = BigGAN.Discriminator(**options(case, "D"))
        side = case["resolution"]
        x = torch.from_numpy(fill(f"{name}.x", (len(LABELS), 3, side, side), 0.5))
        found |= record(discriminator, f"{name}.discriminator.", [x, label])
    for name, case in FULL.items():
        for player, make in (("G", BigGAN.Generator), ("D", BigGAN.Discriminator)):
            net = make(**options(case, player))
            count = sum(p.numel() for p in net.parameters())
            found[f"{name}.{player}.count"] = np.array(count)
    np.savez_compressed(Path(__file__).with_name("biggan.npz"), **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
