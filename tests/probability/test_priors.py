"""Priors: integrals, samples, SciPy's mixtures, and VampPrior's pseudo-inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from probability.grids import assert_samples_fit, cells, middles

from latentgen.core.errors import BadInput
from latentgen.core.types import Net
from latentgen.networks import mlp
from latentgen.networks.made import made
from latentgen.probability import posteriors, priors
from latentgen.probability.posteriors import Posterior
from latentgen.probability.priors import Prior

KEY = jax.random.key(0)
RNG = np.random.default_rng(5)
MEANS, STDS = RNG.normal(0, 2, (3, 2)), np.exp(RNG.normal(-0.5, 0.4, (3, 2)))
LOGITS = np.array([0.0, 1.0, -1.0])
INPUTS = RNG.uniform(0.05, 0.95, (4, 2, 2, 1))
MATRIX = RNG.normal(0, 1, (4, 2))
CONTEXTS = RNG.normal(0, 1, (3, 2))


def encode(x: jax.Array) -> Posterior:
    """An encoder by hand: the mean is linear in x, log std is -mean / 4."""
    mean = x.reshape(len(x), -1) @ jnp.asarray(MATRIX, x.dtype)
    return posteriors.diagonal(2).at({}, jnp.concatenate([mean, -mean / 4], axis=1))


def encoded(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same in numpy: mean and std."""
    mean = x.reshape(len(x), -1) @ MATRIX
    return mean, np.exp(-mean / 4)


BENT = Net(
    init=lambda key, h: ({"shift": jnp.full((1, 1), 0.2)}, {}),
    apply=lambda params, stats, h, train, key=None: (
        jnp.concatenate([jnp.sin(2 * h) + params["shift"], 0.3 * h - 1], axis=1),
        stats,
    ),
)


def parameters(values) -> dict:
    return jax.tree.map(jnp.asarray, values)


def prior(name: str) -> Prior:
    """Priors over two coordinates, in the precision that reigns."""
    if name in priors.PRIORS:
        return priors.PRIORS[name](2)
    if name == "mixture":
        values = {"mean": MEANS, "log_std": np.log(STDS), "logits": LOGITS}
        return priors.mixture(2, 3).at(parameters(values), encode)
    if name == "aggregate":
        return priors.aggregate(encode, jnp.asarray(INPUTS), 2)
    if name == "vamp":
        values = {"pseudo_inputs": scipy.special.logit(INPUTS)}
        return priors.vamp(2, 4, (2, 2, 1), 0.0, 1.0).at(parameters(values), encode)
    if name == "aggregate_of_flows":
        family = posteriors.inverse_autoregressive(2, made((4,), "tanh"), 1, 2)
        like = jax.eval_shape(family.init, KEY)
        rng = np.random.default_rng(0)
        params = jax.tree.map(lambda a: jnp.asarray(rng.normal(0, 0.8, a.shape), a.dtype), like)
        outputs = np.concatenate([MEANS, np.log(STDS), CONTEXTS], axis=1)
        return priors.aggregate(lambda x: family.at(params, x), jnp.asarray(outputs), 2)
    if name == "two_layers_over_normal":  # whose noise must not be that of the layer below
        learned = priors.two_layers(1, 1, BENT, priors.fixed(priors.normal(1)))
        return learned.at(
            parameters({"middle": {"shift": np.full((1, 1), 0.2)}, "top": {}}), encode
        )
    top = priors.mixture(1, 3)
    values = {
        "middle": {"shift": np.full((1, 1), 0.2)},
        "top": {"mean": MEANS[:, :1], "log_std": np.log(STDS[:, :1]), "logits": LOGITS},
    }
    return priors.two_layers(1, 1, BENT, top).at(parameters(values), encode)


DENSITIES = (*priors.PRIORS, "mixture", "aggregate", "vamp", "two_layers")
NAMES = (*DENSITIES, "two_layers_over_normal", "aggregate_of_flows")


def log_prob(name: str, z) -> np.ndarray:
    return np.asarray(jax.jit(lambda z: prior(name).log_prob(z))(jnp.asarray(z)))


def sample(name: str, n: int) -> np.ndarray:
    return np.asarray(jax.jit(lambda key: prior(name).sample(key, n))(KEY))


def mixture_of(z, means, stds, weights) -> np.ndarray:
    """The log-density of a mixture of diagonal normals, one component after the other."""
    parts = [
        np.log(w) + scipy.stats.norm.logpdf(z, m[None], s[None]).sum(axis=1)
        for m, s, w in zip(means, stds, weights, strict=True)
    ]
    return scipy.special.logsumexp(parts, axis=0)


