"""The VAE's gradients against exact expectations, and its log-densities against NumPy.

The judge of the gradients: linear networks and a code of one number, where the expectation of a
bound over the codes is an integral over one or two standard normals. NumPy takes it by
Gauss-Hermite quadrature, and its central differences are what the updates must be on average.
"""

import itertools
from collections.abc import Callable
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
from latentgen.core.types import Batch, Method, State
from latentgen.methods.vae import Model, Objective, vae
from latentgen.networks import mlp
from latentgen.objectives.bounds import BOUNDS
from latentgen.objectives.elbo import kl_warmup
from latentgen.objectives.estimators import ESTIMATORS
from latentgen.probability import likelihoods, posteriors, priors

pytestmark = pytest.mark.usefixtures("x64")
PIXELS, N, CODES, SHARE, FLOOR = 2, 2, 2, 0.3, 0.1
LEVEL = 1e-4  # of a test: the probability that noise alone fails it, over all coordinates


def make_prior(name: str, dim: int) -> priors.LearnedPrior:
    return {
        "normal": lambda: priors.fixed(priors.normal(dim)),
        "mixture": lambda: priors.mixture(dim, 2),
        "vamp": lambda: priors.vamp(dim, 2, (PIXELS,), None, None),
    }[name]()


def linear_model(dim: int, prior: priors.LearnedPrior, family: posteriors.PosteriorFamily) -> Model:
    return Model(
        encoder=mlp.encoder((), outputs=family.outputs, dtype=jnp.float64),
        decoder=mlp.decoder((PIXELS,), (), dtype=jnp.float64),
        prior=prior,
        posterior=family,
        likelihood=likelihoods.normal_learned(0.9, FLOOR),
        code_dim=dim,
        decoder_sees=dim,
    )


def method_of(
    model: Model,
    bound: str,
    estimator: str,
    beta: Any = 1.0,
    samples: int = CODES,
    group: int = 1,
    closed: bool = False,
    free: Any = 0.0,
) -> Method:
    objective = Objective(
        samples, BOUNDS[bound](samples, group, SHARE), ESTIMATORS[estimator], closed, free
    )
    return vae(model, objective, kl_warmup(beta, 0), optax.sgd(1.0), (PIXELS,))


def begin(method: Method) -> State:
    """Parameters in float64, none at a special value, and so small that the quadrature holds."""
    rng = np.random.default_rng(3)
    state = jax.eval_shape(method.init, run_key(0))
    return jax.tree.map(lambda a: jnp.array(0.3 * rng.normal(size=a.shape)), state)


def batch() -> Batch:
    x = jnp.array([[0.7, -0.4], [-1.1, 0.5]])
    return Batch(x, jnp.zeros(N, jnp.int32))


