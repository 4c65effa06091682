"""StyleGAN2's networks and game in PyTorch at its best: latentgen.networks.stylegan2, again.

Of its variants the ones that `experiments/gan.py:stylegan2_cifar10` names: the generator is 'skip'
with noise, the discriminator 'orig', without classes. Kernels lie as PyTorch's convolutions want
them. The gain of leaky ReLU is taken into kernels, biases and factors of channels, which saves a
pass over the images.

Reference: Karras et al. 2020 (arXiv:1912.04958).
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.benchmarks import in_pytorch

SMALLEST = 4  # side of the smallest image
SLOPE, GAIN = 0.2, 2**0.5  # of leaky ReLU
CLAMP = 256.0  # greatest magnitude of a convolution's outputs
EPSILON = 1e-8
RATE, DECAY = 0.01, 0.995  # learning rate of the mapping network, moving average of w


def channels_of(side: int, base: int, largest: int) -> dict[int, int]:
    """Channels by side, from 4 pixels up to the image."""
    sides = [2**i for i in range(2, side.bit_length())]
    return {s: min(base // s, largest) for s in sides}


def taps(channels: int, gain: float = 1.0) -> Tensor:
    """The filter [1, 3, 3, 1] in each direction, for every channel apart."""
    line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return (gain * torch.outer(line, line)).repeat(channels, 1, 1, 1)


def leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE, inplace=True)


def per_channel(factors: Tensor, of: Tensor) -> Tensor:
    return factors.to(of.dtype)[..., None, None]


# Layers


class Dense(nn.Module):
    """A linear layer scaled at run time; rate: its learning rate relative to others."""

    def __init__(
        self, inputs: int, outputs: int, rate: float = 1.0, bias: float = 0.0, active: bool = False
    ) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias))
        self.active, self.rate = active, rate * (GAIN if active else 1.0)
        self.scale = self.rate * inputs**-0.5

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.kernel * self.scale, self.bias * self.rate)
        return leaky(y) if self.active else y


class Conv(nn.Module):
    """A convolution with bias, leaky ReLU, clamp; halve: the filter, then a stride of 2."""

    def __init__(self, before: int, width: int, size: int, halve: bool = False) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(width, before, size, size))
        self.bias = nn.Parameter(torch.zeros(width))
        self.scale, self.halve = GAIN * (size**2 * before) ** -0.5, halve
        self.stride, self.padding = (2, 0) if halve else (1, size // 2)
        if halve:
            self.register_buffer("taps", taps(before), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.halve:
            x = F.conv2d(x, self.taps, padding=2, groups=len(self.taps))
        kernel, bias = self.kernel * self.scale, self.bias * GAIN
        return leaky(F.conv2d(x, kernel, bias, self.stride, self.padding)).clamp(-CLAMP, CLAMP)


class Styled(nn.Module):
    """A 3x3 convolution of modulated inputs, demodulated, with noise, bias, leaky ReLU and clamp.

    double: a transposed convolution with a stride of 2, then the filter
    """

    def __init__(self, before: int, width: int, code: int, double: bool = False) -> None:
        super().__init__()
        self.style = Dense(code, before, bias=1.0)
        shape = (before, width) if double else (width, before)
        self.kernel = nn.Parameter(torch.randn(*shape, 3, 3))
        self.bias = nn.Parameter(torch.zeros(width))
        self.strength = nn.Parameter(torch.zeros(()))
        self.double = double
        if double:
            self.register_buffer("taps", taps(width, gain=4.0), persistent=False)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        style = self.style(w)
        energy = self.kernel.square().sum((2, 3))
        variance = style.square() @ (energy if self.double else energy.t())
        x = x * per_channel(style, x)
        if self.double:
            y = F.conv_transpose2d(x, self.kernel, stride=2)
            y = F.conv2d(y, self.taps, padding=1, groups=len(self.taps))
        else:
            y = F.conv2d(x, self.kernel, padding=1)
        n, _, h, width = y.shape
        noise = torch.randn(n, 1, h, width, device=y.device, dtype=y.dtype)
        factors = GAIN * torch.rsqrt(variance + EPSILON)
        y = torch.addcmul(per_channel(self.bias * GAIN, y), y, per_channel(factors, y))
        return leaky(y + noise * (self.strength * GAIN)).clamp(-CLAMP, CLAMP)


class ToImage(nn.Module):
    """A 1x1 convolution of modulated inputs to three channels, bias, clamp."""

    def __init__(self, before: int, code: int) -> None:
        super().__init__()
        self.style = Dense(code, before, bias=1.0)
        self.kernel = nn.Parameter(torch.randn(3, before, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.scale = before**-0.5

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        x = x * per_channel(self.style(w) * self.scale, x)
        return F.conv2d(x, self.kernel, self.bias).clamp(-CLAMP, CLAMP).float()


# Networks


class Mapping(nn.Module):
    """Dense layers on the normalized code; in G's training the mean of w enters an average."""

    def __init__(self, code: int, layers: int) -> None:
        super().__init__()
        dense = (Dense(code, code, RATE, active=True) for _ in range(layers))
        self.layers = nn.Sequential(*dense)
        self.register_buffer("average", torch.zeros(code))

    def forward(self, z: Tensor) -> Tensor:
        w = self.layers(z * torch.rsqrt(z.square().mean(1, keepdim=True) + EPSILON))
        if self.training and torch.is_grad_enabled():
            with torch.no_grad():
                self.average.lerp_(w.mean(0, dtype=torch.float32), 1 - DECAY)
        return w


