"""The explicit Gaussian VAE that Titsias & Ruiz 2019 hold UIVI against, binarized Fashion-MNIST.

The full recipe: 400,000 steps of their optimizer (`experiments/vae.py:uivi`); log p(x) of the test
images from 1,000 codes of q each.
"""

from experiments import vae
from experiments.baselines._shared import smoke
from latentgen.baselines.claims import Baseline, Claim, Margin, Recipe


def config(budget):
    return smoke(vae.uivi()) if budget == "smoke" else vae.uivi()


def measures(budget):
    few = {"images": 200} if budget == "smoke" else {}
    return {"is": {"k": 1_000, **few}}


BASELINE = Baseline(
    title="explicit Gaussian VAE of Titsias & Ruiz 2019, binarized Fashion-MNIST",
    claims=(
        Claim(
            key="titsias2019",
            where="the table of test log-likelihoods",
            data="Fashion-MNIST, pixels above 1/2",
            metric="test log p(x), nats",
            of="theirs:is/log_likelihood",
            value=-126.73,
            spread="",
            trust="unverified",
            margin=Margin(-127.73, -125.73),
            protocol={
                "data.name": "fashion_mnist",
                "data.preprocess": "threshold",
                "is.split": "test",
                "is.images": 10_000,
                "is.k": 1_000,
            },
            budgets=("cpu", "paper"),
        ),
    ),
    recipe=Recipe(
        config,
        {"theirs": {}},
        measures,
        (
            "the running mean of squared gradients starts at 0, not at the first square",
            "standard deviations have no floor, theirs 1e-4",
        ),
    ),
    minutes={"smoke": 0.3, "cpu": 50, "paper": 50},
)
