"""The standard KL that Ruiz & Titsias 2019 hold VCD against, on binarized Fashion-MNIST.

The full recipe: 400,000 steps of their optimizer, the analytic entropy (`experiments/vae.py:vcd`).
"""

from experiments import vae
from experiments.baselines._shared import smoke
from latentgen.baselines.claims import Baseline, Claim, Margin, Recipe


def config(budget):
    return smoke(vae.vcd()) if budget == "smoke" else vae.vcd()


def measures(budget):
    return {"is": {"k": 1_000, "images": 200} if budget == "smoke" else {"k": 20_000}}


BASELINE = Baseline(
    title="standard KL of Ruiz & Titsias 2019, binarized Fashion-MNIST",
    claims=(
        Claim(
            key="ruiz2019",
            where="the table of test log-likelihoods",
            data="Fashion-MNIST, pixels above 1/2",
            metric="test log p(x), nats",
            of="theirs:is/log_likelihood",
            value=-124.63,
            spread="",
            trust="unverified",
            margin=Margin(-125.63, -123.63),
            protocol={
                "data.name": "fashion_mnist",
                "data.preprocess": "threshold",
                "is.split": "test",
                "is.images": 10_000,
                "is.k": 20_000,
            },
            budgets=("cpu", "paper"),
        ),
    ),
    recipe=Recipe(
        config,
        {"theirs": {}},
        measures,
        (
            "20,000 codes of q where they draw from a proposal made with HMC: a looser bound",
            "the KL divergence in closed form, where theirs has log p(x, z) sampled",
            "standard deviations have no floor, theirs 1e-4",
            "the running mean of squared gradients starts at 0, not at the first square",
        ),
    ),
    minutes={"smoke": 0.3, "cpu": 90, "paper": 90},
)