WEIGHTS = np.exp(LOGITS) / np.exp(LOGITS).sum()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NAMES)
def test_the_density_integrates_to_one_and_fits_the_samples(name: str) -> None:
    limit = 1.0 if name == "uniform" else 12.0
    found = cells(log_prob(name, middles(-limit, limit)), -limit, limit)
    np.testing.assert_allclose(found.mass.sum(), 1.0, rtol=1e-4)
    z = sample(name, 20_000)
    assert z.shape == (20_000, prior(name).dim)
    assert_samples_fit(found, z)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", DENSITIES)
def test_the_density_is_scipys(name: str) -> None:
    z = np.random.default_rng(1).normal(0, 1.5, size=(60, 2))
    normal = scipy.stats.norm.logpdf
    mean = z[:, 1:]
    expected = {
        "normal": lambda: normal(z).sum(axis=1),
        "uniform": lambda: scipy.stats.uniform.logpdf(z, -1, 2).sum(axis=1),
        "mixture": lambda: mixture_of(z, MEANS, STDS, WEIGHTS),
        "aggregate": lambda: mixture_of(z, *encoded(INPUTS), [1 / 4] * 4),
        "vamp": lambda: mixture_of(z, *encoded(INPUTS), [1 / 4] * 4),
        "two_layers": lambda: (
            mixture_of(z[:, 1:], MEANS[:, :1], STDS[:, :1], WEIGHTS)
            + normal(z[:, :1], np.sin(2 * mean) + 0.2, np.exp(0.3 * mean - 1))[:, 0]
        ),
    }[name]()
    assert np.isfinite(expected).any()
    np.testing.assert_allclose(log_prob(name, z), expected, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_stays_single(name: str) -> None:
    assert sample(name, 3).dtype == np.float32
    assert log_prob(name, np.zeros((3, 2), np.float32)).dtype == np.float32


def test_vamp_prior_samples_where_its_pseudo_inputs_lead_and_not_from_the_standard_normal() -> None:
    """Two pseudo-inputs that the encoder sends to (20, -20) and (-30, 10), std 1/2."""
    spots = jnp.array([[20.0, -20.0], [-30.0, 10.0]])

    def far(x):
        mean = x.reshape(len(x), -1) @ spots
        return posteriors.diagonal(2).at(
            {}, jnp.concatenate([mean, jnp.full_like(mean, jnp.log(0.5))], axis=1)
        )

    vamp = priors.vamp(2, 2, (1, 2, 1), None, None)
    params = {"pseudo_inputs": jnp.eye(2).reshape(2, 1, 2, 1)}

    def run(key):
        made = vamp.at(params, far)
        z = made.sample(key, 1000)
        return z, made.log_prob(z), made.log_prob(jax.random.normal(key, (1000, 2)))

    z, log_p, log_p_of_normals = (np.asarray(a) for a in jax.jit(run)(KEY))
    apart = np.linalg.norm(z[:, None] - np.asarray(spots), axis=2)
    assert (apart.min(axis=1) < 4).all()
    nearer_first = (apart[:, 0] < apart[:, 1]).sum()
    assert scipy.stats.binomtest(int(nearer_first), 1000, 0.5).pvalue > 1e-4
    # Entropy of the mixture: log 2 for which, and that of a normal with std 1/2.
    entropy = np.log(2) + np.log(2 * np.pi * np.e / 4)
    np.testing.assert_allclose(-log_p.mean(), entropy, atol=4 / np.sqrt(1000))
    assert (log_p_of_normals < -400).all()


def test_pseudo_inputs_stay_in_the_range_of_the_data() -> None:
    vamp = priors.vamp(2, 50, (4, 4, 1), -1.0, 1.0)
    params = vamp.init(KEY)
    assert params["pseudo_inputs"].shape == (50, 4, 4, 1)
    x = priors.pseudo_inputs(params, -1.0, 1.0)
    assert 0.3 < x.std() < 0.6  # spread about the middle, not at the ends
    assert abs(x.mean()) < 0.1
    ends = priors.pseudo_inputs({"pseudo_inputs": jnp.array([-1e4, 0.0, 1e4])}, -1.0, 3.0)
    np.testing.assert_allclose(ends, [-1.0, 1.0, 3.0])
    free = priors.pseudo_inputs(params, None, None)
    np.testing.assert_array_equal(free, params["pseudo_inputs"])


def test_the_mixture_starts_as_equal_normals_around_the_origin() -> None:
    params = priors.mixture(3, 500).init(KEY)
    assert jax.tree.map(jnp.shape, params) == {
        "mean": (500, 3),
        "log_std": (500, 3),
        "logits": (500,),
    }
    assert scipy.stats.kstest(np.asarray(params["mean"]).ravel(), "norm").pvalue > 1e-4
    assert not params["log_std"].any()
    assert not params["logits"].any()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["mixture", "vamp", "aggregate"])
