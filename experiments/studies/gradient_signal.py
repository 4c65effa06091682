"""Signal-to-noise ratio of the encoder's gradient by number of samples, for IWAE and DReG.

    python -m experiments.studies.gradient_signal --out signal.png --json signal.json

The model is that of Rainforth et al. 2018 (arXiv:1802.04537): z ~ N(mu, I), x|z ~ N(z, I) in 20
dimensions, 1024 examples, q(z|x) = N(A x + b, 2/3 I); mu, A and b lie 0.01 off their optimum. For k
samples of each example it prints |mean| / std of the gradient of the whole data set's bound with
respect to A and b, averaged over these 420 numbers, and the slopes in log-log from k = 50. Expected
for large k are -1/2 for the plain gradient of IWAE, which drowns in noise, and +1/2 for DReG
(Tucker et al. 2018, arXiv:1810.04152), whose curve is flat until the weights' mean settles; seed 0
gives -0.50 and +0.48. About 90 s on two cores.

The noise of the examples is independent, so that the variance of the data set's gradient is the
sum of the examples' variances. Both estimators have one mean, which the tests check. DReG's
average is the signal of both, as the plain gradient's own average needs many times the repeats; the
mean squared difference of the two over its variance is printed too, and is near 1 where they agree.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from latentgen.core.types import Batch, Method, Net, State
from latentgen.methods.vae import Model, Objective, vae
from latentgen.objectives.bounds import iwae
from latentgen.objectives.elbo import kl_warmup
from latentgen.objectives.estimators import ESTIMATORS
from latentgen.probability.distributions import Normal, normal_log_prob, normal_sample
from latentgen.probability.likelihoods import normal
from latentgen.probability.posteriors import PosteriorFamily, of_normal
from latentgen.probability.priors import LearnedPrior, Prior

SAMPLES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
EXPECTED = {"pathwise": -0.5, "dreg": 0.5}
LABELS = {"pathwise": "IWAE", "dreg": "IWAE, DReG"}


class Problem(NamedTuple):
    """Examples x of shape (n, d), and parameters near their optimum."""

    x: jax.Array
    state: State


def problem(key: jax.Array, dim: int = 20, examples: int = 1024, off: float = 0.01) -> Problem:
    """Data of the model, and its optimum A = I/2, b = mu/2, mu = mean x, each number `off` off."""
    keys = iter(jax.random.split(key, 6))
    mean = jax.random.normal(next(keys), (dim,))
    z = mean[None] + jax.random.normal(next(keys), (examples, dim))
    x = z + jax.random.normal(next(keys), z.shape)
    best = {"matrix": jnp.eye(dim) / 2, "bias": x.mean(axis=0) / 2, "mean": x.mean(axis=0)}
    near = {
        name: value + off * jax.random.normal(next(keys), value.shape)
        for name, value in best.items()
    }
    mean = near.pop("mean")
    params = {"encoder": near, "decoder": {}, "prior": mean, "posterior": {}, "likelihood": {}}
    return Problem(x, State(params, {"encoder": {}, "decoder": {}}, ()))


def linear_method(dim: int, samples: int, estimator: str, variance: float = 2 / 3) -> Method:
    """The VAE with IWAE's bound: z ~ N(prior, I), x|z ~ N(z, I), q = N(A x + b, variance I)."""

    def encode(params, stats, x, train, key=None):
        return x @ params["matrix"].T + params["bias"][None], stats

    def prior(mean, encode):
        def of(n: int) -> Normal:
            return Normal(jnp.broadcast_to(mean, (n, dim)), jnp.zeros((n, dim)))

        return Prior(
            dim,
            lambda key, n: normal_sample(of(n), key),
            lambda z: normal_log_prob(of(len(z)), z),
        )

    def posterior(params, outputs):
        return of_normal(Normal(outputs, jnp.full_like(outputs, math.log(variance) / 2)))

    start = {"matrix": jnp.zeros((dim, dim)), "bias": jnp.zeros(dim)}
    model = Model(
        encoder=Net(lambda key, x: (start, {}), encode),
        decoder=Net(lambda key, z: ({}, {}), lambda p, stats, z, train, key=None: (z, stats)),
        prior=LearnedPrior(lambda key: jnp.zeros(dim), prior),
        posterior=PosteriorFamily(dim, lambda key: {}, posterior),
        likelihood=normal(1.0),
        code_dim=dim,
        decoder_sees=dim,
    )
    objective = Objective(samples, iwae(samples, 1, 0.0), ESTIMATORS[estimator], closed_kl=False)
    return vae(model, objective, kl_warmup(1.0, 0), optax.sgd(1.0), (dim,))


