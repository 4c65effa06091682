"""The first GAN's Parzen window: Goodfellow et al. 2014, Table 1, MNIST.

Their protocol as their code has it: 10,000 samples, sigma from 10 values in [0.1, 1] by 1,000
validation images, all test images, pixels in [0, 1]. The `cpu` budget has the protocol on
Fashion-MNIST, which has no such number to be held against.
"""

from ml_collections import ConfigDict

from experiments import gan
from experiments.baselines._shared import shortened, smoke
from latentgen.baselines.claims import Baseline, Claim, Margin, Recipe

EPOCH = 550  # steps of 100 images


def config(budget):
    """Uniform codes of 100, 1200-1200 ReLU; a discriminator of maxout with dropout; SGD."""
    made = gan.nonsaturating()
    made.data.name = "mnist" if budget == "paper" else "fashion_mnist"
    made.batch_size = 100
    made.method.update(prior="uniform", code_dim=100, ema_decay=0.0)
    made.generator = ConfigDict(gan.network(hidden=(1_200, 1_200)))
    made.discriminator = ConfigDict(
        gan.network(hidden=(240, 240), activation="maxout", dropout=0.5)
    )
    gan.both_optimizers(made, name="sgd", lr=0.1, momentum=0.5)
    return smoke(made) if budget == "smoke" else shortened(made, 50 * EPOCH)


def measures(budget):
    return {"parzen": {"images": 200} if budget == "smoke" else {}}


BASELINE = Baseline(
    title="Goodfellow et al. 2014: Parzen window of an MLP GAN; cpu: on Fashion-MNIST",
    claims=(
        Claim(
            key="goodfellow2014",
            where="Table 1",
            data="MNIST",
            metric="Parzen log-likelihood, nats",
            of="gan:parzen/log_likelihood",
            value=225.0,
            spread="+- 2",
            trust="seen",
            margin=Margin(215.0, 235.0),
            protocol={
                "data.name": "mnist",
                "parzen.split": "test",
                "parzen.images": 10_000,
                "parzen.samples": 10_000,
                "parzen.validation_images": 1_000,
            },
        ),
    ),
    recipe=Recipe(
        config,
        {"gan": {}},
        measures,
        (
            "50 epochs: the paper says none",
            "momentum stays 0.5, theirs rises to 0.7",
            "the rate stays, theirs is divided by 1.000004 after each step",
            "dropout 0.5 in hidden layers; theirs keeps 0.8 of the inputs too",
            "weights start with LeCun's variance, theirs within 0.05 of 0 in G and 0.005 in D; G's "
            "output bias starts at 0, theirs at the logits of the training mean",
            "55,000 training images, theirs 50,000 (goodfeli/adversarial 1720041, mnist.yaml)",
            "cpu: the protocol on Fashion-MNIST",
        ),
    ),
    minutes={"smoke": 0.5, "cpu": None, "paper": None},
)
