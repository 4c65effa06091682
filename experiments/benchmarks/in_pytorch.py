"""The benchmarks' peer: latentgen's models in idiomatic PyTorch.

Shares no code with latentgen, but has the same networks, losses, batch sizes and optimizers. Data
are the same uint8 images in memory; each step gathers and scales a random batch of them.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Step = Callable[[], None]


def batches(x: Tensor, size: int) -> Iterator[Tensor]:
    """Yield every example once an epoch, in a new order each time."""
    while True:
        for rows in torch.randperm(len(x)).split(size):
            if len(rows) == size:
                yield x[rows].float() / 255 if x.dtype == torch.uint8 else x[rows]


def adam(of: nn.Module, fused: bool, lr: float = 1e-3, **options: Any) -> torch.optim.Adam:
    return torch.optim.Adam(of.parameters(), lr=lr, fused=fused, **options)


def descend(tx: torch.optim.Optimizer, loss: Tensor) -> None:
    tx.zero_grad(set_to_none=True)
    loss.backward()
    tx.step()


# Networks


def mlp(widths: Iterable[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    widths = list(widths)
    layers: list[nn.Module] = []
    for i, o in pairwise(widths):
        layers += [nn.Linear(i, o), activation()]
    return nn.Sequential(*layers[:-1])


class Shaped(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.view(len(x), *self.shape)


def norm(kind: Callable[[int], nn.Module], features: int, used: bool) -> list[nn.Module]:
    return [kind(features)] if used else []


def conv_encoder(outputs: int, normed: bool, side: int = 28, width: int = 64) -> nn.Sequential:
    """InfoGAN's discriminator for 28x28 images: two convolutions, 1,024 units."""
    small, hidden = side // 4, 16 * width
    return nn.Sequential(
        *(nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2)),
        nn.Conv2d(width, 2 * width, 4, 2, 1, bias=not normed),
        *(*norm(nn.BatchNorm2d, 2 * width, normed), nn.LeakyReLU(0.2), nn.Flatten()),
        nn.Linear(small * small * 2 * width, hidden, bias=not normed),
        *(*norm(nn.BatchNorm1d, hidden, normed), nn.LeakyReLU(0.2)),
        nn.Linear(hidden, outputs),
    )


def conv_decoder(code: int, normed: bool, side: int = 28, width: int = 64) -> nn.Sequential:
    """InfoGAN's generator for 28x28 images; gives logits."""
    small, hidden = side // 4, 16 * width
    flat = small * small * 2 * width
    return nn.Sequential(
        nn.Linear(code, hidden, bias=not normed),
        *(*norm(nn.BatchNorm1d, hidden, normed), nn.ReLU()),
        nn.Linear(hidden, flat, bias=not normed),
        *(*norm(nn.BatchNorm1d, flat, normed), nn.ReLU(), Shaped(2 * width, small, small)),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1, bias=not normed),
        *(*norm(nn.BatchNorm2d, width, normed), nn.ReLU()),
        nn.ConvTranspose2d(width, 1, 4, 2, 1),
    )


# Variational autoencoders


