"""The generative adversarial network of Goodfellow et al. 2014 (arXiv:1406.2661).

    python -m latentgen.run --config experiments/gan.py[:variant]

| variant       | data          | what                                        | on two cores     |
|---------------|---------------|---------------------------------------------|------------------|
| nonsaturating | digits 8x8    | MLP; G descends -log D(G(z)), section 3     | 21 s             |
| minimax       | digits 8x8    | the same; G descends C(D, G), equation 1    | 21 s             |
| fashion       | Fashion-MNIST | InfoGAN's network at half width, 20 epochs  | 11 min           |
| infogan       | Fashion-MNIST | InfoGAN's network (Chen et al. 2016, C.1),  | 5.3 steps/s, not |
|               |               | codes and batches of Lucic et al. 2018      | run to its end   |
|               |               | (arXiv:1711.10337), 20 epochs               | (about an hour)  |
| ring          | 8 normals     | MLP                                         | 12 s             |
| grid          | 25 normals    | MLP                                         | 38 s             |

A plain GAN loses modes: of the ring's 8 the samples show all, of the grid's 25 about 20.
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
        dict(name="adam", lr=2e-4, schedule="constant", b1=0.5, b2=0.999, eps=1e-8, momentum=0.9)
        | changes
    )


def nonsaturating():
    return ConfigDict(
        dict(
            seed=0,
            steps=10_000,
            batch_size=64,
            compute="float32",
            data=dict(name="digits", preprocess="unit", validation=placeholder(int)),
            method=dict(
                name="gan",
                game="nonsaturating",
                prior="normal",
                code_dim=32,
                discriminator_steps=1,
                ema_decay=0.999,
                ema_start=1_000,
            ),
            generator=network(norm="batch"),
            discriminator=network(activation="leaky_relu", dropout=0.3),
            generator_optimizer=optimizer(),
            discriminator_optimizer=optimizer(),
            every=dict(log=250, validate=1_000, sample=1_000, checkpoint=1_000),
        )
    )


def minimax():
    config = nonsaturating()
    config.method.game = "minimax"
    return config


def infogan():
    config = nonsaturating()
    config.data.name = "fashion_mnist"
    config.steps = 17_200  # 20 epochs of 55,000
    config.method.code_dim = 64
    config.method.prior = "uniform"
    conv = dict(network="conv", hidden=(1024,), norm="batch", init="normal02")
    config.generator = ConfigDict(network(**conv))
    config.discriminator = ConfigDict(network(activation="leaky_relu", **conv))
    config.every = ConfigDict(dict(log=50, validate=850, sample=850, checkpoint=850))
    return config


def fashion():
    config = infogan()
    for net in (config.generator, config.discriminator):
        net.hidden, net.channels = (512,), (32, 64)
    return config


def ring():
    config = nonsaturating()
    config.data = ConfigDict(dict(name="ring", preprocess="none", validation=placeholder(int)))
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


VARIANTS = {f.__name__: f for f in (nonsaturating, minimax, fashion, infogan, ring, grid)}


def get_config(variant="nonsaturating"):
    return choose("variant", variant, VARIANTS)()
