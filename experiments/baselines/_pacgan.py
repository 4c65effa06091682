"""PacGAN's Table 1: GAN, PacGAN2, 3 and 4, on ring and grid."""

from experiments import gan
from experiments.baselines._shared import shortened, smoke
from latentgen.baselines.claims import Baseline, Claim, Margin, Recipe

ARMS = {
    "gan": {"method.packing": 1, "batch_size": 100},
    "pacgan2": {},
    "pacgan3": {"method.packing": 3, "batch_size": 300},
    "pacgan4": {"method.packing": 4, "batch_size": 400},
}
"""Each with 100 packs in a batch."""

TITLES = {"gan": "GAN", "pacgan2": "PacGAN2", "pacgan3": "PacGAN3", "pacgan4": "PacGAN4"}
CPU_STEPS = 100_000
PROTOCOL = {
    "modes.split": "test",
    "modes.synthetic": 2_500,
    "modes.high_quality_within": "3 standard deviations",
}


MODES = {"ring": 8.0, "grid": 25.0}


def measures(budget):
    return {"modes": {"samples": 2_500}}


def value(data, arm, what, metric, mean, error):
    """A cell of the table; the margin is three standard errors of the paper's."""
    return Claim(
        key="lin2018",
        where="Table 1",
        data=data,
        metric=metric,
        of=f"{arm}:modes/{what}",
        value=mean,
        spread=f"+- {error}, standard error of 10 trials",
        trust="seen",
        margin=Margin(round(mean - 3 * error, 6), round(mean + 3 * error, 6)),
        protocol={"data.name": data, **PROTOCOL},
        resolution=1.0 if what == "captured" else 0.0,
        range=(0.0, MODES[data] if what == "captured" else None),
    )


def order(data, cells):
    return Claim(
        key="lin2018",
        where="Table 1",
        data=data,
        metric="modes",
        of="pacgan2:modes/captured - gan:modes/captured",
        value=None,
        spread=f"{cells['pacgan2'][0]} against {cells['gan'][0]}",
        trust="seen",
        margin=Margin(0.0, None),
        protocol={"data.name": data, **PROTOCOL},
        budgets=("cpu", "paper"),
        resolution=1.0,
        range=(0.0, MODES[data]),
    )


def baseline(data, full, cells, minutes, cpu_seeds=3):
    """Some arms on ring or grid; where GAN and PacGAN2 are among them, their order too.

    Args:
        full: the config of the paper's recipe.
        cells: arm -> (captured, error, reverse KL, error).
        minutes: see `Baseline`.
        cpu_seeds: at budget cpu.
    """

    def config(budget):
        made = full()
        if budget == "smoke":
            return smoke(made)
        return shortened(made, CPU_STEPS) if budget == "cpu" else made

    values = [
        claim
        for arm, (modes, modes_error, kl, kl_error) in cells.items()
        for claim in (
            value(data, arm, "captured", "modes", modes, modes_error),
            value(data, arm, "reverse_kl", "nats", kl, kl_error),
        )
    ]
    return Baseline(
        title=f"Lin et al. 2018: {', '.join(TITLES[arm] for arm in cells)} on the {data}",
        claims=(*([order(data, cells)] if {"gan", "pacgan2"} <= cells.keys() else []), *values),
        recipe=Recipe(
            config,
            {arm: ARMS[arm] for arm in cells},
            measures,
            (
                "cpu: 100,000 of 400,000 steps",
                f"cpu: {cpu_seeds} seeds, theirs are 10 trials",
                "the share of high-quality samples, their third column, is no claim here",
                "players take turns on codes of their own, theirs are updated at once on the same",
                "D sees real and synthetic packs apart, theirs together",
                "batch norm's epsilon 1e-5 and averages 0.9, theirs 1e-4 and 0.95",
                "each example once an epoch, theirs fills packs with replacement",
            ),
        ),
        minutes=minutes,
        seeds={"smoke": 1, "cpu": cpu_seeds, "paper": 10},
    )


RING, GRID = gan.pacgan_ring, gan.pacgan_grid
