"""Numbers of the authors' StyleGAN2, written to stylegan2.npz.

NVlabs/stylegan2-ada-pytorch d72cc7d, training/networks.py and training/loss.py, with PyTorch:

    python -m tests.parity.make_stylegan2 PATH_OF_THE_CLONE

In float64: some second derivatives all but cancel.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.weights import direction, fill, summary

CODES, CLASSES, STYLES = 8, 3, 8
CHANNELS = {"channel_base": 128, "channel_max": 12}
SIDE = {"skip": 32, "resnet": 16, "orig": 16}
ARCHITECTURES = tuple(SIDE)
GROUP, GROUP_FEATURES = 2, 2


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of a parameter or buffer of the authors' networks, as wide as where they start."""
    scale = 100.0 if ".fc" in f".{name}" and "b4." not in name else 1.0  # of the mapping: 1 / rate
    if name.endswith("bias"):
        return fill(name, shape, 0.1 * scale, offset=1.0 if name.endswith("affine.bias") else 0.0)
    return np.asarray(fill(name, shape, 0.1 if name.endswith("noise_strength") else scale))


def filled(module: Any, prefix: str = "") -> Any:
    """The network with those weights; w_avg stays 0 and filters as they are."""
    import torch

    named = [*module.named_parameters(), *module.named_buffers()]
    with torch.no_grad():
        for name, tensor in named:
            if "resample_filter" not in name and "w_avg" not in name:
                tensor.copy_(torch.from_numpy(weight(prefix + name, tuple(tensor.shape))))
    return module


def gradients(scalar: Any, module: Any, case: str) -> dict[str, np.ndarray]:
    """Summaries of the gradients of a scalar in all parameters, in the order of their names."""
    import torch

    names, tensors = zip(*sorted(module.named_parameters()), strict=True)
    found = torch.autograd.grad(scalar, tensors, allow_unused=True)
    summaries = [
        summary(name, np.zeros(tensor.shape) if g is None else g.numpy())
        for name, tensor, g in zip(names, tensors, found, strict=True)
    ]
    return {f"{case}.gradients": np.stack(summaries)}


def mapping_numbers(networks: Any) -> dict[str, np.ndarray]:
    import torch

    net = networks.MappingNetwork(CODES, CLASSES, STYLES, num_ws=None, num_layers=3)
    net.register_buffer("w_avg", torch.zeros(STYLES))
    filled(net).train()
    z = torch.from_numpy(fill("z", (4, CODES), 1.0)).double()
    one_hot = torch.eye(CLASSES)[[0, 1, 2, 0]]
    w = net(z, one_hot)
    scalar = (w * torch.from_numpy(direction("w", (4, STYLES)))).sum()
    return {"mapping": w.detach().numpy(), "mapping.average": net.w_avg.numpy()} | gradients(
        scalar, net, "mapping"
    )


def synthesis_numbers(networks: Any, architecture: str) -> dict[str, np.ndarray]:
    import torch

    side = SIDE[architecture]
    net = networks.SynthesisNetwork(STYLES, side, 3, architecture=architecture, **CHANNELS)
    filled(net).train()
    w = torch.from_numpy(fill("w", (2, net.num_ws, STYLES), 1.0)).double().requires_grad_()
    case, found = f"synthesis.{architecture}", {}
    for noise in ("none", "const"):
        image = net(w, noise_mode=noise, fused_modconv=False)
        found[f"{case}.{noise}"] = image.detach().numpy()
    to = torch.from_numpy(direction("image", (2, 3, side, side)))
    found |= gradients((image * to).sum(), net, case)

    # Loss of training/loss.py with this noise, from a mean length of 0.5.
    image = net(w, noise_mode="const", fused_modconv=False)
    noise_image = torch.from_numpy(fill("path", (2, 3, side, side), 1 / side)).double()
    slope = torch.autograd.grad([(image * noise_image).sum()], [w], create_graph=True)[0]
    lengths = slope.square().sum(2).mean(1).sqrt()
    mean = torch.tensor(0.5).lerp(lengths.mean(), 0.01)
    penalty = (lengths - mean).square()
    found[f"{case}.path"] = np.stack([lengths.detach().numpy(), penalty.detach().numpy()])
    found[f"{case}.path.mean"] = mean.detach().numpy()
    return found | gradients(penalty.mean(), net, f"{case}.path")


def discriminator_numbers(networks: Any, architecture: str, classes: int) -> dict[str, np.ndarray]:
    import torch

    net = networks.Discriminator(
        classes,
        16,
        3,
        architecture=architecture,
        **CHANNELS,
        epilogue_kwargs={"mbstd_group_size": GROUP, "mbstd_num_channels": GROUP_FEATURES},
    )
    filled(net, "D.").train()
    x = torch.from_numpy(fill("x", (4, 3, 16, 16), 1.0)).double().requires_grad_()
    one_hot = torch.eye(classes)[[0, 1, 2, 0]] if classes else None
    logits, case = net(x, one_hot), f"discriminator.{architecture}.{classes}"
    to = torch.from_numpy(direction("logits", (4, 1)))
    found = {case: logits.detach().numpy()} | gradients((logits * to).sum(), net, case)
    slope = torch.autograd.grad([net(x, one_hot).sum()], [x], create_graph=True)[0]
    penalty = slope.square().sum([1, 2, 3])
    found[f"{case}.r1"] = penalty.detach().numpy()
    return found | gradients(penalty.mean(), net, f"{case}.r1")


def main() -> None:
    """Write the numbers beside this file."""
    import torch

    torch.set_default_dtype(torch.float64)
    torch.float32 = torch.float64  # which the authors' code names throughout
    sys.path.insert(0, sys.argv[1])
    from training import networks

    found = mapping_numbers(networks)
    for architecture in ARCHITECTURES:
        found |= synthesis_numbers(networks, architecture)
        found |= discriminator_numbers(networks, architecture, 0)
    found |= discriminator_numbers(networks, "resnet", CLASSES)
    single = (key for key in found if not key.endswith(".gradients"))
    found |= {key: found[key].astype(np.float32) for key in list(single)}
    np.savez_compressed(Path(__file__).with_name("stylegan2.npz"), **found)


if __name__ == "__main__":
    main()
