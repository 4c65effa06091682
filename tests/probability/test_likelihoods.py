"""Likelihoods: SciPy's densities, sums over all images, samples, and numbers far out."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from latentgen.core.errors import BadInput
from latentgen.probability import likelihoods
from latentgen.probability.likelihoods import Likelihood, std_from, std_params

LEVEL = 1e-4  # of every test of samples: with fixed seeds it passes or fails for good
SHAPE = (2, 1, 1)  # two pixels
NORMALS = {
    "normal": (likelihoods.normal(0.3), {}, [0.3, 0.3]),
    "learned": (
        likelihoods.normal_learned(0.5, 0.1),
        {"log_std": np.log(0.6)},
        [0.7, 0.7],
    ),
    "per_pixel": (
        likelihoods.normal_per_pixel(SHAPE, 0.5, 0.1),
        {"log_std": np.log([[[0.2]], [[1.3]]])},
        [0.3, 1.4],
    ),
}
DISCRETE = {
    "bernoulli": (likelihoods.bernoulli(), [0.0, 1.0]),
    "logistic_2": (likelihoods.discretized_logistic(0.0, 1.0, 2), [0.0, 1.0]),
    "logistic_5": (likelihoods.discretized_logistic(-1.0, 1.0, 5), [-1.0, -0.5, 0.0, 0.5, 1.0]),
    "categorical_3": (likelihoods.categorical(-1.0, 1.0, 3), [-1.0, 0.0, 1.0]),
}


def outputs_for(likelihood: Likelihood, n: int = 1, size: float = 1.0, seed: int = 0) -> jax.Array:
    """Random decoder outputs for images of shape SHAPE."""
    rng = np.random.default_rng(seed)
    return jnp.array(size * rng.normal(size=(n, *SHAPE[:-1], SHAPE[-1] * likelihood.features)))


def all_images(values) -> jax.Array:
    """Every image of shape SHAPE with these values: (values^2, *SHAPE)."""
    return jnp.array(list(itertools.product(values, repeat=2))).reshape(-1, *SHAPE)


def many(outputs: jax.Array, n: int) -> jax.Array:
    return jnp.broadcast_to(outputs, (n, *outputs.shape[1:]))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NORMALS)
def test_normal_likelihoods_are_scipys(name: str) -> None:
    likelihood, params, std = NORMALS[name]
    rng = np.random.default_rng(0)
    outputs, x = rng.normal(size=(2, 4, *SHAPE))
    expected = scipy.stats.norm.logpdf(x, outputs, np.reshape(std, (1, *SHAPE))).sum(axis=(1, 2, 3))
    found = likelihood.log_prob(jax.tree.map(jnp.asarray, params), *map(jnp.array, (outputs, x)))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert likelihood.features == 1
    assert likelihood.levels is None
    np.testing.assert_array_equal(likelihood.mean(params, jnp.array(outputs)), outputs)


@pytest.mark.parametrize("name", NORMALS)
def test_normal_likelihoods_sample_their_density(name: str) -> None:
    likelihood, params, std = NORMALS[name]
    params = jax.tree.map(jnp.float32, params)
    outputs = outputs_for(likelihood)
    x = jax.jit(likelihood.sample)(params, jax.random.key(0), many(outputs, 20_000)).reshape(-1, 2)
    for pixel, mean, scale in zip(x.T, outputs.ravel(), std, strict=True):
        ks = scipy.stats.kstest(np.asarray(pixel), scipy.stats.norm(float(mean), scale).cdf)
        assert ks.pvalue > LEVEL
    corr = scipy.stats.pearsonr(*np.asarray(x.T))
    assert corr.pvalue > LEVEL  # pixels are independent


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NORMALS)
def test_normal_densities_integrate_to_one(name: str) -> None:
    likelihood, params, _ = NORMALS[name]
    line = np.arange(-12, 12, 0.1)
    x, outputs = all_images(line), outputs_for(likelihood)
    log_p = jax.jit(likelihood.log_prob)(
        jax.tree.map(jnp.asarray, params), many(outputs, len(x)), x
    )
    np.testing.assert_allclose(jnp.exp(log_p).sum() * 0.01, 1.0, rtol=1e-9)


@pytest.mark.parametrize("shape", [(), SHAPE])
def test_a_learned_std_starts_where_it_is_told(shape: tuple[int, ...]) -> None:
    if shape:
        likelihood = likelihoods.normal_per_pixel(shape, 0.5, 0.1)
    else:
        likelihood = likelihoods.normal_learned(0.5, 0.1)
    params = likelihood.init(jax.random.key(0))
    assert jax.tree.map(jnp.shape, params) == {"log_std": shape}
    x, outputs = jnp.ones((3, *SHAPE)), jnp.zeros((3, *SHAPE))
    expected = 2 * scipy.stats.norm.logpdf(1.0, 0.0, 0.5)
    np.testing.assert_allclose(
        jax.jit(likelihood.log_prob)(params, outputs, x), [expected] * 3, rtol=1e-6
    )


def test_a_std_comes_back_from_its_parameters_and_never_below_the_floor() -> None:
    std = jnp.array([[0.5, 0.11], [0.1, 0.0]])
    params = std_params(std, 0.1)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    np.testing.assert_allclose(std_from(params, 0.1), [[0.5, 0.11], [0.1, 0.1]], rtol=1e-6)
    no_floor = std_params(jnp.array([0.5, 0.0]), 0.0)
    assert jnp.isfinite(no_floor["log_std"]).all()
    np.testing.assert_allclose(std_from(no_floor, 0.0), [0.5, 0.0], rtol=1e-6, atol=1e-12)


def test_the_floor_bounds_the_density_of_a_pixel_that_never_changes() -> None:
    likelihood = likelihoods.normal_per_pixel(SHAPE, 0.5, 0.1)
    x = jnp.zeros((1, *SHAPE))

    def loss(params):
        return -likelihood.log_prob(params, x, x)[0]

    params = {"log_std": jnp.full(SHAPE, -200.0)}  # as training would make it
    value, slope = jax.jit(jax.value_and_grad(loss))(params)
    np.testing.assert_allclose(value, -2 * scipy.stats.norm.logpdf(0, 0, 0.1), rtol=1e-6)
    assert np.isfinite(slope["log_std"]).all()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("size", [1.0, 8.0])
@pytest.mark.parametrize("name", DISCRETE)
def test_probabilities_of_all_images_add_up_to_one_and_have_the_mean(name, size) -> None:
    likelihood, values = DISCRETE[name]
    assert likelihood.levels == len(values)
    outputs, x = outputs_for(likelihood, size=size), all_images(values)
    p = jnp.exp(jax.jit(likelihood.log_prob)({}, many(outputs, len(x)), x))
    np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-12)
    mean = (p[:, None, None, None] * x).sum(axis=0)
    np.testing.assert_allclose(
        jax.jit(likelihood.mean)({}, outputs)[0], mean, rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("name", DISCRETE)
def test_samples_of_discrete_likelihoods_have_their_probabilities(name: str) -> None:
    likelihood, values = DISCRETE[name]
    outputs, x = outputs_for(likelihood, size=0.5, seed=4), all_images(values)
    p = np.exp(jax.jit(likelihood.log_prob)({}, many(outputs, len(x)), x)).astype(np.float64)
    drawn = np.asarray(jax.jit(likelihood.sample)({}, jax.random.key(0), many(outputs, 20_000)))
    assert drawn.shape == (20_000, *SHAPE)
    nearest = np.abs(drawn.reshape(-1, 2, 1) - np.array(values)).argmin(axis=2)
    np.testing.assert_allclose(np.array(values)[nearest], drawn.reshape(-1, 2), atol=1e-6)
    counts = np.bincount(nearest[:, 0] * len(values) + nearest[:, 1], minlength=len(x))
    assert (p * 20_000 > 5).all()  # else the test's distribution is not chi-square
    chi = scipy.stats.chisquare(counts, 20_000 * p / p.sum())
    assert chi.pvalue > LEVEL, chi


def logistic_reference(index, a, b, low, high, levels):
    """log P of a level by SciPy in double precision, from the docstring's parametrization."""
    half, step = (high - low) / 2, (high - low) / (levels - 1)
    mean = (low + high) / 2 + half * a
    scale = half * np.exp(-7 + np.log1p(np.exp(-np.abs(6 + b))) + max(6 + b, 0))
    u = (low + step * (index + 0.5) - mean) / scale
    v = (low + step * (index - 0.5) - mean) / scale
    logistic = scipy.stats.logistic
    if index == 0:
        return logistic.logcdf(u)
    if index == levels - 1:
        return logistic.logsf(v)
    if u + v < 0:
        return scipy.special.logsumexp([logistic.logcdf(u), logistic.logcdf(v)], b=[1, -1])
    # In the upper tail from above: the two terms must not be nearly 1.
    return scipy.special.logsumexp([logistic.logsf(v), logistic.logsf(u)], b=[1, -1])


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0)])
def test_the_discretized_logistic_is_scipys_far_into_the_tails(low: float, high: float) -> None:
    """Compare float32 with SciPy's double precision."""
    cases = list(
        itertools.product(
            (0, 1, 77, 128, 254, 255), (0.0, -0.4, 0.9, 5.0, -30.0), (0.0, 1.5, -3.0, -40.0, 8.0)
        )
    )
    index, a, b = np.array(cases).T
    x = jnp.array(low + (high - low) * index / 255, jnp.float32)[:, None]
    outputs = jnp.array(np.stack([a, b], axis=1), jnp.float32)
    found = jax.jit(likelihoods.discretized_logistic(low, high).log_prob)({}, outputs, x)
    expected = [logistic_reference(*case, low, high, 256) for case in cases]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_zeros_put_the_logistic_in_the_middle_of_the_range() -> None:
    likelihood = likelihoods.discretized_logistic(-1.0, 1.0)
    zeros = jnp.zeros((20_000, 2))
    np.testing.assert_allclose(jax.jit(likelihood.mean)({}, zeros[:1]), [[0.0]], atol=1e-4)
    x = np.asarray(jax.jit(likelihood.sample)({}, jax.random.key(0), zeros))
    assert 0.5 < x.std() < 0.65  # about a third of the range, less what the ends cut off
    # Outputs of 0 cost little more than the uniform distribution: log 256 = 5.5.
    levels = jnp.array(np.linspace(-1, 1, 256)[:, None], jnp.float32)
    surprise = -jax.jit(likelihood.log_prob)({}, zeros[:256], levels)
    assert surprise.max() < 7


