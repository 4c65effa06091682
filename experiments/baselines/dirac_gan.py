"""The Dirac-GAN's eigenvalues at the equilibrium, for every game, with and without R1 and R2.

Mescheder et al. 2018, section 4, from the project's own steps by automatic differentiation:
+-i f'(0) without a penalty, -gamma/2 +- sqrt(gamma^2/4 - f'(0)^2) with R1; and Lemma 2.4, that a
whole step in turn neither spirals in nor out.
"""

import jax
import numpy as np

from latentgen.baselines.claims import Baseline, Claim, Exact, Margin
from latentgen.methods.dirac_gan import SLOPES, eigenvalues, expected, field, stepped

GAMMAS = (0.1, 1.0, 3.0)


def settings(budget):
    return {"gammas": GAMMAS if budget != "smoke" else (1.0,), "rate": 0.1}


def compute(settings, seed):
    """The worst distance of an eigenvalue from the exact one, over games and weights."""
    with jax.enable_x64(True):
        off = {"none": [], "r1": [], "r2": []}
        for game in SLOPES:
            for penalty, each in off.items():
                for gamma in (0.0,) if penalty == "none" else settings["gammas"]:
                    found = eigenvalues(field(game, penalty, gamma))
                    each.append(np.abs(found - expected(game, gamma)).max())
        rate = settings["rate"]
        turned = eigenvalues(stepped("minimax", "none", 0.0, (rate, rate)))
    worst = {f"{name}:eigenvalues off by": float(np.max(each)) for name, each in off.items()}
    return worst | {"none:modulus of a turn off 1 by": float(np.abs(np.abs(turned) - 1).max())}


def claim(of, where, metric="worst of all games"):
    return Claim(
        key="mescheder2018",
        where=where,
        data="a point at 0",
        metric=metric,
        of=of,
        value=0.0,
        spread="",
        trust="exact",
        margin=Margin(-1e-6, 1e-6),
        protocol={"settings.gammas": GAMMAS, "settings.rate": 0.1},
        budgets=("cpu", "paper"),
        deterministic=True,
    )


BASELINE = Baseline(
    title="eigenvalues of the Dirac-GAN, with and without R1",
    claims=(
        claim("none:eigenvalues off by", "section 2"),
        claim("r1:eigenvalues off by", "section 4"),
        claim("r2:eigenvalues off by", "section 4"),
        claim("none:modulus of a turn off 1 by", "Lemma 2.4", "minimax, rate 0.1"),
    ),
    recipe=Exact(settings, compute, ("games other than theirs are held to the same formula",)),
    minutes={"smoke": 0.2, "cpu": 0.3, "paper": 0.3},
    seeds={"smoke": 1, "cpu": 1, "paper": 1},
)
