"""Lucic et al. 2018 on Fashion-MNIST: one GAN at the authors' defaults."""

from experiments import gan
from experiments.baselines._shared import shortened, smoke
from latentgen.baselines.claims import Baseline, Claim, Margin, Recipe

OF_VARIANT = {
    "lsgan": ("scores are logits, theirs are sigmoids of them",),
    "dragan": ("no batch norm in D; slopes of logits, theirs are of sigmoids of them",),
}
"""In which a GAN departs from their code (google/compare_gan d6c5976, branch v1) by itself."""


def measures(budget):
    """The paper's FID needs the Inception weights; else the shipped classifier's distance."""
    if budget == "paper":
        return {"frechet": {"features": "inception", "samples": 10_000}}
    if budget == "smoke":
        return {"frechet": {"features": "fashion_mnist", "images": 200, "samples": 200}}
    return {"frechet": {"features": "fashion_mnist", "samples": 10_000}}


def baseline(variant, name, mean, spread, minutes=None):
    """Their FID of this GAN beside ours; `minutes` of the `cpu` budget."""

    def config(budget):
        made = gan.get_config(variant)
        if budget == "paper":
            return made
        gan.halve(made)
        return smoke(made) if budget == "smoke" else shortened(made, made.steps // 4, 5)

    claim = Claim(
        key="lucic2018",
        where="the table of best FIDs",
        data="Fashion-MNIST",
        metric="FID",
        of=f"{variant}:frechet/frechet_distance",
        value=mean,
        spread=f"+- {spread}, over 50 seeds",
        trust="quoted",
        margin=Margin(None, None),  # nothing is held against it
        protocol={
            "data.name": "fashion_mnist",
            "frechet.features": "inception",
            "frechet.split": "test",
            "frechet.real": 10_000,
            "frechet.synthetic": 10_000,
        },
        budgets=(),  # none here has their search
        instead=dict.fromkeys(("smoke", "cpu"), "Frechet classifier distance"),
        range=(0.0, None),
    )
    return Baseline(
        title=f"{name} of Lucic et al. 2018 at its defaults, Fashion-MNIST",
        claims=(claim,),
        recipe=Recipe(
            config,
            {variant: {}},
            measures,
            (
                "defaults, where their number is the best checkpoint of the best of 100 draws",
                "55,000 training images, theirs are 60,000; 20 epochs of those, theirs of 50,000",
                "ReLU in the generator, theirs is LeakyReLU 0.2",
                "batch norm's averages and epsilon 0.9 and 1e-5, theirs 0.999 and 1e-3",
                "the generator's turn has codes of its own, theirs only in WGAN-GP",
                *OF_VARIANT.get(variant, ()),
                "cpu: half as wide, 5 of 20 epochs in D's data",
                "cpu: a Frechet distance of the shipped classifier's features, which is not FID",
            ),
        ),
        minutes={"smoke": 1, "cpu": minutes, "paper": None},
    )