def updates(method: Method, state: State, keys: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
    """Minus what one step of plain gradient descent of size 1 adds, and its metrics, by key."""
    data = jax.tree.map(lambda a: a[None], batch())

    def one(key: jax.Array) -> tuple[Any, dict[str, jax.Array]]:
        after, metrics = method.step(state, jnp.int32(0), data, key)
        return jax.tree.map(lambda a, b: a - b, state.params, after.params), metrics

    return jax.jit(jax.vmap(one))(keys)


def gradients(method: Method, state: State, keys: jax.Array) -> Any:
    return updates(method, state, keys)[0]


def flat(tree: Any) -> np.ndarray:
    """Gradients of many keys as rows."""
    return np.asarray(jax.vmap(lambda tree: ravel_pytree(tree)[0])(tree))


def linear(net: Any, x: np.ndarray) -> np.ndarray:
    dense = net["Linear_0"]["Dense_0"]
    return x @ dense["kernel"] + dense["bias"]


def normal(z: np.ndarray, mean: Any, std: Any) -> np.ndarray:
    return -0.5 * ((z - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)


def log_prior_by_hand(name: str, model: Any, z: np.ndarray) -> np.ndarray:
    if name == "normal":
        return normal(z, 0.0, 1.0)
    if name == "mixture":
        p = model["prior"]
        weights = scipy.special.log_softmax(p["logits"])
        parts = zip(weights, p["mean"][:, 0], np.exp(p["log_std"][:, 0]), strict=True)
    else:
        outputs = linear(model["encoder"], model["prior"]["pseudo_inputs"])
        parts = ((-np.log(len(outputs)), mean, np.exp(log_std)) for mean, log_std in outputs)
    return scipy.special.logsumexp([w + normal(z, m, s) for w, m, s in parts], axis=0)


def expected_bound(
    parts: tuple[tuple[float, int], ...], prior: str, beta: float, model: Any, path: Any
) -> float:
    """E of the bound of CODES = 2 codes, mean over the examples.

    The codes and q come from `path`, all that is in p(x, z) from `model`.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    weights = weights / weights.sum()
    x = np.asarray(batch().x)
    total = 0.0
    for j in range(N):
        mean, log_std = linear(path["encoder"], x[j])
        std = np.exp(log_std)
        z = mean + std * nodes
        pixels = linear(model["decoder"], z[:, None])
        noise = FLOOR + np.exp(model["likelihood"]["log_std"])
        log_px = normal(x[j][None], pixels, noise).sum(axis=1)
        log_w = log_px + beta * (log_prior_by_hand(prior, model, z) - normal(z, mean, std))
        pairs = np.logaddexp(log_w[:, None], log_w[None, :]) - np.log(2)
        by_size = {1: weights @ log_w, 2: weights @ pairs @ weights}
        total += sum(share * by_size[size] for share, size in parts)
    return total / N


PARTS = {
    "elbo": (((1.0, 1),), ((1.0, 1),)),
    "iwae": (((1.0, 2),), ((1.0, 2),)),
    "ciwae": (((SHARE, 1), (1 - SHARE, 2)),) * 2,
    "piwae": (((1.0, 2),), ((1.0, 1),)),
}


def exact_gradient(bound: str, prior: str, beta: float, params: Any) -> np.ndarray:
    """Gradient of minus the bound: the decoder's by p(x, z), the encoder's by z and q."""
    leaves, structure = jax.tree.flatten(jax.tree.map(np.array, params))
    params = structure.unflatten(leaves)
    decoder, encoder = PARTS[bound]

    def difference(of: Callable[[Any], float], leaf: int, i: int, h: float = 1e-5) -> float:
        ends = []
        for sign in (1, -1):
            moved = leaves[leaf].copy()
            moved.flat[i] += sign * h
            ends.append(of(structure.unflatten([*leaves[:leaf], moved, *leaves[leaf + 1 :]])))
        return (ends[0] - ends[1]) / (2 * h)

    return -np.array(
        [
            difference(lambda p: expected_bound(decoder, prior, beta, p, params), leaf, i)
            + difference(lambda p: expected_bound(encoder, prior, beta, params, p), leaf, i)
            for leaf, values in enumerate(leaves)
            for i in range(values.size)
        ]
    )


def worst(rows: np.ndarray, expected: np.ndarray, slack: float = 3e-5) -> float:
    """max |t| over the coordinates; `slack` is the quadrature's error, far below the noise."""
    apart = np.abs(rows.mean(axis=0) - expected)
    error = rows.std(axis=0, ddof=1) / np.sqrt(len(rows))
    return float((np.maximum(apart - slack, 0) / (error + 1e-12)).max())


def limit(coordinates: int) -> float:
    """Bonferroni: the |t| that noise passes anywhere with probability LEVEL; 4.9 for 50."""
    return float(scipy.stats.norm.isf(LEVEL / (2 * coordinates)))


CASES = [
    ("normal", "elbo", "closed", 0.4),
    ("normal", "elbo", "stl", 0.4),
    ("normal", "iwae", "pathwise", 1.0),
    ("normal", "iwae", "dreg", 0.4),
    ("normal", "ciwae", "dreg", 1.7),
    ("normal", "piwae", "pathwise", 1.0),
    ("mixture", "iwae", "dreg", 0.4),
    ("vamp", "elbo", "stl", 1.0),
    ("vamp", "piwae", "dreg", 1.7),
]


def found_and_exact(
    prior: str, bound: str, estimator: str, beta: float, keys: int
) -> tuple[np.ndarray, np.ndarray]:
    model = linear_model(1, make_prior(prior, 1), posteriors.diagonal(1))
    closed = estimator == "closed"
    method = method_of(model, bound, "pathwise" if closed else estimator, beta, closed=closed)
    state = begin(method)
    rows = flat(gradients(method, state, jax.random.split(jax.random.key(1), keys)))
    return rows, exact_gradient(bound, prior, beta, state.params)


@pytest.mark.parametrize(("prior", "bound", "estimator", "beta"), CASES)
@pytest.mark.quick(2)
def test_the_mean_update_is_the_exact_gradient_of_every_parameter(
    prior: str, bound: str, estimator: str, beta: float
) -> None:
    rows, exact = found_and_exact(prior, bound, estimator, beta, 16384)
    assert np.count_nonzero(np.abs(exact) > 1e-3) > 0.8 * len(exact)
    assert worst(rows, exact) < limit(len(exact))


def test_the_same_test_rejects_stl_for_iwae() -> None:
    """STL is biased for IWAE (Tucker et al. 2018, arXiv:1810.04152)."""
    rows, exact = found_and_exact("normal", "iwae", "stl", 1.0, 16384)
    assert worst(rows, exact) > 2 * limit(len(exact))


KEYS = jax.random.key_data(jax.random.split(jax.random.key(7), 12))


def keys() -> jax.Array:
    return jax.random.wrap_key_data(KEYS)


def test_piwae_moves_the_decoder_as_iwae_and_the_encoder_as_miwae() -> None:
    """Key by key: the decoder, the prior and the likelihood on one side, q on the other."""
    model = linear_model(3, make_prior("mixture", 3), posteriors.diagonal(3))
    found = {}
    for bound in ("piwae", "iwae", "miwae"):
        method = method_of(model, bound, "dreg", beta=0.7, samples=6, group=2)
        found[bound] = gradients(method, begin(method), keys())
    for player in ("encoder", "decoder", "prior", "likelihood"):
        same, other = ("miwae", "iwae") if player == "encoder" else ("iwae", "miwae")
        mine, theirs, not_mine = (flat(found[b][player]) for b in ("piwae", same, other))
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-14)
        assert not np.allclose(mine, not_mine, rtol=1e-2)


@pytest.mark.parametrize(
    ("family", "bound", "estimator", "silent"),
    [
        ("diagonal", "ciwae", "dreg", True),
        ("full", "elbo", "stl", True),
        ("full", "iwae", "pathwise", False),
    ],
)
def test_at_the_exact_posterior_stl_and_dreg_have_no_noise_and_the_plain_gradient_has(
    family: str, bound: str, estimator: str, silent: bool
) -> None:
    """There log w is log p(x) for any z: p(z|x) = N(S W^T (x - c) / s^2, S), 1/S = I + W^T W / s^2.

    Every gradient of the encoder is 0, not only their mean (Roeder et al. 2017, arXiv:1703.09194),
    while the plain gradient is the score of q; the decoder's is not 0. For the diagonal family the
    columns of W are orthogonal.
    """
    dim, s = 2, 0.9
    model = linear_model(dim, make_prior("normal", dim), getattr(posteriors, family)(dim))
    method = method_of(model, bound, estimator, samples=4, group=2)
    state = begin(method)
    w = (
        np.array([[1.2, 0.5], [-0.3, 0.72]])
        if family == "diagonal"
        else np.array([[1.2, 0.5], [0.4, 0.9]])
    )
    w, c = w.T, np.array([0.3, -0.2])  # x = w z + c
    covariance = np.linalg.inv(np.eye(dim) + w.T @ w / s**2)
    mean = covariance @ w.T / s**2
    if family == "diagonal":
        assert abs(covariance[0, 1]) < 1e-12
        rest = np.log(np.diag(covariance)) / 2
    else:
        factor = np.linalg.cholesky(covariance)
        rest = np.array([np.log(factor[0, 0]), factor[1, 0], np.log(factor[1, 1])])
    kernel = np.concatenate([mean.T, np.zeros((dim, len(rest)))], axis=1)

    def net(kernel: np.ndarray, bias: np.ndarray) -> Any:
        return {"Linear_0": {"Dense_0": {"kernel": jnp.array(kernel), "bias": jnp.array(bias)}}}

    state = state._replace(
        params=state.params
        | {
            "encoder": net(kernel, np.concatenate([-mean @ c, rest])),
            "decoder": net(w.T, c),
            "likelihood": {"log_std": jnp.log(jnp.array(s - FLOOR))},
        }
    )
    log_p = scipy.stats.multivariate_normal(c, w @ w.T + s**2 * np.eye(PIXELS)).logpdf(batch().x)
    found, metrics = updates(method, state, keys())
    np.testing.assert_allclose(metrics["negative_bound"], -log_p.mean(), rtol=1e-12)
    assert np.abs(flat(found["decoder"])).max(axis=1).min() > 0.01
    if silent:
        np.testing.assert_allclose(flat(found["encoder"]), 0, atol=1e-12)
    else:
        assert (flat(found["encoder"]).std(axis=0) > 0.01).all()


@pytest.mark.parametrize("closed", [True, False])
def test_codes_within_free_nats_feel_no_kl_and_beyond_them_all_of_it(closed: bool) -> None:
    """The sampled KL is positive for this key."""
    model = linear_model(3, make_prior("normal", 3), posteriors.diagonal(3))
    state = begin(method_of(model, "elbo", "pathwise"))

    @jax.jit
    def of(beta: jax.Array, free: jax.Array) -> Any:
        method = method_of(model, "elbo", "pathwise", beta, closed=closed, free=free)
        data = jax.tree.map(lambda a: a[None], batch())
        return ravel_pytree(method.step(state, jnp.int32(0), data, jax.random.key(2))[0].params)[0]

    np.testing.assert_array_equal(of(0.7, 1e6), of(0.0, 0.0))
    np.testing.assert_array_equal(of(0.7, 1e-9), of(0.7, 0.0))
    assert not np.allclose(of(0.7, 0.0), of(0.0, 0.0), rtol=1e-2)


def still(family: posteriors.PosteriorFamily, z: jax.Array) -> posteriors.PosteriorFamily:
    """`family`, but what it draws is `z`."""

    def at(params: Any, outputs: jax.Array) -> posteriors.Posterior:
        q = family.at(params, outputs)
        return q._replace(draw=lambda key, k: (z, q.log_prob(z)))

    return family._replace(at=at)


def test_two_layers_weigh_their_codes_as_a_loop_in_numpy() -> None:
    """log w = log p(h2) + log p(h1|h2) + log p(x|h1) - log q(h1|x) - log q(h2|h1)."""
    first, second, k = 2, 3, 4
    up = mlp.encoder((), outputs=2 * second, dtype=jnp.float64)
    down = mlp.encoder((), outputs=2 * first, dtype=jnp.float64)
    z = jnp.array(np.random.default_rng(5).normal(size=(k, N, first + second)))
    top = make_prior("normal", second)
    model = linear_model(
        first,
        priors.two_layers(first, second, down, top),
        still(posteriors.two_layers(first, second, up), z),
    )._replace(code_dim=first + second)
    method = method_of(model, "miwae", "dreg", samples=k, group=2)
    state = begin(method)
    p = jax.tree.map(np.asarray, state.params)

    x, log_px, rate = np.asarray(batch().x), np.zeros((k, N)), np.zeros((k, N))
    for i, j in itertools.product(range(k), range(N)):
        h1, h2 = np.split(np.asarray(z[i, j]), [first])
        mean, log_std = np.split(linear(p["encoder"], x[j]), 2)
        log_q = normal(h1, mean, np.exp(log_std)).sum()
        mean, log_std = np.split(linear(p["posterior"], h1), 2)
        log_q += normal(h2, mean, np.exp(log_std)).sum()
        mean, log_std = np.split(linear(p["prior"]["middle"], h2), 2)
        log_p = normal(h2, 0.0, 1.0).sum() + normal(h1, mean, np.exp(log_std)).sum()
        std = FLOOR + np.exp(p["likelihood"]["log_std"])
        log_px[i, j] = normal(x[j], linear(p["decoder"], h1), std).sum()
        rate[i, j] = log_q - log_p
    pairs = (log_px - rate).reshape(2, 2, N)
    expected = {
        "distortion": -log_px.mean(axis=0),
        "rate": rate.mean(axis=0),
        "negative_bound": -(scipy.special.logsumexp(pairs, axis=1) - np.log(2)).mean(axis=0),
    }
    terms = jax.jit(method.terms)(state, jnp.int32(0), batch(), jax.random.key(0))
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-10)
    np.testing.assert_allclose(terms["loss"], expected["negative_bound"], rtol=1e-10)

    @jax.jit
    def log_w(state: State, z: jax.Array) -> jax.Array:
        probes = method.probes
        log_joint = probes["log_likelihood"](state, batch(), z) + probes["log_prior"](state, z)
        return log_joint - probes["log_posterior"](state, batch(), z)

    np.testing.assert_allclose(log_w(state, z), log_px - rate, rtol=1e-10)


