"""Importance sampling and annealing find log p(x), which a linear VAE knows exactly.

On Fashion-MNIST, float64, with an encoder that is deliberately wrong: means half a standard
deviation off, standard deviations 1.3 times as large (experiments/studies/exact_likelihood.py).
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.studies.exact_likelihood import (
    FLOOR,
    by_annealing,
    by_importance,
    exact_log_likelihood,
    linear_vae,
    state_of,
    with_wrong_encoder,
)
from latentgen.baselines.claims import Baseline, Claim, Exact, Margin
from latentgen.core.types import Batch
from latentgen.data import sources
from latentgen.methods.linear_vae import solution

FULL = {
    "data": "fashion_mnist",
    "q": (2, 10),
    "train": 55_000,
    "images": 100,
    "k": 10_000,
    "annealed": 10,
    "chains": 16,
    "temperatures": 5_000,
}


def settings(budget):
    if budget == "smoke":
        few = {"train": 2_000, "images": 10, "k": 1_000, "annealed": 4, "temperatures": 500}
        return {**FULL, **few, "q": (2,)}
    if budget == "cpu":
        return {**FULL, "temperatures": 1_000}
    return FULL


def compute(settings, seed):
    """Mean error of both estimates of log p(x) over images, in nats."""
    splits = sources.load(settings["data"]).splits
    found = {}
    with jax.enable_x64(True):
        train = jnp.asarray(splits["train"].x[: settings["train"]].astype(np.float64) / 255)
        test = jnp.asarray(splits["test"].x[: settings["images"]].astype(np.float64) / 255)
        for q in settings["q"]:
            for name, missed in of_code(train, test, q, settings, jax.random.key(seed)).items():
                found[f"q={q}:{name}"] = missed
    return found


def of_code(train, test, q, settings, key):
    """The mean over images of each estimate less the exact value."""
    method = linear_vae(q, shape=train.shape[1:])
    params = jax.jit(solution, static_argnums=(1, 2))(train, q, FLOOR)
    wrong = state_of(with_wrong_encoder(params))
    exact = exact_log_likelihood(params, test)
    batch = Batch(test, jnp.zeros(len(test), jnp.int32))
    few = Batch(test[: settings["annealed"]], batch.label[: settings["annealed"]])
    chains, temperatures = settings["chains"], settings["temperatures"]
    sampled = jax.jit(lambda key: by_importance(method, wrong, batch, settings["k"], key))(key)
    annealed = jax.jit(lambda key: by_annealing(method, wrong, few, chains, temperatures, key))(key)
    return {
        "importance sampling misses": float((sampled - exact).mean()),
        "annealing misses": float((annealed - exact[: len(few.x)]).mean()),
    }


def claim(q, of, key, where, margin, protocol, budgets):
    return Claim(
        key=key,
        where=where,
        data="any; here Fashion-MNIST",
        metric="nats",
        of=f"q={q}:{of} misses",
        value=0.0,
        spread="",
        trust="exact",
        margin=Margin(-margin, margin),
        protocol={f"settings.{name}": FULL[name] for name in protocol},
        budgets=budgets,
    )


BASELINE = Baseline(
    title="IS and AIS against the exact log p(x), Fashion-MNIST",
    claims=tuple(
        made
        for q in FULL["q"]
        for made in (
            claim(
                q,
                "importance sampling",
                "burda2016",
                "Theorem 1",
                0.05,
                ("data", "train", "images", "k"),
                ("cpu", "paper"),
            ),
            claim(
                q,
                "annealing",
                "neal2001",
                "section 2",
                0.3,
                ("data", "train", "annealed", "chains", "temperatures"),
                ("paper",),
            ),
        )
    ),
    recipe=Exact(
        settings,
        compute,
        (
            "a bound for finitely many samples: 0 is its limit, the margin is in nats",
            "cpu: 1,000 temperatures where the paper budget has 5,000",
        ),
    ),
    minutes={"smoke": 0.3, "cpu": 6, "paper": 16},
)
