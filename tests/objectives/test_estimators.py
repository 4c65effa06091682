"""Estimators of the encoder's gradient: each for one draw by hand, and their common mean.

Means against each other here, in several dimensions and with every kind of posterior; means against
exact expectations are in tests/methods/test_vae.py.
"""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from jax.flatten_util import ravel_pytree

from latentgen.core.keys import run_key
from latentgen.core.types import Batch, Method
from latentgen.methods.vae import Model, Objective, vae
from latentgen.networks import made, mlp
from latentgen.objectives.bounds import BOUNDS
from latentgen.objectives.elbo import kl_warmup
from latentgen.objectives.estimators import ESTIMATORS, negative_bound, one_view
from latentgen.probability import likelihoods, posteriors, priors

ROOT = Path(__file__).parents[2]
DIM, PIXELS, N, SAMPLES, GROUP, SHARE = 2, 3, 2, 6, 2, 0.3
KEYS, LEVEL = 16384, 1e-4  # draws; the probability that noise alone fails a test


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("bound", BOUNDS)
def test_value_and_gradients_by_hand(bound: str, estimator: str) -> None:
    """-bound; the model's gradient -b; the path's -(b - beta c) with DReG, else -b.

    b and c by hand: normalized weights v in each group, v / groups and v (1 - v) / groups.
    """
    log_w = np.random.default_rng(0).normal(size=(SAMPLES, N))
    beta = 0.6

    def slopes(size: int) -> tuple[np.ndarray, np.ndarray]:
        v = scipy.special.softmax(log_w.reshape(-1, size, N), axis=1).reshape(log_w.shape)
        return v * size / SAMPLES, v * (1 - v) * size / SAMPLES

    sizes = {"elbo": (1, 1), "iwae": (SAMPLES,) * 2, "miwae": (GROUP,) * 2, "piwae": (6, 2)}
    if bound == "ciwae":
        ends = zip(slopes(1), slopes(SAMPLES), strict=True)
        b, c = (SHARE * one + (1 - SHARE) * every for one, every in ends)
        of_decoder = b
    else:
        of_decoder, (b, c) = slopes(sizes[bound][0])[0], slopes(sizes[bound][1])
    curved = beta if estimator == "dreg" else 0.0

    made = BOUNDS[bound](SAMPLES, GROUP, SHARE), ESTIMATORS[estimator]

    def loss(model: jax.Array, path: jax.Array) -> jax.Array:
        return negative_bound(*made, model, path, beta).sum()

    total, found = jax.jit(jax.value_and_grad(loss, (0, 1)))(jnp.array(log_w), jnp.array(log_w))
    np.testing.assert_allclose(found[0], -of_decoder, rtol=1e-10)
    np.testing.assert_allclose(found[1], -(b - curved * c), rtol=1e-10)

    def groups(size: int) -> float:
        parts = scipy.special.logsumexp(log_w.reshape(-1, size, N), axis=1) - np.log(size)
        return parts.mean(axis=0).sum()

    by_hand = (
        SHARE * groups(1) + (1 - SHARE) * groups(SAMPLES)
        if bound == "ciwae"
        else groups(sizes[bound][0])
    )
    np.testing.assert_allclose(total, -by_hand, rtol=1e-10)


def test_one_view_serves_all_but_dreg_and_piwae() -> None:
    for bound, estimator in [(b, e) for b in BOUNDS for e in ESTIMATORS]:
        expected = bound != "piwae" and estimator != "dreg"
        made = BOUNDS[bound](SAMPLES, GROUP, SHARE), ESTIMATORS[estimator]
        assert one_view(*made) is expected


def model_of(kind: str) -> Model:
    """Linear networks; `kind` names the posterior, or the prior of a diagonal one."""
    prior, dim = priors.fixed(priors.normal(DIM)), DIM
    family = posteriors.diagonal(DIM)
    if kind == "flow":
        family = posteriors.inverse_autoregressive(DIM, made.made((4,), "tanh"), 2, 1)
    elif kind == "full":
        family = posteriors.full(DIM)
    elif kind == "vamp":
        prior = priors.vamp(DIM, 3, (PIXELS,), 0.0, 1.0)
    elif kind == "two layers":
        nets = [mlp.encoder((), outputs=o, dtype=jnp.float64) for o in (2, 2 * DIM)]
        family = posteriors.two_layers(DIM, 1, nets[0])
        prior = priors.two_layers(DIM, 1, nets[1], priors.mixture(1, 2))
        dim = DIM + 1
    return Model(
        encoder=mlp.encoder((), outputs=family.outputs, dtype=jnp.float64),
        decoder=mlp.decoder((PIXELS,), (), dtype=jnp.float64),
        prior=prior,
        posterior=family,
        likelihood=likelihoods.normal_learned(0.9, 0.1),
        code_dim=dim,
        decoder_sees=DIM,
    )


