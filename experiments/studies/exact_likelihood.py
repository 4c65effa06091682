"""Every estimate of log p(x) against the exact one, on Fashion-MNIST.

    python -m experiments.studies.exact_likelihood [--json exact_likelihood.json]

The closed-form solution of probabilistic PCA (Tipping & Bishop 1999) is loaded into the project's
own linear VAE, once with the exact posterior as its encoder and once with a wrong one, whose means
lie half a standard deviation off and whose standard deviations are 1.3 times as large. Of the first
test images, in float64, it prints the error of each estimate of log p(x): the mean over images and
its standard error, in nats. The error of a lower bound is negative.

About 5 minutes for each q on two cores.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from latentgen.core.types import Batch, Method, Params, State
from latentgen.data import sources
from latentgen.methods.linear_vae import solution
from latentgen.methods.vae import Model, Objective, vae
from latentgen.metrics import annealing
from latentgen.metrics.importance import importance
from latentgen.networks import mlp
from latentgen.objectives.bounds import BOUNDS
from latentgen.objectives.elbo import kl_warmup
from latentgen.objectives.estimators import ESTIMATORS
from latentgen.probability import likelihoods, posteriors, priors
from latentgen.probability.linear import log_marginal
from latentgen.training.validation import estimate

FLOOR = 1e-3
CHUNK = 100


def linear_vae(
    q: int, closed_kl: bool = False, shape: tuple[int, int, int] = (28, 28, 1)
) -> Method:
    """784 -> q -> 784 without hidden layers; with a sampled KL one sample may be exact."""
    encoder = mlp.encoder((), outputs=2 * q, dtype=jnp.float64)
    decoder = mlp.decoder(shape, (), dtype=jnp.float64)
    likelihood = likelihoods.normal_learned(0.3, FLOOR)
    prior, posterior = priors.fixed(priors.normal(q)), posteriors.diagonal(q)
    model = Model(encoder, decoder, prior, posterior, likelihood, q, q)
    objective = Objective(1, BOUNDS["elbo"](1, 1, 0.0), ESTIMATORS["pathwise"], closed_kl)
    return vae(model, objective, kl_warmup(1.0, 0), optax.sgd(0.0), shape)


def state_of(params: Params) -> State:
    return State(params, {"encoder": {}, "decoder": {}}, ())


def exact_log_likelihood(params: Params, x: Array) -> Array:
    layer = params["decoder"]["Linear_0"]["Dense_0"]
    std = FLOOR + jnp.exp(params["likelihood"]["log_std"])
    return log_marginal(layer["kernel"].T, layer["bias"], std, x.reshape(len(x), -1))


def with_wrong_encoder(params: Params, shift: float = 0.5, wider: float = 1.3) -> Params:
    """The encoder's means off by `shift` standard deviations, which are `wider` times as large."""
    layer = params["encoder"]["Linear_0"]["Dense_0"]
    mean, log_std = jnp.split(layer["bias"], 2)
    bias = jnp.concatenate([mean + shift * jnp.exp(log_std), log_std + jnp.log(wider)])
    return params | {"encoder": mlp.affine_params(layer["kernel"], bias)}


def by_importance(method: Method, state: State, batch: Batch, k: int, key: Array) -> Array:
    probes = method.probes

    def log_joint(z: Array) -> Array:
        return probes["log_prior"](state, z) + probes["log_likelihood"](state, batch, z)

    draw = lambda key, s: probes["draw"](state, batch, key, s)  # noqa: E731
    return importance(draw, log_joint, key, k, min(k, CHUNK)).log_likelihood


def by_annealing(
    method: Method, state: State, batch: Batch, chains: int, temperatures: int, key: Array
) -> Array:
    probes, n = method.probes, len(batch.x)
    densities = (
        lambda z: probes["log_prior"](state, z),
        lambda z: probes["log_likelihood"](state, batch, z),
        lambda key: probes["codes"](state, key, chains * n).reshape(chains, n, -1),
    )
    pilot, chain = jax.random.split(key)
    schedule = annealing.sigmoid_schedule(temperatures)
    steps = annealing.tune(*densities, pilot, schedule)
    return annealing.forward(*densities, chain, schedule, steps).log_likelihood


def missed(found: Array, exact: Array) -> dict[str, float]:
    return estimate(np.asarray(found - exact))._asdict()


def study(train: Array, test: Array, q: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the error of each estimate of log p(x) with a code of q coordinates."""
    method, key = linear_vae(q), jax.random.key(0)
    params = jax.jit(solution, static_argnums=(1, 2))(train, q, FLOOR)
    batch = Batch(test, jnp.zeros(len(test), jnp.int32))
    exact = exact_log_likelihood(params, test)
    right, wrong = state_of(params), state_of(with_wrong_encoder(params))
    elbo = -jax.jit(method.terms)(right, 0, batch, key)["negative_elbo"]
    rows: dict[str, Any] = {
        "exact": estimate(np.asarray(exact))._asdict(),
        "elbo_worst": float(jnp.abs(elbo - exact).max()),
    }
    for k in options.k:
        sampled = jax.jit(lambda key, k=k: by_importance(method, wrong, batch, k, key))
        rows[f"is_{k}"] = missed(sampled(key), exact)
    few = Batch(test[: options.annealed], batch.label[: options.annealed])
    annealed = jax.jit(
        lambda key: by_annealing(method, wrong, few, options.chains, options.temperatures, key)
    )
    rows["ais"] = missed(annealed(key), exact[: options.annealed])
    return rows


def main() -> None:
    flags = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    flags.add_argument("--q", type=int, nargs="+", default=[2, 10, 50])
    flags.add_argument("--k", type=int, nargs="+", default=[1, 10, 100, 1_000, 10_000])
    flags.add_argument("--images", type=int, default=100)
    flags.add_argument("--annealed", type=int, default=10, help="of these images")
    flags.add_argument("--chains", type=int, default=16)
    flags.add_argument("--temperatures", type=int, default=5_000)
    flags.add_argument("--json", type=Path)
    options = flags.parse_args()

    jax.config.update("jax_enable_x64", True)
    splits = sources.load("fashion_mnist").splits
    train = jnp.asarray(splits["train"].x, jnp.float64) / 255
    test = jnp.asarray(splits["test"].x[: options.images], jnp.float64) / 255
    results = {}
    for q in options.q:
        rows = results[q] = study(train, test, q, options)
        print(f"q = {q}: exact log p(x) {rows['exact']['mean']:.4f}, mean of {options.images}")
        print(f"  ELBO, exact posterior: at most {rows['elbo_worst']:.1e} off in any image")
        for name, row in rows.items():
            if name not in ("exact", "elbo_worst"):
                print(f"  {name:9} {row['mean']:10.4f} +- {row['standard_error']:.4f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
