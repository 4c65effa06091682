"""The linear VAE is probabilistic PCA: on Fashion-MNIST its bound is log p(x), for each image.

The closed-form solution is loaded into the project's own VAE, in float64. Both claims are 0: the
largest distance, over images, of the one-sample bound from the exact log p(x); and the distance of
its mean from the maximum that the covariance's eigenvalues give.
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.studies.exact_likelihood import (
    FLOOR,
    exact_log_likelihood,
    linear_vae,
    state_of,
)
from latentgen.baselines.claims import Baseline, Claim, Exact, Margin
from latentgen.core.types import Batch
from latentgen.data import sources
from latentgen.methods.linear_vae import solution
from latentgen.probability.linear import maximum_log_likelihood

CODES = (2, 10, 50)
AT_ONCE = 5_000


def settings(budget):
    """Use all 55,000 training images, or the first 2,000 in the smoke form."""
    return {
        "data": "fashion_mnist",
        "q": CODES,
        "images": 2_000 if budget == "smoke" else 55_000,
    }


def compute(settings, seed):
    """Distances from the exact values in nats, and the maximum itself."""
    train = sources.load(settings["data"]).splits["train"].x[: settings["images"]]
    found = {}
    with jax.enable_x64(True):
        x = train.astype(np.float64) / 255
        eigenvalues = np.linalg.eigvalsh(np.cov(x.reshape(len(x), -1).T, bias=True))
        for q in settings["q"]:
            worst, mean = of_code(x, q, seed)
            best = float(maximum_log_likelihood(jnp.asarray(eigenvalues), q))
            found[f"q={q}:bound off log p(x) by, worst image"] = worst
            found[f"q={q}:mean log p(x) off maximum by"] = abs(mean - best)
            found[f"q={q}:maximum"] = best
    return found


def of_code(x, q, seed):
    """The bound's largest distance from log p(x), and the mean log p(x)."""
    params = jax.jit(solution, static_argnums=(1, 2))(jnp.asarray(x), q, FLOOR)
    state, terms = state_of(params), jax.jit(linear_vae(q, shape=x.shape[1:]).terms)
    exact_of = jax.jit(exact_log_likelihood)
    off, all_exact = [], []
    for start in range(0, len(x), AT_ONCE):
        part = jnp.asarray(x[start : start + AT_ONCE])
        batch = Batch(part, jnp.zeros(len(part), jnp.int32))
        bound = -terms(state, 0, batch, jax.random.key(seed))["negative_elbo"]
        exact = exact_of(params, part)
        off.append(jnp.abs(bound - exact).max())
        all_exact.append(np.asarray(exact))
    return float(np.max(off)), float(np.concatenate(all_exact).mean())


def claim(q, of, key, where, deterministic):
    return Claim(
        key=key,
        where=where,
        data="any; here Fashion-MNIST",
        metric="nats",
        of=f"q={q}:{of}",
        value=0.0,
        spread="",
        trust="exact",
        margin=Margin(-1e-6, 1e-6),
        protocol={"settings.data": "fashion_mnist", "settings.images": 55_000},
        budgets=("cpu", "paper"),
        deterministic=deterministic,
    )


BASELINE = Baseline(
    title="linear VAE = probabilistic PCA, Fashion-MNIST",
    claims=tuple(
        made
        for q in CODES
        for made in (
            claim(q, "bound off log p(x) by, worst image", "lucas2019", "Theorem 1", False),
            claim(q, "mean log p(x) off maximum by", "tipping1999", "section 3.2", True),
        )
    ),
    recipe=Exact(settings, compute),
    minutes={"smoke": 0.3, "cpu": 1, "paper": 1},
)
