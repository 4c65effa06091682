"""FIDs of recipes in full on colour images, none of which two cores reach."""

from experiments import gan
from experiments.baselines._shared import smoke
from latentgen.baselines.claims import Baseline, Claim, Margin, Recipe

WITHIN = 0.05
"""Greatest distance of a mean from a paper's FID, as a share of it."""


def fid(key, where, data, value, trust, *, arm, name, split, real, samples=50_000, spread=""):
    """An FID of the generator with averaged weights.

    Args:
        data, name: the data set in words, and its name in a config.
        arm: of the recipe, whose FID it is.
        split, real: images that samples are compared with.
    """
    return Claim(
        key=key,
        where=where,
        data=data,
        metric="FID",
        of=f"{arm}:frechet/frechet_distance",
        value=value,
        spread=spread,
        trust=trust,
        margin=Margin((1 - WITHIN) * value, (1 + WITHIN) * value),
        protocol={
            "data.name": name,
            "frechet.features": "inception",
            "frechet.split": split,
            "frechet.real": real,
            "frechet.synthetic": samples,
        },
        instead={"smoke": "Frechet classifier distance"},
        range=(0.0, None),
    )


def baseline(
    title, recipe, narrow, claims, arms, deviations, *, split, samples=50_000, changes=None
):
    """A recipe in full at the budget `paper`; at `smoke`, 20 steps of its narrow form.

    Args:
        recipe, narrow: variants of experiments/gan.py.
        arms: name -> changes of the config.
        split: of the images that samples are compared with.
        changes: of the recipe in full, in all arms.
    """

    def config(budget):
        if budget == "paper":
            made = gan.get_config(recipe)
            made.update_from_flattened_dict(changes or {})
            return made
        made = smoke(gan.get_config(narrow))
        made.data.update(name="digits", pad_to=32)
        made.batch_size = 16
        return made

    def measures(budget):
        if budget == "smoke":
            return {"frechet": {"features": "sprites", "images": 200, "samples": 200}}
        return {"frechet": {"features": "inception", "split": split, "samples": samples}}

    return Baseline(
        title=title,
        claims=claims,
        recipe=Recipe(config, arms, measures, deviations),
        minutes={"smoke": 2, "cpu": None, "paper": None},
        seeds={"smoke": 1, "cpu": 1, "paper": 1},
    )
