"""The linear VAE is probabilistic PCA, on Fashion-MNIST: every number has an exact answer."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from latentgen.core.keys import run_key
from latentgen.core.types import Batch, Method, State
from latentgen.data import sources
from latentgen.methods.linear_vae import solution
from latentgen.methods.vae import Model, Objective, vae
from latentgen.networks import mlp
from latentgen.objectives.bounds import BOUNDS
from latentgen.objectives.elbo import kl_warmup
from latentgen.objectives.estimators import ESTIMATORS
from latentgen.probability import likelihoods, posteriors, priors
from latentgen.probability.linear import log_marginal

FLOOR = 1e-3


@pytest.fixture(scope="module")
def x(fashion_mnist: Path) -> np.ndarray:
    """The first 5,000 training images, flat, in [0, 1]; fewer than all, to be quick."""
    train = sources.load("fashion_mnist", manual_dir=fashion_mnist).splits["train"]
    return train.x[:5_000].astype(np.float64) / 255


def linear_vae(q: int, closed_kl: bool, samples: int = 1) -> Method:
    encoder = mlp.encoder((), outputs=2 * q, dtype=jnp.float64)
    decoder = mlp.decoder((28, 28, 1), (), dtype=jnp.float64)
    likelihood = likelihoods.normal_learned(0.3, FLOOR)
    model = Model(
        encoder, decoder, priors.fixed(priors.normal(q)), posteriors.diagonal(q), likelihood, q, q
    )
    objective = Objective(
        samples, BOUNDS["elbo"](samples, 1, 0.0), ESTIMATORS["pathwise"], closed_kl
    )
    return vae(model, objective, kl_warmup(1.0, 0), optax.sgd(0.0), (28, 28, 1))


def maximum(x: np.ndarray, q: int) -> float:
    """-1/2 [D ln 2 pi + sum_{j<=q} ln lambda_j + (D-q) ln sigma^2 + D], in NumPy."""
    flat = x.reshape(len(x), -1)
    eigenvalues = np.linalg.eigvalsh(np.cov(flat.T, bias=True))[::-1]
    d, noise = flat.shape[1], eigenvalues[q:].mean()
    logs = np.log(eigenvalues[:q]).sum() + (d - q) * np.log(noise)
    return -0.5 * (d * np.log(2 * np.pi) + logs + d)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("q", [2, 10, 50])
def test_the_bound_of_the_closed_form_solution_is_the_exact_log_likelihood(
    x: np.ndarray, q: int
) -> None:
    """For each image, from one sample of its code; and its mean is Tipping & Bishop's maximum."""
    params = jax.jit(solution, static_argnums=(1, 2))(jnp.asarray(x), q, FLOOR)
    method = linear_vae(q, closed_kl=False)
    made = jax.eval_shape(method.init, run_key(0))
    assert jax.tree.structure(made.params) == jax.tree.structure(params)
    state = State(params, {"encoder": {}, "decoder": {}}, ())
    batch = Batch(jnp.asarray(x), jnp.zeros(len(x), jnp.int32))
    terms = jax.jit(method.terms)(state, 0, batch, jax.random.key(1))

    layer = params["decoder"]["Linear_0"]["Dense_0"]
    std = FLOOR + jnp.exp(params["likelihood"]["log_std"])
    exact = log_marginal(layer["kernel"].T, layer["bias"], std, batch.x.reshape(len(x), -1))
    np.testing.assert_allclose(-terms["negative_elbo"], exact, atol=1e-6, rtol=0)
    np.testing.assert_allclose(exact.mean(), maximum(x, q), atol=1e-6, rtol=0)

    # With the KL in closed form one sample is noisy, and never the exact value; the mean is.
    closed = jax.jit(linear_vae(q, closed_kl=True).terms)(state, 0, batch, jax.random.key(1))
    gap = np.asarray(closed["negative_elbo"] + exact)
    assert np.abs(gap).max() > 1e-3
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(gap))


@pytest.mark.usefixtures("x64")
def test_no_other_parameters_have_a_higher_bound(x: np.ndarray) -> None:
    params = solution(jnp.asarray(x), 10, FLOOR)
    method = linear_vae(10, closed_kl=True, samples=1)
    batch = Batch(jnp.asarray(x), jnp.zeros(len(x), jnp.int32))
    terms = jax.jit(method.terms)

    def bound(params: dict) -> float:
        state = State(params, {"encoder": {}, "decoder": {}}, ())
        return -float(terms(state, 0, batch, jax.random.key(2))["negative_elbo"].mean())

    best = maximum(x, 10)
    for i in range(6):
        leaves, tree = jax.tree.flatten(params)
        rng = np.random.default_rng(i)
        moved = [
            a + 0.02 * jnp.asarray(rng.normal(size=a.shape)) * jnp.abs(a).mean() for a in leaves
        ]
        assert bound(jax.tree.unflatten(tree, moved)) < best