def test_the_logistic_reads_means_then_scales_of_all_channels() -> None:
    likelihood = likelihoods.discretized_logistic(0.0, 1.0)
    outputs = jnp.array([[[-0.5, 0.0, 0.5, -30.0, -30.0, -30.0]]])
    np.testing.assert_allclose(
        jax.jit(likelihood.mean)({}, outputs), [[[0.25, 0.5, 0.75]]], atol=2e-3
    )


def test_the_categorical_reads_the_levels_of_one_channel_after_the_other() -> None:
    likelihood = likelihoods.categorical(0.0, 1.0, 3)
    logits = np.random.default_rng(0).normal(size=(2, 1, 2, 3))  # n, height, channels, levels
    index = np.array([[[0, 2]], [[1, 1]]])
    log_p = logits - scipy.special.logsumexp(logits, axis=-1, keepdims=True)
    expected = [sum(log_p[n, 0, c, index[n, 0, c]] for c in (0, 1)) for n in (0, 1)]
    outputs = jnp.array(logits.reshape(2, 1, 6), jnp.float32)
    found = jax.jit(likelihood.log_prob)({}, outputs, jnp.array(index / 2, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["logistic", "categorical", "bernoulli"])
def test_values_and_gradients_are_finite_far_out(name: str) -> None:
    """Use black, white and grey images, and outputs from 0 to +-10^4, in float32."""
    likelihood = {
        "logistic": likelihoods.discretized_logistic(0.0, 1.0),
        "categorical": likelihoods.categorical(0.0, 1.0),
        "bernoulli": likelihoods.bernoulli(),
    }[name]
    extremes = np.array([0.0, 50.0, -50.0, 1e4, -1e4])
    signs = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0]])
    patterns = np.stack([np.resize(pair, 4 * likelihood.features) for pair in signs])
    outputs = np.einsum("e,pv->epv", extremes, patterns).reshape(-1, 2, 2, likelihood.features)
    shades = np.array([0.0, 1.0, 128 / 255])
    x = jnp.array(np.tile(shades, len(outputs)), jnp.float32).reshape(-1, 1, 1, 1)
    x = jnp.broadcast_to(x, (len(x), 2, 2, 1))
    outputs = jnp.array(np.repeat(outputs, len(shades), axis=0), jnp.float32)

    def total(outputs):
        value = likelihood.log_prob({}, outputs, x)
        return value.sum(), value

    slope, value = jax.jit(jax.grad(total, has_aux=True))(outputs)
    assert value.shape == (45,)
    assert jnp.isfinite(value).all()
    assert jnp.isfinite(slope).all()
    assert (value <= 1e-4).all()
    assert value.min() < -1e4  # it was far out
    mean = jax.jit(likelihood.mean)({}, outputs)
    assert ((mean >= 0) & (mean <= 1 + 1e-5)).all()


