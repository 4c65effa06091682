"""The generative adversarial network of Goodfellow et al. 2014 (arXiv:1406.2661).

python -m latentgen.run --config experiments/gan.py[:variant]
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
    return dict(name="adam", lr=2e-4, b1=0.5, b2=0.999, momentum=0.9) | changes


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
    return config


VARIANTS = {f.__name__: f for f in (nonsaturating, minimax, fashion, infogan, ring, grid)}


def get_config(variant="nonsaturating"):
    return choose("variant", variant, VARIANTS)()
