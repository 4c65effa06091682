"""The explicit Gaussian VAE of Titsias & Ruiz 2019 with Adam: not the recipe of `uivi_fashion`.

Their networks, steps and images with Adam 1e-3 and LeCun's initial weights (`experiments/vae.py:
titsias`).
"""

from experiments import vae
from experiments.baselines import uivi_fashion
from experiments.baselines._shared import shortened, smoke
from latentgen.baselines.claims import Baseline, Recipe


def config(budget):
    """400,000 steps on 60,000 images."""
    made = vae.titsias()
    made.data.validation = 0
    return smoke(made) if budget == "smoke" else shortened(made, 400_000, times=40)


BASELINE = Baseline(
    title="the same with Adam, which is not their recipe",
    claims=tuple(
        claim._replace(of="adam:is/log_likelihood", budgets=())
        for claim in uivi_fashion.BASELINE.claims
    ),
    recipe=Recipe(
        config,
        {"adam": {}},
        uivi_fashion.measures,
        ("Adam 1e-3 and LeCun's initial weights, theirs are others",),
    ),
    minutes={"smoke": 0.3, "cpu": 40, "paper": 40},
)
