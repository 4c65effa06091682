"""The works in PyTorch at its best, in a process of its own: see `workers`.

Channels last, fused Adam, autocast for bfloat16, images and random numbers made on the device, and
no synchronizing within a call. Networks and losses are those of `in_pytorch` where it has them.
"""

import gc
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from experiments.benchmarks import in_pytorch
from experiments.benchmarks.accelerator import peers_r3gan, peers_stylegan2
from experiments.benchmarks.accelerator.configs import images
from experiments.benchmarks.accelerator.works import Work
from experiments.benchmarks.in_pytorch import R3GAN, VAE, Shaped, adam, descend, mlp
from experiments.benchmarks.side_by_side import Took

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
HELD: dict[str, Callable[[], None]] = {}
Step = Callable[[], None]


def synchronize() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


# Networks


def encoder(channels: tuple[int, ...], side: int, outputs: int, normed: bool, slope: float):
    """DCGAN's discriminator: a convolution for each halving, one linear layer."""
    layers: list[nn.Module] = []
    for i, (before, width) in enumerate(zip((3, *channels), channels, strict=False)):
        norm = normed and i > 0
        layers += [nn.Conv2d(before, width, 4, 2, 1, bias=not norm)]
        layers += [nn.BatchNorm2d(width)] if norm else []
        layers += [nn.LeakyReLU(slope)]
    small = side // 2 ** len(channels)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(small * small * channels[-1], outputs))


def decoder(channels: tuple[int, ...], side: int, code: int, normed: bool) -> nn.Sequential:
    """DCGAN's generator: one linear layer, a transposed convolution for each doubling; logits."""
    small, deepest = side // 2 ** len(channels), channels[-1]
    flat = small * small * deepest
    layers: list[nn.Module] = [nn.Linear(code, flat, bias=not normed)]
    layers += [nn.BatchNorm1d(flat)] if normed else []
    layers += [nn.ReLU(), Shaped(deepest, small, small)]
    for before, width in zip(channels[:0:-1], channels[-2::-1], strict=True):
        layers += [nn.ConvTranspose2d(before, width, 4, 2, 1, bias=not normed)]
        layers += [nn.BatchNorm2d(width)] if normed else []
        layers += [nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(channels[0], 3, 4, 2, 1))


Wrap = Callable[[nn.Module], nn.Module]


class Block(nn.Module):
    """latentgen.networks.resnet.Block: two convolutions of 3x3 pixels beside a shortcut."""

    def __init__(self, before: int, width: int, resize: str, normed: bool, wrap: Wrap, **how: Any):
        super().__init__()
        data = how.get("data", False)
        norm = nn.BatchNorm2d if normed else lambda _: nn.Identity()
        act = nn.LeakyReLU(how["slope"])
        self.resize = resize
        self.first = nn.Identity() if data else nn.Sequential(norm(before), act)
        self.one = wrap(nn.Conv2d(before, width, 3, 1, 1, bias=data or not normed))
        self.between = nn.Sequential(nn.Identity() if data else norm(width), act)
        self.two = wrap(nn.Conv2d(width, width, 3, 1, 1))
        changes = resize != "keep" or before != width
        self.short = wrap(nn.Conv2d(before, width, 1)) if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        if self.resize == "double":
            y = F.interpolate(y, scale_factor=2, mode="nearest")
        y = self.two(self.between(self.one(y)))
        if self.resize == "halve":
            return self.short(F.avg_pool2d(x, 2)) + F.avg_pool2d(y, 2)
        short = self.short(x)
        if self.resize == "double":
            short = F.interpolate(short, scale_factor=2, mode="nearest")
        return short + y