def test_a_class_moves_code_image_and_likelihood_by_its_row_of_the_kernel() -> None:
    dim, classes = 2, 3
    model = linear_model(dim, make_prior("normal", dim), posteriors.diagonal(dim))
    method = method_of(model._replace(classes=classes), "iwae", "dreg")
    state, probes = begin(method), method.probes
    p = jax.tree.map(np.asarray, state.params)
    x, z = np.asarray(batch().x), np.array([[0.5, -1.0], [0.2, 0.3]])

    def beside(a: np.ndarray, label: list[int]) -> np.ndarray:
        return np.concatenate([a, np.eye(classes)[label]], axis=1)

    shown = []
    for label in ([0, 0], [1, 0], [2, 1]):
        labels = jnp.array(label, jnp.int32)
        image = linear(p["decoder"], beside(z, label))
        shown.append(image)
        np.testing.assert_allclose(probes["decode"](state, jnp.array(z), labels), image, rtol=1e-12)
        std = FLOOR + np.exp(p["likelihood"]["log_std"])
        found = probes["log_likelihood"](state, Batch(batch().x, labels), jnp.array(z)[None])
        np.testing.assert_allclose(found[0], normal(x, image, std).sum(axis=1), rtol=1e-12)
        mean = linear(p["encoder"], beside(x, label))[:, :dim]
        np.testing.assert_allclose(probes["encode"](state, batch().x, labels), mean, rtol=1e-12)
    for a, b in itertools.combinations(shown, 2):
        assert np.abs(a[0] - b[0]).max() > 0.05


def test_samples_show_one_class_after_the_other() -> None:
    dim, classes, n = 2, 3, 7
    model = linear_model(dim, make_prior("normal", dim), posteriors.diagonal(dim))
    method = method_of(model._replace(classes=classes), "elbo", "pathwise")
    state, key = begin(method), jax.random.key(4)
    z = np.asarray(method.probes["codes"](state, key, n))
    hot = np.eye(classes)[[0, 1, 2, 0, 1, 2, 0]]
    decoder = jax.tree.map(np.asarray, state.params["decoder"])
    expected = linear(decoder, np.concatenate([z, hot], axis=1))
    np.testing.assert_allclose(method.sample(state, key, n), expected, rtol=1e-12)
