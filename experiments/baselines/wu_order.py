"""Wu et al. 2016: annealing finds more than IWAE's bound, and both far more than a Parzen window.

Their VAE-10, decoder 10-64-256-256-1024-784 (`experiments/vae.py:wu`). The order is the claim, here
on Fashion-MNIST; their numbers are of MNIST.
"""

from experiments import vae
from experiments.baselines._shared import smoke
from latentgen.baselines.claims import Baseline, Claim, Margin, Recipe


def config(budget):
    return smoke(vae.wu()) if budget == "smoke" else vae.wu()


def measures(budget):
    """The settings of the three measures, on the same images."""
    if budget == "smoke":
        few = {"images": 10}
        return {"ais": {**few, "temperatures": 20}, "is": {**few, "k": 100}, "parzen": few}
    images = {"images": 100 if budget == "cpu" else 1_000}
    return {
        "ais": {**images, "temperatures": 1_000 if budget == "cpu" else 10_000},
        "is": {**images, "k": 5_000 if budget == "cpu" else 200_000},
        "parzen": images,
    }


THEIRS = {"ais": 705.4, "is": 486.5, "parzen": 408.7}


def order(more, less):
    return Claim(
        key="wu2017",
        where="the VAE-10 rows, test",
        data="MNIST",
        metric="nats",
        of=f"vae10:{more}/log_likelihood - vae10:{less}/log_likelihood",
        value=None,
        spread=f"{THEIRS[more]} against {THEIRS[less]}",
        trust="seen",
        margin=Margin(0.0, None),
        protocol={
            "data.name": "fashion_mnist",
            "data.preprocess": "unit",
            **{f"{name}.split": "test" for name in (more, less)},
        },
        budgets=("cpu", "paper"),
        here="Fashion-MNIST",
        paired=True,  # two measures of one run
    )


BASELINE = Baseline(
    title="Wu et al. 2016: AIS > IWAE's bound > Parzen window, VAE-10, Fashion-MNIST",
    claims=(order("ais", "is"), order("is", "parzen")),
    recipe=Recipe(
        config,
        {"vae10": {}},
        measures,
        (
            "paper: trained as at cpu; only the evaluation is theirs",
            "Fashion-MNIST for MNIST; the noise's standard deviation is learned",
            "cpu: 100 images, 1,000 temperatures and 5,000 codes of each; theirs 1,000, 10,000, "
            "200,000",
            "10,000 samples in the Parzen window, theirs 1,000,000",
        ),
    ),
    minutes={"smoke": 0.5, "cpu": None, "paper": None},
)
