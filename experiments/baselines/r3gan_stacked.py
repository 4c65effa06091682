"""R3GAN's ablation as a trend: relativistic or not, R1 and R2, on 1,000 modes of Fashion-MNIST.

Huang et al. 2024 have StackedMNIST; here three Fashion-MNIST images are the colour planes of one,
and the shipped classifier says which of the 1,000 modes a sample is in.
"""

from experiments import gan
from experiments.baselines._r3gan import trend
from experiments.baselines._shared import shortened, smoke
from latentgen.baselines.claims import Baseline, Recipe
from latentgen.objectives.penalties import rescale_gamma


def config(budget):
    made = gan.stacked()
    made.method.update(penalty="r1_r2", penalty_weight=rescale_gamma((0.0, 1.0), 4.0))
    made.discriminator.norm = "none"  # a penalty is of one example
    if budget == "smoke":
        return smoke(made)
    return shortened(made, 3_000, 5) if budget == "cpu" else made


BASELINE = Baseline(
    title="R3GAN's ablation on Stacked-Fashion: relativistic or not, with R1 + R2 and R1 alone",
    claims=(trend("three Fashion-MNIST images", "stacked_fashion_mnist", 26_000, 1_000.0),),
    recipe=Recipe(
        config,
        {
            "gan_r1_r2": {},
            "relativistic_r1_r2": {"method.loss": "relativistic"},
            "gan_r1": {"method.penalty": "r1"},
            "relativistic_r1": {"method.loss": "relativistic", "method.penalty": "r1"},
        },
        lambda budget: {"modes": {"samples": 1_000 if budget == "smoke" else 26_000}},
        (
            "Fashion-MNIST and DCGAN's network for MNIST and theirs",
            "gamma 1 on images in [0, 1], which is 4 on [-1, 1]; nobody here has read theirs",
            "cpu: 3,000 of 17,200 steps",
        ),
    ),
    minutes={"smoke": 1, "cpu": None, "paper": None},
)
