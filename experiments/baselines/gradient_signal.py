"""With more samples the encoder's signal-to-noise ratio falls for IWAE and rises for DReG.

Rainforth et al. 2018: the ratio goes as k^-1/2 for IWAE's plain gradient; Tucker et al. 2019: as
k^+1/2 for DReG. The model is Rainforth et al.'s linear one; the slopes are fitted in log-log from
k = 50 on, as in experiments/studies/gradient_signal.py, which also draws the figure.
"""

import jax

from experiments.studies.gradient_signal import EXPECTED, problem, signal, slope
from latentgen.baselines.claims import Baseline, Claim, Exact, Margin

PROTOCOL = {"settings.samples": (50, 200, 1_000), "settings.examples": 1_024}
CITED = {
    "pathwise": ("rainforth2018", "Theorem 1"),
    "dreg": ("tucker2019", "the toy Gaussian problem"),
}


def settings(budget):
    if budget == "smoke":
        return {"samples": (50, 200), "examples": 32, "work": 400}
    return {"samples": (50, 200, 1_000), "examples": 1_024, "work": 4_000}


def compute(settings, seed):
    """The slopes of both estimators."""
    data_key, key = jax.random.split(jax.random.key(seed))
    found = problem(data_key, examples=settings["examples"])
    ratios = {name: [] for name in EXPECTED}
    for k in settings["samples"]:
        repeats = min(128, max(4, settings["work"] // k))
        for name, value in signal(found, k, repeats, jax.random.fold_in(key, k))[0].items():
            ratios[name].append(value)
    return {f"{name}:slope": slope(settings["samples"], each) for name, each in ratios.items()}


BASELINE = Baseline(
    title="signal to noise of the encoder's gradient over k: IWAE and DReG",
    claims=tuple(
        Claim(
            *CITED[name],
            data="1,024 examples of a linear model in 20 dimensions",
            metric="slope in log-log",
            of=f"{name}:slope",
            value=value,
            spread="",
            trust="exact",
            margin=Margin(value - 0.1, value + 0.1),
            protocol=PROTOCOL,
            budgets=("cpu", "paper"),
        )
        for name, value in EXPECTED.items()
    ),
    recipe=Exact(
        settings,
        compute,
        ("both signals are the mean that DReG found: the plain one needs many times the repeats",),
    ),
    minutes={"smoke": 0.2, "cpu": 0.6, "paper": 0.6},
)
