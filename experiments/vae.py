"""The variational autoencoder of Kingma & Welling 2014 (arXiv:1312.6114).

    python -m latentgen.run --config experiments/vae.py[:variant]

| variant | data          | what                                    | test -ELBO | two cores |
|---------|---------------|-----------------------------------------|------------|-----------|
| digits  | digits 8x8    | MLP 64-256-256-8-256-256-64             | 23.53 nats | 9 s       |
| fashion | Fashion-MNIST | MLP 784-400-20-400-784, 10 epochs       | 244.68     | 13 s      |
| conv    | Fashion-MNIST | convolutions 32, 64, code 20, 10 epochs | 240.29     | 2.6 min   |

The bound is what `python -m latentgen.evaluate --workdir DIR --split test` prints, for seed 0.
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


def digits():
    return ConfigDict(
        dict(
            seed=0,
            steps=6_000,
            batch_size=64,
            compute="float32",
            data=dict(name="digits", preprocess="unit", validation=placeholder(int)),
            method=dict(
                name="vae",
                code_dim=8,
                likelihood="bernoulli",
                std=0.1,
                beta=1.0,
                warmup_steps=0,
                ema_decay=0.0,
                ema_start=0,
            ),
            encoder=network(),
            decoder=network(),
            optimizer=dict(name="adam", lr=1e-3, b1=0.9, b2=0.999, momentum=0.9),
            every=dict(log=250, validate=1_000, sample=1_000, checkpoint=1_000),
        )
    )


def fashion():
    config = digits()
    config.data.name = "fashion_mnist"
    config.batch_size = 128
    config.steps = 4_300  # 10 epochs of 55,000
    config.method.code_dim = 20
    for net in (config.encoder, config.decoder):
        net.hidden, net.init = (400,), "normal02"
    config.every = ConfigDict(dict(log=100, validate=500, sample=500, checkpoint=500))
    return config


def conv():
    config = fashion()
    half = dict(network="conv", hidden=(512,), channels=(32, 64), init="normal02")
    config.encoder = ConfigDict(network(activation="leaky_relu", **half))
    config.decoder = ConfigDict(network(**half))
    return config


VARIANTS = {"digits": digits, "fashion": fashion, "conv": conv}


def get_config(variant="digits"):
    return choose("variant", variant, VARIANTS)()
