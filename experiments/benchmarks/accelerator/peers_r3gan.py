"""R3GAN's networks in PyTorch: the peer of latentgen.networks.r3gan."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.2
SIDE = 4


class Resample(nn.Module):
    """Twice or half the size by the filter [1, 3, 3, 1] in each direction; 0 beyond the image."""

    def __init__(self, channels: int, up: bool) -> None:
        super().__init__()
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / (4 if up else 8)
        kernel = torch.outer(taps, taps).expand(channels, 1, 4, 4)
        self.register_buffer("kernel", kernel.contiguous())
        self.conv = F.conv_transpose2d if up else F.conv2d

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.kernel.to(x.dtype)
        return self.conv(x, kernel, stride=2, padding=1, groups=x.shape[1])


class Block(nn.Module):
    """x + C3 act(C2 act(C1 x)): 1x1, grouped 3x3 and 1x1 pixels."""

    def __init__(self, channels: int, expansion: int, groups: int) -> None:
        super().__init__()
        wide = expansion * channels
        act = nn.LeakyReLU(SLOPE)
        self.layers = nn.Sequential(
            *(nn.Conv2d(channels, wide, 1), act),
            *(nn.Conv2d(wide, wide, 3, 1, 1, groups=groups), act),
            nn.Conv2d(wide, channels, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class Basis(nn.Module):
    """The 4x4 image at a generator's start, or the sum at a discriminator's end."""

    def __init__(self, channels: int, spread: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(spread * torch.randn(channels, SIDE, SIDE))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x[:, :, None, None] if x.ndim == 2 else (self.weight * x).sum((2, 3))


def stage(channels: int, groups: int) -> list[nn.Module]:
    """Two blocks."""
    return [Block(channels, 2, groups) for _ in range(2)]


def match(before: int, after: int) -> list[nn.Module]:
    """A 1x1 convolution where the number of channels changes."""
    return [nn.Conv2d(before, after, 1, bias=False)] if before != after else []


def generator(channels: tuple[int, ...], groups: tuple[int, ...], code: int) -> nn.Sequential:
    """Codes to images of 3 channels; `channels` and `groups` from the image inwards."""
    deepest = channels[-1]
    layers: list[nn.Module] = [nn.Linear(code, deepest, bias=False), Basis(deepest, 1.0)]
    layers += stage(deepest, groups[-1])
    for i in reversed(range(len(channels) - 1)):
        layers += [*match(channels[i + 1], channels[i]), Resample(channels[i], up=True)]
        layers += stage(channels[i], groups[i])
    return nn.Sequential(*layers, nn.Conv2d(channels[0], 3, 1, bias=False))


def discriminator(channels: tuple[int, ...], groups: tuple[int, ...]) -> nn.Sequential:
    """Images of 3 channels to one output."""
    layers: list[nn.Module] = [nn.Conv2d(3, channels[0], 1, bias=False)]
    for i in range(len(channels) - 1):
        layers += stage(channels[i], groups[i])
        layers += [Resample(channels[i], up=False), *match(channels[i], channels[i + 1])]
    layers += stage(channels[-1], groups[-1])
    return nn.Sequential(
        *layers, Basis(channels[-1], 1 / SIDE), nn.Linear(channels[-1], 1, bias=False)
    )