class VAE(nn.Module):
    """Minus the ELBO of Bernoulli pixels, the KL in closed form; the mean over the batch."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def forward(self, x: Tensor) -> Tensor:
        mean, log_std = self.encoder(x).chunk(2, dim=1)
        z = mean + log_std.exp() * torch.randn_like(mean)
        distortion = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        rate = 0.5 * (mean**2 + (2 * log_std).exp() - 1 - 2 * log_std).sum()
        return (distortion + rate) / len(x)


class IWAE(VAE):
    """Minus the importance-weighted bound of k codes."""

    def __init__(self, encoder: nn.Module, decoder: nn.Module, k: int) -> None:
        super().__init__(encoder, decoder)
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        mean, log_std = self.encoder(x).chunk(2, dim=1)
        noise = torch.randn(self.k, *mean.shape)
        z = mean + log_std.exp() * noise
        logits = self.decoder(z)
        each = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
        log_w = -each.sum(-1) + (0.5 * (noise**2 - z**2) + log_std).sum(-1)
        return -(torch.logsumexp(log_w, 0) - math.log(self.k)).mean()


def trained(model: nn.Module, data: Iterator[Tensor], compiled: bool) -> Step:
    """A step of Adam at 1e-3; compiled: the loss by torch.compile, Adam as one fused kernel."""
    loss = torch.compile(model) if compiled else model
    tx = adam(model, fused=compiled)
    return lambda: descend(tx, loss(next(data)))


def mlp_vae(x: Tensor, compiled: bool, batch: int = 128) -> Step:
    model = VAE(mlp((784, 400, 40)), mlp((20, 400, 784)))
    return trained(model, batches(x.view(len(x), -1), batch), compiled)


def conv_vae(x: Tensor, compiled: bool, side: int = 28, width: int = 64) -> Step:
    encoder, decoder = (
        of(code, normed=False, side=side, width=width)
        for of, code in ((conv_encoder, 40), (conv_decoder, 20))
    )
    return trained(VAE(encoder, decoder), batches(x.view(-1, 1, side, side), 64), compiled)


def iwae(x: Tensor, compiled: bool, k: int = 50) -> Step:
    encoder, decoder = mlp((784, 200, 200, 100), nn.Tanh), mlp((50, 200, 200, 784), nn.Tanh)
    binary = (x > 127).byte() * 255
    return trained(IWAE(encoder, decoder, k), batches(binary.view(len(x), -1), 100), compiled)


# Generative adversarial networks


class GAN:
    """Two players; each turn draws codes of its own, D's on real images, G's against a still D."""

    def __init__(
        self, generator: nn.Module, discriminator: nn.Module, code: Callable[[int], Tensor]
    ) -> None:
        self.generator, self.discriminator, self.code = generator, discriminator, code

    def judge(self, x: Tensor) -> Tensor:
        """D's loss: minus C(D, G)."""
        with torch.no_grad():
            synthetic = self.generator(self.code(len(x)))
        real, synthetic = self.discriminator(x), self.discriminator(synthetic)
        return (F.softplus(-real) + F.softplus(synthetic)).mean()

    def pass_for_real(self, x: Tensor) -> Tensor:
        """G's loss, non-saturating."""
        return F.softplus(-self.discriminator(self.generator(self.code(len(x))))).mean()


class R3GAN(GAN):
    """The relativistic game with R1 and R2 of weight 5: R3GAN's loss."""

    def judge(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            synthetic = self.generator(self.code(len(x)))
        penalty = 0.0
        scores = []
        for images in (x.requires_grad_(), synthetic.requires_grad_()):
            score = self.discriminator(images)
            (slope,) = torch.autograd.grad(score.sum(), images, create_graph=True)
            penalty = penalty + slope.square().sum() / 2
            scores.append(score)
        real, synthetic = scores
        return (F.softplus(synthetic - real).sum() + 5.0 * penalty) / len(x)

    def pass_for_real(self, x: Tensor) -> Tensor:
        synthetic = self.discriminator(self.generator(self.code(len(x))))
        with torch.no_grad():
            real = self.discriminator(x)
        return F.softplus(real - synthetic).mean()


def played(game: GAN, data: Iterator[Tensor], compiled: bool, **adam_options: Any) -> Step:
    """Both players' turns, each by Adam."""
    players = game.generator, game.discriminator
    g_tx, d_tx = (adam(player, fused=compiled, **adam_options) for player in players)
    judge, pass_for_real = (
        torch.compile(f) if compiled else f for f in (game.judge, game.pass_for_real)
    )

    def step() -> None:
        x = next(data)
        game.discriminator.requires_grad_(True)
        descend(d_tx, judge(x))
        game.discriminator.requires_grad_(False)
        descend(g_tx, pass_for_real(x))

    return step


def uniform_code(n: int) -> Tensor:
    return torch.rand(n, 64) * 2 - 1


def conv_gan(x: Tensor, compiled: bool) -> Step:
    generator = nn.Sequential(conv_decoder(64, normed=True), nn.Sigmoid())
    game = GAN(generator, conv_encoder(1, normed=True), uniform_code)
    return played(game, batches(x.view(-1, 1, 28, 28), 64), compiled, lr=2e-4, betas=(0.5, 0.999))


def r3gan(x: Tensor, compiled: bool) -> Step:
    if compiled:
        raise ValueError("torch.compile does not differentiate twice.")
    generator = nn.Sequential(conv_decoder(64, normed=True), nn.Sigmoid())
    game = R3GAN(generator, conv_encoder(1, normed=False), uniform_code)
    return played(game, batches(x.view(-1, 1, 28, 28), 64), compiled, lr=2e-4, betas=(0.0, 0.99))


def ring_gan(points: Tensor, compiled: bool) -> Step:
    game = GAN(mlp((2, 128, 128, 2)), mlp((2, 128, 128, 1)), lambda n: torch.randn(n, 2))
    return played(game, batches(points, 256), compiled, lr=2e-4, betas=(0.5, 0.999))