def moments(
    found: Problem, samples: int, estimator: str, repeats: int, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the encoder's gradient for the whole data set, shape (parameters,).

    One example at a time, all repeats of it together.
    """
    x, state = found
    method = linear_method(x.shape[1], samples, estimator)

    def loss(encoder: Any, x: jax.Array, key: jax.Array) -> jax.Array:
        at = state._replace(params=state.params | {"encoder": encoder})
        batch = Batch(x[None], jnp.zeros(1, jnp.int32))
        return method.terms(at, jnp.int32(0), batch, key)["loss"][0]

    def of_one(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        x, key = inputs
        gradient = jax.vmap(jax.grad(loss), (None, None, 0))
        found = gradient(state.params["encoder"], x, jax.random.split(key, repeats))
        flat = jnp.concatenate([leaf.reshape(repeats, -1) for leaf in jax.tree.leaves(found)], 1)
        return flat.mean(axis=0), flat.var(axis=0, ddof=1)

    means, variances = jax.jit(lambda x, keys: jax.lax.map(of_one, (x, keys)))(
        x, jax.random.split(key, len(x))
    )
    n = len(x)
    return np.asarray(means, float).mean(axis=0), np.asarray(variances, float).sum(axis=0) / n**2


def signal(
    found: Problem, samples: int, repeats: int, key: jax.Array
) -> tuple[dict[str, float], float]:
    """|mean| / std of each estimator, averaged over the parameters, and how far the means differ.

    Returns:
        By estimator, and the mean over the parameters of (difference of the two means)^2 over its
        variance, which is 1 on average where both estimate the same.
    """
    keys = jax.random.split(key, len(EXPECTED))
    by_name = {
        name: moments(found, samples, name, repeats, key)
        for name, key in zip(EXPECTED, keys, strict=True)
    }
    mean = by_name["dreg"][0]
    ratios = {
        name: float(np.mean(np.abs(mean) / np.sqrt(variance)))
        for name, (_, variance) in by_name.items()
    }
    apart = by_name["pathwise"][0] - mean
    spread = (by_name["pathwise"][1] + by_name["dreg"][1]) / repeats
    return ratios, float(np.mean(apart**2 / spread))


def slope(samples: list[int], ratios: list[float], least: int = 1) -> float:
    """d log ratio / d log samples where samples >= least, by least squares."""
    points = [(k, ratio) for k, ratio in zip(samples, ratios, strict=True) if k >= least]
    return float(np.polyfit(*np.log(points).T, 1)[0])


def draw(path: Path, samples: list[int], ratios: dict[str, list[float]]) -> None:
    """The figure: both ratios over k on logarithmic axes, and lines of the expected slopes."""
    from matplotlib.figure import Figure  # needed only to draw

    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    k = np.array(samples, float)
    for (name, values), color in zip(ratios.items(), ("tab:red", "tab:blue"), strict=True):
        axes.loglog(k, values, "o-", color=color, label=LABELS[name])
        guide = values[-1] * (k / k[-1]) ** EXPECTED[name]
        axes.loglog(k, guide, ":", color=color, label=f"slope {EXPECTED[name]:+.1f}")
    axes.set_xlabel("samples k")
    axes.set_ylabel("|mean| / std of the encoder's gradient")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def main() -> None:
    flags = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    flags.add_argument("--out", type=Path, help="where to draw the figure (needs matplotlib)")
    flags.add_argument("--json", type=Path, help="where to write the numbers")
    flags.add_argument("--samples", type=int, nargs="+", default=list(SAMPLES))
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument(
        "--work", type=int, default=4000, help="codes of each example: k times repeats"
    )
    flags.add_argument("--least", type=int, default=50, help="slopes are fitted from this k on")
    options = flags.parse_args()

    start = time.perf_counter()
    data_key, key = jax.random.split(jax.random.key(options.seed))
    found = problem(data_key)
    ratios: dict[str, list[float]] = {name: [] for name in EXPECTED}
    print(f"{'k':>5} {'repeats':>8} {'IWAE':>10} {'DReG':>10} {'means apart':>12}")
    apart = []
    for samples in options.samples:
        repeats = min(128, max(4, options.work // samples))
        ratio, distance = signal(found, samples, repeats, jax.random.fold_in(key, samples))
        for name, value in ratio.items():
            ratios[name].append(value)
        apart.append(distance)
        print(
            f"{samples:5} {repeats:8} {ratio['pathwise']:10.4f} {ratio['dreg']:10.4f} "
            f"{distance:12.3f}",
            flush=True,
        )
    slopes = {
        name: slope(options.samples, values, options.least) for name, values in ratios.items()
    }
    for name, value in slopes.items():
        print(f"slope of {LABELS[name]}: {value:+.3f}, expected {EXPECTED[name]:+.1f}")
    print(f"{time.perf_counter() - start:.0f} s")
    if options.json:
        result = {
            "seed": options.seed,
            "samples": options.samples,
            "signal_to_noise": ratios,
            "means_apart": apart,
            "slopes": slopes,
            "slopes_from": options.least,
            "expected": EXPECTED,
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if options.out:
        draw(options.out, options.samples, ratios)


if __name__ == "__main__":
    main()
