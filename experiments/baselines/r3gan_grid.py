"""R3GAN's ablation as a trend: relativistic or not, R1 and R2, on 25 normals.

Huang et al. 2024 find on StackedMNIST that the relativistic loss with R1 + R2 reaches all 1,000
modes where a GAN with R1 + R2 reaches 693. Here the trend is the claim, on the grid.
"""

from experiments import gan
from experiments.baselines._r3gan import trend
from experiments.baselines._shared import smoke
from latentgen.baselines.claims import Baseline, Recipe


def config(budget):
    made = gan.grid()
    made.method.update(penalty="r1_r2", penalty_weight=0.1)
    return smoke(made) if budget == "smoke" else made


BASELINE = Baseline(
    title="R3GAN's ablation on the grid: relativistic or not, with R1 + R2 and R1 alone",
    claims=(trend("the grid", "grid", 2_500, 25.0),),
    recipe=Recipe(
        config,
        {
            "gan_r1_r2": {},
            "relativistic_r1_r2": {"method.loss": "relativistic"},
            "gan_r1": {"method.penalty": "r1"},
            "relativistic_r1": {"method.loss": "relativistic", "method.penalty": "r1"},
        },
        lambda budget: {"modes": {"samples": 2_500}},
        (
            "the grid and MLPs for StackedMNIST and theirs",
            "both budgets: 20,000 steps, gamma 0.1 in units of the plane",
        ),
    ),
    minutes={"smoke": 0.5, "cpu": None, "paper": None},
)