def method_of(kind: str, bound: str, estimator: str, beta: float) -> Method:
    objective = Objective(
        SAMPLES, BOUNDS[bound](SAMPLES, GROUP, SHARE), ESTIMATORS[estimator], closed_kl=False
    )
    return vae(model_of(kind), objective, kl_warmup(beta, 0), optax.sgd(1.0), (PIXELS,))


def apart(kind: str, bound: str, one: str, other: str, beta: float) -> tuple[np.ndarray, Any]:
    """Differences of the updates of two estimators, key by key with the same noise.

    Returns:
        The differences, (keys, parameters), and which player each parameter belongs to.
    """
    methods = [method_of(kind, bound, estimator, beta) for estimator in (one, other)]
    shapes, rng = jax.eval_shape(methods[0].init, run_key(0)), np.random.default_rng(1)
    state = jax.tree.map(lambda a: jnp.array(0.5 * rng.normal(size=a.shape)), shapes)
    x = jnp.array(rng.uniform(size=(1, N, PIXELS)))
    batch = Batch(x, jnp.zeros((1, N), jnp.int32))

    def difference(key: jax.Array) -> jax.Array:
        ends = [method.step(state, jnp.int32(0), batch, key)[0].params for method in methods]
        return ravel_pytree(ends[0])[0] - ravel_pytree(ends[1])[0]

    rows = jax.jit(jax.vmap(difference))(jax.random.split(jax.random.key(2), KEYS))
    owners = [
        name
        for name, tree in sorted(state.params.items())
        for _ in range(sum(leaf.size for leaf in jax.tree.leaves(tree)))
    ]
    return np.asarray(rows), np.array(owners)


def worst(rows: np.ndarray) -> float:
    """Largest |t| over the coordinates; rounding is ignored where both are equal by design."""
    error = rows.std(axis=0, ddof=1) / np.sqrt(len(rows)) + 1e-12
    return float((np.abs(rows.mean(axis=0)) / error).max())


def limit(coordinates: int) -> float:
    """Bonferroni limit: noise exceeds this |t| in any coordinate with probability LEVEL."""
    return float(scipy.stats.norm.isf(LEVEL / (2 * coordinates)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("kind", "bound", "other", "beta"),
    [
        ("diagonal", "miwae", "dreg", 0.5),
        ("full", "ciwae", "dreg", 1.0),
        ("flow", "elbo", "stl", 1.0),
        ("flow", "piwae", "dreg", 0.5),
        ("two layers", "iwae", "dreg", 1.0),
        ("vamp", "miwae", "dreg", 0.5),
    ],
)
@pytest.mark.quick(2)
def test_estimators_agree_on_average_and_differ_draw_by_draw(
    kind: str, bound: str, other: str, beta: float
) -> None:
    """Compare all parameters; the decoder's, prior's and likelihood's are equal for each draw."""
    rows, owners = apart(kind, bound, "pathwise", other, beta)
    assert worst(rows) < limit(rows.shape[1])
    of_q = np.isin(owners, ["encoder", "posterior"])
    np.testing.assert_allclose(rows[:, ~of_q], 0, atol=1e-10)
    assert (rows[:, owners == "encoder"].std(axis=0) > 1e-3).all()


@pytest.mark.usefixtures("x64")
def test_stl_is_biased_for_iwae_and_the_same_test_sees_it() -> None:
    """Tucker et al. 2018 (arXiv:1810.04152)."""
    rows, _ = apart("diagonal", "iwae", "pathwise", "stl", 1.0)
    assert worst(rows) > 2 * limit(rows.shape[1])


def study() -> ModuleType:
    path = ROOT / "experiments" / "studies" / "gradient_signal.py"
    spec = importlib.util.spec_from_file_location("gradient_signal", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_signal_over_noise_falls_for_iwae_and_rises_for_dreg_with_the_root_of_k() -> None:
    """Rainforth et al. 2018 (arXiv:1802.04537); Tucker et al. 2018. In four dimensions, seed 0.

    The two means also agree: their squared distance over its variance, averaged over 20
    parameters and 3 sizes, is 1 but for noise of about 0.2.
    """
    signal = study()
    found = signal.problem(jax.random.key(0), dim=4, examples=16, off=0.05)
    samples = [1, 16, 256]
    by_k = [signal.signal(found, k, 64, jax.random.fold_in(jax.random.key(1), k)) for k in samples]
    slopes = {
        name: signal.slope(samples, [ratios[name] for ratios, _ in by_k])
        for name in ("pathwise", "dreg")
    }
    assert -0.65 < slopes["pathwise"] < -0.35
    assert 0.35 < slopes["dreg"] < 0.65
    assert 0.3 < np.mean([distance for _, distance in by_k]) < 2.0
