"""VampPrior against the standard normal prior in the same network, binarized Fashion-MNIST.

Tomczak & Welling 2018: gated layers of 300, 500 pseudo-inputs, warm-up (`experiments/vae.py:vamp`,
`:gated`). The order is the claim.
"""

from experiments import vae
from experiments.baselines._shared import smoke
from latentgen.baselines.claims import Baseline, Claim, Margin, Recipe


def config(budget):
    return smoke(vae.vamp()) if budget == "smoke" else vae.vamp()


def measures(budget):
    return {"is": {"k": 5_000, "images": 100 if budget == "smoke" else 2_000}}


BASELINE = Baseline(
    title="VampPrior against the standard prior, binarized Fashion-MNIST",
    claims=(
        Claim(
            key="tomczak2018",
            where="one stochastic layer, static MNIST",
            data="MNIST",
            metric="test log p(x), nats",
            of="vamp:is/log_likelihood - normal:is/log_likelihood",
            value=None,
            spread="-85.57 against -88.56",
            trust="unverified",
            margin=Margin(0.0, None),
            protocol={
                "data.name": "fashion_mnist",
                "data.preprocess": "threshold",
                "is.split": "test",
                "is.images": 2_000,
                "is.k": 5_000,
            },
            budgets=("cpu", "paper"),
            here="Fashion-MNIST, pixels above 1/2",
            paired=True,  # networks at the start, minibatches and noise are those of the seed
        ),
    ),
    recipe=Recipe(
        config,
        {"vamp": {}, "normal": {"method.prior": "normal"}},
        measures,
        (
            "both budgets: 20 epochs with 4 of warm-up; theirs warm up for 100 and stop early",
            "Fashion-MNIST for MNIST; the first 2,000 test images",
            "log variances of q are not cut off at -6 and 2",
            "a layer and its gate are one array to the optimizer",
        ),
    ),
    minutes={"smoke": 0.5, "cpu": None, "paper": None},
)