class Generator(nn.Module):
    """A trained 4x4 image, two styled convolutions for each doubling; every size adds an image."""

    def __init__(self, channels: dict[int, int], code: int, layers: int) -> None:
        super().__init__()
        widths = list(channels.values())
        self.mapping = Mapping(code, layers)
        self.constant = nn.Parameter(torch.randn(1, widths[0], SMALLEST, SMALLEST))
        self.ups = nn.ModuleList(Styled(i, o, code, double=True) for i, o in pairwise(widths))
        self.convs = nn.ModuleList(Styled(width, width, code) for width in widths)
        self.images = nn.ModuleList(ToImage(width, code) for width in widths)
        self.register_buffer("taps", taps(3, gain=4.0), persistent=False)

    def forward(self, z: Tensor) -> Tensor:
        w = self.mapping(z)
        x = self.convs[0](self.constant, w)
        image = self.images[0](x, w)
        for up, conv, to_image in zip(self.ups, self.convs[1:], self.images[1:], strict=True):
            x = conv(up(x, w), w)
            image = F.conv_transpose2d(image, self.taps, stride=2, padding=1, groups=3)
            image = image + to_image(x, w)
        return image


class Deviations(nn.Module):
    """A channel that holds the mean standard deviation over a group of examples.

    Examples i, i + n / group, i + 2 n / group, ... are a group. Where `group` does not divide n,
    the largest size below that does.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        n, _, h, w = x.shape
        group = max(d for d in range(1, min(n, self.group) + 1) if n % d == 0)
        variance = x.view(group, n // group, *x.shape[1:]).var(0, correction=0)
        means = (variance + EPSILON).sqrt().mean((1, 2, 3)).repeat(group)
        return torch.cat([x, means[:, None, None, None].expand(n, 1, h, w)], dim=1)


class Flat(nn.Module):
    """Pixels of an image that lies with its channels last: a view."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def discriminator(channels: dict[int, int], group: int) -> nn.Sequential:
    """Two convolutions for each halving, deviations over the batch, dense layers; one output."""
    widths = list(channels.values())[::-1]
    layers: list[nn.Module] = [Conv(3, widths[0], 1)]
    for width, smaller in pairwise(widths):
        layers += [Conv(width, width, 3), Conv(width, smaller, 3, halve=True)]
    last = widths[-1]
    layers += [Deviations(group), Conv(last + 1, last, 3), Flat()]
    dense = Dense(last * SMALLEST**2, last, active=True)
    return nn.Sequential(*layers, dense, Dense(last, 1))


# Game


class StyleGAN2(in_pytorch.GAN):
    """The non-saturating game, and R1 for every 16th turn of D."""

    gamma, penalty_every = 0.01, 16

    def penalty(self, x: Tensor) -> Tensor:
        """R1: gamma / 2 times the mean of |dD(x) / dx|^2."""
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.discriminator(x).sum(), x, create_graph=True)
        return slope.square().sum() * (self.gamma / 2 / len(x))


def game(
    side: int,
    code: int,
    channel_base: int,
    channel_max: int,
    layers: int,
    group: int,
    codes: Callable[[int], Tensor],
) -> StyleGAN2:
    """Generator and discriminator of images of side x side pixels.

    Args:
        code: numbers in a code, in w and in each layer between.
        channel_base, channel_max: a layer of side r has min(channel_base // r, channel_max)
            channels.
        layers: of the mapping network.
        group: examples whose standard deviation the last layers see.
        codes: n -> codes (n, code), on the device of the networks.
    """
    channels = channels_of(side, channel_base, channel_max)
    return StyleGAN2(Generator(channels, code, layers), discriminator(channels, group), codes)
