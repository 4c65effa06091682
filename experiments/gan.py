"""Generative adversarial networks after Goodfellow et al. 2014 (arXiv:1406.2661).

    python -m latentgen.run --config experiments/gan.py[:variant]

| variant       | data          | what                                                            |
|---------------|---------------|-----------------------------------------------------------------|
| nonsaturating | digits 8x8    | MLP; G descends -log D(G(z)), section 3; 21 s on two cores      |
| minimax       | digits 8x8    | the same; G descends C(D, G), equation 1                        |
| conditional   | digits 8x8    | both players are told the class (Mirza & Osindero 2014,         |
|               |               | arXiv:1411.1784)                                                |
| projection    | digits 8x8    | the discriminator is told it by a projection (Miyato & Koyama   |
|               |               | 2018, arXiv:1802.05637)                                         |
| mixture       | digits 8x8    | codes from a trained mixture of 10 normals (DeLiGAN,            |
|               |               | Gurumurthy et al. 2017, arXiv:1706.02071)                       |
| infogan       | Fashion-MNIST | InfoGAN's network (Chen et al. 2016, arXiv:1606.03657, C.1),    |
|               |               | codes and batches of Lucic et al. 2018 (arXiv:1711.10337);      |
|               |               | 5.3 steps/s on two cores, an hour                               |
| fashion       | Fashion-MNIST | the same at half width; 11 min                                  |
| mmgan, nsgan, | Fashion-MNIST | infogan's network; game, penalty and optimizer as Lucic et al.  |
| lsgan, wgan,  |               | have them by default: minimax, non-saturating, least squares    |
| wgan_gp,      |               | (arXiv:1611.04076), WGAN (arXiv:1701.07875), WGAN-GP            |
| dragan        |               | (arXiv:1704.00028), DRAGAN (arXiv:1705.07215)                   |
| r1            | Fashion-MNIST | infogan's network; non-saturating with R1 (Mescheder et al.     |
|               |               | 2018, arXiv:1801.04406), gamma 10, RMSProp 1e-4                 |
| r3gan         | Fashion-MNIST | infogan's network; the loss of R3GAN (Huang et al. 2024,        |
|               |               | arXiv:2501.05441): relativistic, R1 + R2; not its network       |
| sngan         | Fashion-MNIST | at 32x32: residual networks, hinge, spectral norm in D, 5 D     |
|               |               | steps (Miyato et al. 2018, arXiv:1802.05957), a quarter as      |
|               |               | wide; 0.5 steps/s on two busy cores, not run to its end         |
| dcgan         | Fashion-MNIST | at 32x32: three convolutions, batch norm in both (Radford et    |
|               |               | al. 2015, arXiv:1511.06434), half as wide, without dense layers |
| stacked       | three Fashion | DCGAN on 1,000 modes: three images as colour planes (Metz et    |
|               | images        | al. 2016, arXiv:1611.02163, has MNIST)                          |
| stacked_pacgan| the same      | two examples in a pack (Lin et al. 2018, arXiv:1712.04086)      |
| ring, grid    | 8, 25 normals | MLP; 12 s and 38 s                                              |
| pacgan_ring,  | 8, 25 normals | PacGAN2 in full: its networks, 400,000 steps (Lin et al. 2018); |
| pacgan_grid   |               | method.packing=1 is the GAN beside it                           |

A plain GAN loses modes: `python -m experiments.studies.mode_coverage` counts them.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from latentgen.errors import choose


def network(**changes):
    """A network's part of the config; `channels` are read by convolutions only."""
    return (
        dict(
            network="mlp",
            hidden=(256, 256),
            channels=(64, 128),
            activation="relu",
            norm="none",
            dropout=0.0,
            init="lecun",
        )
        | changes
    )


def optimizer(**changes):
    return (
        dict(
            name="adam",
            lr=2e-4,
            schedule="constant",
            b1=0.5,
            b2=0.999,
            eps=1e-8,
            momentum=0.9,
            clip_norm=0.0,
        )
        | changes
    )


def both_optimizers(config, **changes):
    for player in ("generator", "discriminator"):
        config[f"{player}_optimizer"] = ConfigDict(optimizer(**changes))


def nonsaturating():
    return ConfigDict(
        dict(
            seed=0,
            steps=10_000,
            batch_size=64,
            compute="float32",
            data=dict(name="digits", preprocess="unit", validation=placeholder(int), pad_to=0),
            method=dict(
                name="gan",
                game="nonsaturating",
                penalty="none",
                penalty_weight=10.0,
                weight_clip=0.0,
                discriminator_steps=1,
                packing=1,
                prior="normal",
                code_dim=32,
                components=10,
                classes=0,
                condition="beside",
                ema_decay=0.999,
                ema_start=1_000,
            ),
            generator=network(norm="batch"),
            discriminator=network(activation="leaky_relu", dropout=0.3),
            generator_optimizer=optimizer(),
            discriminator_optimizer=optimizer(),
            skip_diverged=0,
            every=dict(log=250, validate=1_000, sample=1_000, checkpoint=5_000),
        )
    )


def minimax():
    config = nonsaturating()
    config.method.game = "minimax"
    return config


def conditional():
    config = nonsaturating()
    config.method.classes = 10
    return config