@pytest.mark.usefixtures("x64")
def test_log_one_minus_exp_is_numpys_and_goes_on_where_numpy_ends() -> None:
    log_y = np.array([-30.0, -17.0, -16.2, -16.0, -1.0, 0.0, 3.0])
    compute = jax.jit(jax.vmap(jax.value_and_grad(likelihoods.log_one_minus_exp)))
    found, slope = compute(jnp.array([*log_y, -2000.0, 2000.0]))
    np.testing.assert_allclose(found[:-2], np.log(-np.expm1(-np.exp(log_y))), rtol=1e-12)
    np.testing.assert_allclose(found[-2:], [-2000.0, 0.0])
    np.testing.assert_allclose(slope[:-2], np.exp(log_y) / np.expm1(np.exp(log_y)), rtol=1e-6)
    np.testing.assert_allclose(slope[-2:], [1.0, 0.0])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: likelihoods.discretized_logistic(0.0, 1.0, 1), "levels=1 must be at least 2"),
        (lambda: likelihoods.categorical(1.0, 0.0), "low=1.0 must be below high=0.0"),
        (lambda: likelihoods.normal_learned(0.1, 0.1), "floor=0.1 must be .* below std=0.1"),
        (lambda: likelihoods.normal_per_pixel(SHAPE, 0.1, -0.1), "floor=-0.1 must be at least 0"),
    ],
)
def test_what_makes_no_likelihood_is_refused(make, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        make()
