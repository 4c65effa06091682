"""Classifiers whose features and logits generators are judged by.

    python -m latentgen.run --config experiments/classifier.py[:variant]
    python -m latentgen.export --workdir runs/classifier --out latentgen/evaluation/classifiers/NAME

| variant       | data          | test accuracy | on two cores |
|---------------|---------------|---------------|--------------|
| digits        | digits 8x8    | 200 of 200    | 8 s          |
| fashion_mnist | Fashion-MNIST | 91.3%         | 90 s         |
| sprites       | sprites 32x32 | 99.6%         | 10 min, busy |
| mnist         | MNIST         | not run here: users who have MNIST can            |

The network is InfoGAN's at half width with 64 features, so that Frechet distances need few
samples; the first three are shipped with latentgen.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from latentgen.core.errors import choose


def fashion_mnist():
    return ConfigDict(
        dict(
            seed=0,
            steps=8_600,  # 20 epochs of 55,000
            batch_size=128,
            microbatches=1,
            compute="float32",
            data=dict(
                name="fashion_mnist",
                preprocess="unit",
                validation=placeholder(int),
                pad_to=0,
                size=0,
                color="rgb",
                augment=(),
                balance=False,
                labels=(),
            ),
            method=dict(
                name="classifier", classes=10, features=64, ema_decay=0.999, ema_start=1_000
            ),
            encoder=dict(
                network="conv",
                hidden=(),
                channels=(32, 64),
                activation="relu",
                norm="none",
                dropout=0.3,
                init="he",
            ),
            optimizer=dict(
                name="adam",
                lr=1e-3,
                schedule="cosine",
                b1=0.9,
                b2=0.999,
                eps=1e-8,
                momentum=0.9,
                clip_norm=0.0,
            ),
            skip_diverged=0,
            every=dict(log=100, validate=500, sample=8_600, checkpoint=500, evaluate=0),
            evaluate=dict(metric="", samples=2_000, features=""),
            stop=dict(patience=0),
        )
    )


def mnist():
    config = fashion_mnist()
    config.data.name = "mnist"
    return config


def digits():
    config = fashion_mnist()
    config.data.name = "digits"
    config.steps = 3_000
    config.encoder.channels = (16, 32)
    config.every.sample = 3_000
    return config


def sprites():
    """Shapes and hues of coloured sprites, 32 x 32 x 3."""
    config = fashion_mnist()
    config.data.name = "sprites"
    config.data.labels = ("shape", "hue")
    config.data.augment = ("grey:0.2", "flip", "rotate90")
    config.steps = 6_000
    config.method.classes = 4 * 8
    config.optimizer.lr = 2e-3
    config.encoder.channels = (16, 32, 64)
    config.encoder.dropout = 0.0  # with 0.3 it underfits
    config.every.sample = 6_000
    return config


VARIANTS = {f.__name__: f for f in (fashion_mnist, mnist, digits, sprites)}


def get_config(variant="fashion_mnist"):
    return choose("variant", variant, VARIANTS)()