def projection():
    config = conditional()
    config.method.condition = "projection"
    return config


def mixture():
    config = nonsaturating()
    config.method.prior = "mixture"
    return config


def infogan():
    config = nonsaturating()
    config.data.name = "fashion_mnist"
    config.steps = 17_200  # 20 epochs of 55,000
    config.method.update(code_dim=64, prior="uniform")
    conv = dict(network="conv", hidden=(1024,), norm="batch", init="normal02")
    config.generator = ConfigDict(network(**conv))
    config.discriminator = ConfigDict(network(activation="leaky_relu", **conv))
    config.every = ConfigDict(dict(log=50, validate=850, sample=850, checkpoint=850))
    return config


def fashion():
    config = infogan()
    halve(config)
    return config


def halve(config):
    """InfoGAN's network at half its width: five times as fast on two cores."""
    for net in (config.generator, config.discriminator):
        net.hidden, net.channels = (512,), (32, 64)


def mmgan():
    config = infogan()
    config.method.update(game="minimax", ema_decay=0.0)
    both_optimizers(config, lr=5e-5, b1=0.0)
    return config


def nsgan():
    config = mmgan()
    config.method.game = "nonsaturating"
    return config


def lsgan():
    config = mmgan()
    config.method.game = "least_squares"
    both_optimizers(config)
    return config


def wgan():
    config = mmgan()
    config.method.update(game="wasserstein", weight_clip=0.01, discriminator_steps=5)
    config.steps = 3_440  # 20 epochs in D's data
    config.every.update(log=20, validate=340, sample=340, checkpoint=340)
    both_optimizers(config, lr=5e-5)
    return config


def wgan_gp():
    config = wgan()
    config.method.update(weight_clip=0.0, penalty="wgan_gp")
    config.discriminator.norm = "none"
    both_optimizers(config, lr=1e-4)
    return config


def dragan():
    config = mmgan()
    config.method.update(game="nonsaturating", penalty="dragan")
    config.discriminator.norm = "none"
    both_optimizers(config, lr=1e-4)
    return config


def r1():
    config = nsgan()
    config.method.update(penalty="r1", ema_decay=0.999)
    config.discriminator.norm = "none"
    both_optimizers(config, name="rmsprop", lr=1e-4, b2=0.99)
    return config


def r3gan():
    config = infogan()
    config.method.update(game="relativistic", penalty="r1_r2", penalty_weight=5.0)
    config.discriminator.norm = "none"
    both_optimizers(config, b1=0.0, b2=0.99)
    return config


def sngan():
    config = infogan()
    config.data.pad_to = 32
    config.steps = 17_200
    config.method.update(game="hinge", code_dim=128, prior="normal", discriminator_steps=5)
    res = dict(network="resnet", hidden=(), init="glorot")
    config.generator = ConfigDict(network(norm="batch", channels=(64, 64, 64), **res))
    config.discriminator = ConfigDict(network(norm="spectral", channels=(32, 32), **res))
    both_optimizers(config, b1=0.0, b2=0.9)
    return config


def dcgan():
    config = infogan()
    config.data.pad_to = 32
    config.method.update(code_dim=100)
    for net in (config.generator, config.discriminator):
        net.hidden, net.channels = (), (32, 64, 128)
    both_optimizers(config)
    return config


def stacked():
    config = dcgan()
    config.data.name = "stacked_fashion_mnist"
    return config


def stacked_pacgan():
    config = stacked()
    config.batch_size = 128  # 64 packs
    config.method.packing = 2
    return config


def ring():
    config = nonsaturating()
    config.data.update(name="ring", preprocess="none")
    config.batch_size = 256
    config.method.code_dim = 2
    config.generator = ConfigDict(network(hidden=(128, 128)))
    config.discriminator = ConfigDict(network(hidden=(128, 128)))
    return config


def grid():
    config = ring()
    config.data.name = "grid"
    config.steps = 20_000
    for player in ("generator", "discriminator"):
        config[player].hidden = (256, 256)
        config[f"{player}_optimizer"].lr = 1e-3
    return config


def pacgan_ring():
    config = ring()
    config.steps, config.batch_size = 400_000, 200  # 100 packs
    config.method.update(packing=2, ema_decay=0.0)
    config.generator = ConfigDict(network(hidden=(400,) * 4, norm="batch", init="normal02"))
    config.discriminator = ConfigDict(
        network(hidden=(200,) * 3, activation="maxout", init="normal02")
    )
    both_optimizers(config, lr=1e-4, b1=0.8)
    config.every = ConfigDict(dict(log=1_000, validate=10_000, sample=10_000, checkpoint=10_000))
    return config


def pacgan_grid():
    config = pacgan_ring()
    config.data.name = "grid"
    return config


VARIANTS = {
    f.__name__: f
    for f in (
        *(nonsaturating, minimax, conditional, projection, mixture, infogan, fashion),
        *(mmgan, nsgan, lsgan, wgan, wgan_gp, dragan, r1, r3gan, sngan, dcgan),
        *(stacked, stacked_pacgan, ring, grid, pacgan_ring, pacgan_grid),
    )
}


def get_config(variant="nonsaturating"):
    return choose("variant", variant, VARIANTS)()