class Sum(nn.Module):
    """The sum over an image's pixels, in float32."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum((2, 3), dtype=torch.float32)


def res_encoder(channels: tuple[int, ...], wrap: Wrap, slope: float) -> nn.Sequential:
    """Residual blocks that halve the image, one that does not, a sum over pixels, one output."""
    blocks: list[nn.Module] = []
    for i, (before, width) in enumerate(zip((3, *channels), channels, strict=False)):
        blocks.append(Block(before, width, "halve", False, wrap, data=i == 0, slope=slope))
    last = channels[-1]
    blocks.append(Block(last, last, "keep", False, wrap, slope=slope))
    return nn.Sequential(*blocks, nn.LeakyReLU(slope), Sum(), wrap(nn.Linear(last, 1)))


def res_decoder(
    channels: tuple[int, ...], side: int, code: int, normed: bool, slope: float
) -> nn.Sequential:
    """One linear layer, residual blocks that double the image, a convolution; logits."""
    small, deepest = side // 2 ** len(channels), channels[-1]
    blocks: list[nn.Module] = [
        nn.Linear(code, small * small * deepest),
        Shaped(deepest, small, small),
    ]
    for before, width in zip((deepest, *channels[::-1]), channels[::-1], strict=False):
        blocks.append(Block(before, width, "double", normed, lambda m: m, slope=slope))
    norm = [nn.BatchNorm2d(channels[0])] if normed else []
    last = nn.Conv2d(channels[0], 3, 3, 1, 1)
    return nn.Sequential(*blocks, *norm, nn.LeakyReLU(slope), last)


# Games


class NonSaturating(in_pytorch.GAN):
    """`in_pytorch.GAN` as it is."""


class Hinge(in_pytorch.GAN):
    """The hinge game of SNGAN."""

    def judge(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            synthetic = self.generator(self.code(len(x)))
        real, synthetic = self.discriminator(x), self.discriminator(synthetic)
        return (F.relu(1 - real) + F.relu(1 + synthetic)).mean()

    def pass_for_real(self, x: Tensor) -> Tensor:
        return -self.discriminator(self.generator(self.code(len(x)))).mean()


def normal(dim: int) -> Callable[[int], Tensor]:
    return lambda n: torch.randn(n, dim, device=DEVICE)


def game(name: str, work: Work) -> in_pytorch.GAN:
    """Generator and discriminator of a work."""
    side = work.shape[0]
    if name == "dcgan":
        g = decoder(work.widths[0], side, work.code, normed=True)
        d = encoder(work.widths[0], side, 1, normed=True, slope=0.2)
        return NonSaturating(nn.Sequential(g, nn.Sigmoid()), d, normal(work.code))
    if name == "sngan":
        wide_g, wide_d = work.widths
        g = res_decoder(wide_g, side, work.code, normed=True, slope=0.0)
        d = res_encoder(wide_d, spectral_norm, slope=0.0)
        return Hinge(nn.Sequential(g, nn.Sigmoid()), d, normal(work.code))
    if name == "r3gan":
        channels, groups = work.widths
        g = peers_r3gan.generator(channels, groups, work.code)
        return R3GAN(g, peers_r3gan.discriminator(channels, groups), normal(work.code))
    if name == "stylegan2":
        ((base, most),) = work.widths
        sizes = side, work.code, base, most
        return peers_stylegan2.game(*sizes, layers=2, group=32, codes=normal(work.code))
    (wide,) = work.widths
    g = res_decoder(wide, side, work.code, normed=False, slope=0.2)
    d = res_encoder(wide, lambda m: m, slope=0.2)
    return R3GAN(nn.Sequential(g, nn.Sigmoid()), d, normal(work.code))


def autoencoder(name: str, work: Work) -> VAE:
    """Encoder and decoder of a work."""
    if name == "mlp_vae":
        (hidden,) = work.widths
        return VAE(mlp((784, *hidden, 2 * work.code)), mlp((work.code, *hidden[::-1], 784)))
    side, (channels,) = work.shape[0], work.widths
    return VAE(
        encoder(channels, side, 2 * work.code, normed=False, slope=0.2),
        decoder(channels, side, work.code, normed=False),
    )


# Training


def batches(work: Work, batch: int, flat: bool) -> Iterator[Tensor]:
    """Random batches of uint8 images that lie on the device."""
    raw = torch.from_numpy(images(max(2048, batch), work.shape)).to(DEVICE)
    x = raw.flatten(1) if flat else raw.permute(0, 3, 1, 2)  # a view: channels last
    while True:
        rows = torch.randint(len(x), (batch,), device=DEVICE)
        yield x[rows].float() / 255


def loss_of(loss: Callable[[Tensor], Tensor], narrow: bool, compiled: bool):
    """The loss, under autocast and compiled where asked."""

    def cast(x: Tensor) -> Tensor:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=narrow):
            return loss(x)

    return torch.compile(cast, dynamic=False) if compiled else cast


def step_of(name: str, work: Work, precision: str, batch: int, compiled: bool) -> tuple[Step, int]:
    """One step of training, and how many parameters it trains."""
    narrow = precision == "bfloat16"
    data = batches(work, batch, flat=name == "mlp_vae")
    if name.endswith("_vae"):
        model = _placed(autoencoder(name, work))
        loss, tx = loss_of(model, narrow, compiled), adam(model, fused=True)
        return lambda: descend(tx, loss(next(data))), _size(model)
    played, repeats = game(name, work), 5 if name == "sngan" else 1
    players = [_placed(played.generator), _placed(played.discriminator)]
    g_tx, d_tx = (adam(p, fused=True, lr=2e-4, betas=(0.5, 0.999)) for p in players)
    judge, pass_for_real = (
        loss_of(f, narrow, compiled) for f in (played.judge, played.pass_for_real)
    )

    every, turns = getattr(played, "penalty_every", 0), itertools.count()

    def step() -> None:
        players[1].requires_grad_(True)
        if every and next(turns) % every == 0:  # torch.compile does not differentiate twice
            descend(d_tx, played.penalty(next(data)))
        for _ in range(repeats):
            x = next(data)
            descend(d_tx, judge(x))
        players[1].requires_grad_(False)
        descend(g_tx, pass_for_real(x))

    return step, sum(map(_size, players))


def _placed(module: nn.Module) -> nn.Module:
    return module.to(DEVICE, memory_format=torch.channels_last)


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def build(key: str, name: str, work: Work, precision: str, how: tuple[int, int, bool]) -> dict:
    """Hold a call of so many steps under this key, and warm it up.

    Args:
        how: batch, steps to a call, whether torch.compile is used.
    """
    batch, steps, compiled = how
    torch.manual_seed(0)
    tf32 = precision != "float32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    step, size = step_of(name, work, precision, batch, compiled)
    for _ in range(3):
        step()
    synchronize()

    def call() -> None:
        for _ in range(steps):
            step()
        synchronize()

    HELD[key] = call
    peak = torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None
    return {
        "parameters": size,
        "bytes": peak,
        "compile_seconds": round(time.perf_counter() - began, 1),
    }


def timed(key: str) -> Took:
    """Time the call that was kept under this key."""
    began = time.perf_counter()
    HELD[key]()
    return Took(time.perf_counter() - began, 0.0)


def drop() -> None:
    """Let go of all calls and their memory."""
    HELD.clear()
    gc.collect()
    torch.compiler.reset()
    if DEVICE == "cuda":
        torch.cuda.empty_cache()


def out_of_memory(message: str) -> bool:
    """True if a traceback is of too little memory."""
    return any(word in message for word in ("OutOfMemory", "out of memory", "RESOURCE_EXHAUSTED"))