def test_chunks_change_neither_values_nor_gradients(name: str, monkeypatch) -> None:
    z = np.random.default_rng(2).normal(0, 1.5, size=(11, 2))

    def run(z):
        value = prior(name).log_prob(z)
        return (value * jnp.arange(1.0, 12.0)).sum(), value

    slope, value = jax.jit(jax.grad(run, has_aux=True))(jnp.asarray(z))
    monkeypatch.setattr(priors, "PAIRS", 4 * 2 * 3)  # three or four codes at a time
    chunked = jax.jit(jax.grad(lambda z: run(z), has_aux=True))
    assert "while" in chunked.lower(jnp.asarray(z)).as_text()
    again_slope, again = chunked(jnp.asarray(z))
    np.testing.assert_allclose(again, value, rtol=1e-12)
    np.testing.assert_allclose(again_slope, slope, rtol=1e-12)
    step = 1e-6
    shifted = [log_prob(name, z + s * np.array([[1.0, 0.0]])) for s in (step, -step)]
    numerical = (shifted[0] - shifted[1]) / (2 * step) * np.arange(1, 12)
    np.testing.assert_allclose(slope[:, 0], numerical, rtol=1e-5)


def test_many_codes_against_many_components_fit_in_memory() -> None:
    """4000 codes and 20000 inputs of 16 coordinates: 5 GB as one array of pairs."""

    def run(z, outputs):
        encode = lambda x: posteriors.diagonal(16).at({}, x)  # noqa: E731
        return jax.grad(lambda z: priors.aggregate(encode, outputs, 16).log_prob(z).sum())(z)

    inputs = (
        jax.ShapeDtypeStruct((4000, 16), jnp.float32),
        jax.ShapeDtypeStruct((20_000, 32), jnp.float32),
    )
    needed = jax.jit(run).lower(*inputs).compile().memory_analysis().temp_size_in_bytes
    assert needed < 1.5e9, needed


@pytest.mark.parametrize("name", ["mixture", "vamp", "two_layers"])
def test_values_and_gradients_are_finite_far_from_all_components(name: str) -> None:
    z = jnp.array([[1e4, -1e4], [0.0, 0.0], [300.0, 0.0]])
    if name == "two_layers":
        z = z / 300  # the std of h1 grows as exp(h2)
    value, slope = jax.jit(jax.value_and_grad(lambda z: prior(name).log_prob(z).sum()))(z)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


@pytest.mark.usefixtures("x64")
def test_gradients_reach_the_pseudo_inputs_and_the_encoder() -> None:
    vamp = priors.vamp(2, 4, (2, 2, 1), 0.0, 1.0)
    rng = np.random.default_rng(0)
    z, raw, direction = rng.normal(size=(5, 2)), rng.normal(size=(4, 4)), rng.normal(size=(4, 4))

    def total(raw, weight):
        def scaled(x):
            return encode(weight * x)

        params = {"pseudo_inputs": raw.reshape(4, 2, 2, 1)}
        return vamp.at(params, scaled).log_prob(jnp.asarray(z)).sum()

    compute = jax.jit(jax.value_and_grad(total, (0, 1)))
    by_raw, by_weight = compute(jnp.asarray(raw), 1.0)[1]
    h = 1e-6
    raws = [compute(jnp.asarray(raw + s * direction), 1.0)[0] for s in (h, -h)]
    np.testing.assert_allclose((by_raw * direction).sum(), (raws[0] - raws[1]) / (2 * h), rtol=1e-6)
    weights = [compute(jnp.asarray(raw), 1.0 + s)[0] for s in (h, -h)]
    np.testing.assert_allclose(by_weight, (weights[0] - weights[1]) / (2 * h), rtol=1e-6)


def test_two_layers_hold_the_parameters_of_both() -> None:
    middle = mlp.encoder((8,), outputs=6)
    learned = priors.two_layers(3, 2, middle, priors.mixture(2, 5))
    params = jax.eval_shape(learned.init, KEY)
    assert set(params) == {"middle", "top"}
    assert params["top"]["mean"].shape == (5, 2)

    def run(key):
        made = learned.at(learned.init(key), encode)
        z = made.sample(key, 7)
        return z, made.log_prob(z)

    z, log_p = jax.jit(run)(KEY)
    assert z.shape == (7, 5)
    assert log_p.shape == (7,)


def test_a_fixed_prior_has_no_parameters() -> None:
    normal = priors.normal(2)
    learned = priors.fixed(normal)
    assert learned.init(KEY) == {}
    assert learned.at({}, encode) is normal


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: priors.mixture(2, 0), "components=0 must be at least 1"),
        (lambda: priors.vamp(2, 0, (1,), None, None), "components=0 must be at least 1"),
        (lambda: priors.vamp(2, 3, (1,), 0.0, None), "low=0.0 must be below high=None"),
        (lambda: priors.vamp(2, 3, (1,), 1.0, 0.0), "low=1.0 must be below high=0.0"),
    ],
)
def test_what_makes_no_prior_is_refused(make, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        make()
