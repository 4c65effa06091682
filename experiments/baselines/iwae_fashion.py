"""More importance samples, better models: IWAE with k = 1, 5, 50 on binarized Fashion-MNIST.

Burda et al. 2016 found on MNIST that the negative log-likelihood falls and the active units rise
with k. Here the order is the claim, on other images; their numbers are in `iwae_mnist`.
"""

from experiments import vae
from experiments.baselines._shared import smoke
from experiments.baselines.iwae_mnist import TABLE
from latentgen.baselines.claims import Baseline, Claim, Margin, Recipe


def config(budget):
    """20 epochs; the paper's 3,280 with their rates."""
    if budget == "paper":
        full = vae.burda()
        full.data.preprocess = "threshold"
        return full
    return smoke(vae.iwae()) if budget == "smoke" else vae.iwae()


def measures(budget):
    few = {"images": 100 if budget == "smoke" else 2_000}
    return {"is": {"k": 5_000, **few}, "active": few}


DATA = {"data.name": "fashion_mnist", "data.preprocess": "threshold"}
PROTOCOL = {
    "is/log_likelihood": {**DATA, "is.split": "test", "is.images": 2_000, "is.k": 5_000},
    "active/active_units": {
        **DATA,
        "active.split": "test",
        "active.images": 2_000,
        "active.threshold": 0.01,
    },
}
LIKELIHOODS, UNITS = ({k: row[i] for k, row in TABLE.items()} for i in (0, 1))


def order(more, less, what, metric, theirs, resolution, range):
    """Not paired: a seed's runs share minibatches, and not the noise of their codes."""
    return Claim(
        key="burda2016",
        where="Table 1",
        data="MNIST",
        metric=metric,
        of=f"k={more}:{what} - k={less}:{what}",
        value=None,
        spread=f"{theirs[more]} against {theirs[less]}",
        trust="seen",
        margin=Margin(0.0, None),
        protocol=PROTOCOL[what],
        budgets=("cpu", "paper"),
        here="Fashion-MNIST, pixels above 1/2",
        resolution=resolution,
        range=range,
    )


BASELINE = Baseline(
    title="IWAE, k = 1, 5, 50: order of log-likelihoods and active units, binarized Fashion-MNIST",
    claims=tuple(
        order(more, less, *each)
        for each in (
            ("is/log_likelihood", "test log p(x), nats", LIKELIHOODS, 0.0, (None, 0.0)),
            ("active/active_units", "units", UNITS, 1.0, (0.0, 50.0)),
        )
        for more, less in ((5, 1), (50, 5))
    ),
    recipe=Recipe(
        config,
        {f"k={k}": {"method.samples": k} for k in (1, 5, 50)},
        measures,
        (
            "Fashion-MNIST for MNIST, pixels above 1/2 for pixels drawn anew",
            "cpu: 20 epochs in batches of 100 with a cosine rate; paper: theirs, 3,280 in 20",
            "cpu: weights start with LeCun's variance, theirs with Glorot's",
            "cpu: 55,000 training images, paper: 59,600; the first 2,000 test images are measured",
        ),
    ),
    minutes={"smoke": 0.5, "cpu": 40, "paper": None},
)
