"""Training steps: latentgen against the same work in PyTorch, and the matrix-multiply peak.

    python -m experiments.benchmarks.training [--works vae gan ...] [--json FILE]

| work  | what                                                                                |
|-------|-------------------------------------------------------------------------------------|
| vae   | MLP VAE 784-400-20-400-784, batch 128                                               |
| conv  | convolutional VAE with InfoGAN's networks, batch 64                                 |
| gan   | InfoGAN's networks, batch norm in both, non-saturating, batch 64                    |
| r3gan | the same networks, relativistic with R1 and R2, no norm in the discriminator        |
| ring  | points in the plane, MLPs of 128-128, batch 256                                     |
| iwae  | 784-200-200-50, k = 50 codes of each of 100 binary images                           |

Ways: latentgen as `latentgen.run` trains, a scan of steps over data on the device; the same a step
per dispatch; and, in processes of their own, PyTorch eager with its default Adam, and PyTorch with
the loss by torch.compile and fused Adam. All read uint8 images from memory, float32, moving
averages off, denormal numbers as 0 (XLA's default, not PyTorch's). The share of the peak is of a
step's matrix products and convolutions as PyTorch's own counter counts them.

Needs the `benchmark` extra, a C++ compiler for torch.compile, and Fashion-MNIST (Debian:
dataset-fashion-mnist). Takes about five minutes on two cores.
"""

import itertools
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from experiments.benchmarks import in_pytorch, side_by_side
from experiments.benchmarks.side_by_side import OURS, Call, Peak, Row
from experiments.benchmarks.trainer import STILL, Trainer, loaded, repeated
from latentgen.core.errors import BadInput

INFOGAN = {"network": "conv", "hidden": (1024,), "channels": (64, 128)}
WIDE = {f"{net}.{key}": value for net in ("encoder", "decoder") for key, value in INFOGAN.items()}


class Work(NamedTuple):
    """A work: the experiment and what is changed in it, its peer, and how many steps are timed."""

    what: str
    experiment: str
    changes: dict[str, Any]
    peer: Callable[[torch.Tensor, bool], in_pytorch.Step]
    steps: int
    compiles: bool = True


WORKS = {
    "vae": Work("MLP VAE, batch 128", "vae:fashion", {}, in_pytorch.mlp_vae, 200),
    "conv": Work(
        "convolutional VAE, batch 64",
        *("vae:conv", {"batch_size": 64} | WIDE),
        *(in_pytorch.conv_vae, 10),
    ),
    "gan": Work(
        "convolutional GAN, batch 64", "gan:infogan_network", STILL, in_pytorch.conv_gan, 5
    ),
    "r3gan": Work("R3GAN's loss, batch 64", "gan:r3gan", STILL, in_pytorch.r3gan, 5, False),
    "ring": Work("ring GAN, batch 256", "gan:ring", STILL, in_pytorch.ring_gan, 500),
    "iwae": Work("IWAE, k = 50, batch 100", "vae:iwae", {}, in_pytorch.iwae, 20),
}


class Flops(TorchDispatchMode):
    """Counts the operations of matrix products and convolutions, backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if count := flop_registry.get(func._overloadpacket):
            self.total += count(*args, **(kwargs or {}), out_val=found)
        return found


def peer(
    make: Callable[[torch.Tensor, bool], Call], data: np.ndarray, compiled: bool, steps: int
) -> Call:
    torch.set_flush_denormal(True)  # before its threads start, which inherit it
    torch.manual_seed(0)
    return repeated(make(torch.tensor(data), compiled), steps)


def measured(work: Work, highest: Peak, repeats: int, manual_dir: str | None) -> list[Row]:
    run = loaded(work.experiment, work.changes, manual_dir)
    data = torch.tensor(run.dataset.splits["train"].x)
    torch.manual_seed(0)
    eager = work.peer(data, False)
    with Flops() as counted:
        eager()
    ways = {
        OURS: Trainer(run, work.steps),
        f"{OURS}, a step a dispatch": repeated(Trainer(run, 1), work.steps),
        "PyTorch": side_by_side.elsewhere(peer, work.peer, data.numpy(), False, work.steps),
    }
    if work.compiles:
        ways["PyTorch, compiled, fused"] = side_by_side.elsewhere(
            peer, work.peer, data.numpy(), True, work.steps
        )
    return side_by_side.compare(
        work.what, ways, repeats, work.steps, flops=counted.total, highest=highest
    )


def main() -> None:
    flags = side_by_side.flags(__doc__)
    flags.add_argument("--works", nargs="+", default=list(WORKS), choices=list(WORKS))
    flags.add_argument("--manual-dir", help="a folder with Fashion-MNIST's files")
    options = flags.parse_args()
    highest = side_by_side.peak()
    print(f"peak: {highest.name}, {side_by_side.cores()} cores; seconds of a step")
    print(side_by_side.HEADER)
    try:
        parts = []
        for name in options.works:
            parts.append(measured(WORKS[name], highest, options.repeats, options.manual_dir))
            side_by_side.show(parts[-1])
    except BadInput as error:
        sys.exit(str(error))
    rows = list(itertools.chain(*parts))
    side_by_side.write(options.json, rows, peak=highest.name)


if __name__ == "__main__":
    main()
