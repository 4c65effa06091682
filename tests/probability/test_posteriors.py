"""Posteriors: integrals, samples, SciPy's densities and divergences, the flow's Jacobian."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from probability.grids import assert_samples_fit, cells, middles

from latentgen.core.errors import BadInput
from latentgen.core.types import Net
from latentgen.networks import mlp
from latentgen.networks.made import made
from latentgen.probability import posteriors
from latentgen.probability.posteriors import POSTERIORS, Posterior, PosteriorFamily

KEY = jax.random.key(0)


def bent(params, h):
    """A network by hand: one coordinate -> mean and log std of one."""
    return jnp.concatenate([jnp.sin(2 * h) + params["shift"], 0.3 * h - 1], axis=1)


BENT = Net(
    init=lambda key, h: ({"shift": jnp.full((1, 1), 0.2)}, {}),
    apply=lambda params, stats, h, train, key=None: (bent(params, h), stats),
)


def family(name: str, dim: int = 2) -> PosteriorFamily:
    if name == "flow":
        return posteriors.inverse_autoregressive(dim, made((6,), "tanh"), 2, 2)
    if name == "two_layers":
        assert dim == 2
        return posteriors.two_layers(1, 1, BENT)
    return POSTERIORS[name](dim)


FAMILIES = (*POSTERIORS, "flow", "two_layers")
CLOSED = ("diagonal", "diagonal_softplus", "full")


@cache
def setting(name: str, dim: int = 2):
    """A family with parameters far from their start, and outputs for two examples."""
    made = family(name, dim)
    rng = np.random.default_rng(4)
    like = jax.eval_shape(made.init, KEY)
    params = jax.tree.map(lambda a: rng.normal(0, 0.8, a.shape).astype(np.float32), like)
    outputs = rng.normal(0, 0.35, (2, made.outputs))
    if name == "squashed":
        outputs[:, dim:] -= 1.0  # a wide normal, squashed, has spikes at the faces of the cube
    return made, params, outputs


def posterior(name: str, dim: int = 2) -> Posterior:
    """The posterior in the default precision: double under the fixture x64."""
    made, params, outputs = setting(name, dim)
    return made.at(jax.tree.map(jnp.asarray, params), jnp.asarray(outputs))


def draws(name: str, k: int, dim: int = 2) -> tuple[np.ndarray, np.ndarray]:
    return jax.jit(lambda key: posterior(name, dim).draw(key, k))(KEY)


def closed_kl(name: str, dim: int = 2) -> np.ndarray:
    return jax.jit(lambda: posterior(name, dim).kl)()


def centre(name: str, dim: int = 2) -> np.ndarray:
    return jax.jit(lambda: posterior(name, dim).centre)()


def log_prob(name: str, z, dim: int = 2) -> np.ndarray:
    return jax.jit(lambda z: posterior(name, dim).log_prob(z))(jnp.asarray(z))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", FAMILIES)
def test_the_density_integrates_to_one_and_fits_the_samples(name: str) -> None:
    limit = 1.0 if name == "squashed" else 8.0

    def both(z):
        return log_prob(name, jnp.broadcast_to(z[:, None], (len(z), 2, 2)))

    z, log_q = draws(name, 20_000)
    log_p = both(middles(-limit, limit))
    for example in (0, 1):
        found = cells(log_p[:, example], -limit, limit)
        np.testing.assert_allclose(found.mass.sum(), 1.0, rtol=1e-4)
        assert_samples_fit(found, z[:, example])
    np.testing.assert_allclose(log_prob(name, z), log_q, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "two_layers"])
def test_the_density_of_one_coordinate_integrates_to_one(name: str) -> None:
    edges = np.linspace(-1, 1, 4001) if name == "squashed" else np.linspace(-12, 12, 4001)
    z = (edges[1:] + edges[:-1])[:, None, None] / 2
    density = np.exp(log_prob(name, np.broadcast_to(z, (len(z), 2, 1)), 1))
    np.testing.assert_allclose(density.sum(axis=0) * (edges[1] - edges[0]), [1, 1], rtol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_log_probabilities_in_single_precision_are_those_of_the_draws(name: str) -> None:
    z, log_q = draws(name, 50)
    assert z.shape == (50, 2, 2)
    assert z.dtype == log_q.dtype == jnp.float32
    np.testing.assert_allclose(log_prob(name, z), log_q, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CLOSED)
def test_the_closed_kl_is_scipys_integral(name: str) -> None:
    _, _, outputs = setting(name, 1)
    kl = closed_kl(name, 1)
    for example in (0, 1):
        mean, raw = outputs[example]
        std = np.log1p(np.exp(raw)) if name == "diagonal_softplus" else np.exp(raw)
        normal = scipy.stats.norm(mean, std)
        integral, error = scipy.integrate.quad(
            lambda z, n=normal: n.pdf(z) * (n.logpdf(z) - scipy.stats.norm.logpdf(z)), -15, 15
        )
        assert error < 1e-7
        np.testing.assert_allclose(kl[example], [integral], rtol=1e-8)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dim", [2, 4])
@pytest.mark.parametrize("name", CLOSED)
def test_the_closed_kl_is_that_of_samples(name: str, dim: int) -> None:
    """Within 4 standard errors."""
    z, log_q = draws(name, 20_000, dim)
    difference = np.asarray(log_q) - scipy.stats.norm.logpdf(z).sum(axis=2)
    error = difference.std(axis=0) / np.sqrt(len(z))
    kl = closed_kl(name, dim)
    assert kl.shape == ((2, 1) if name == "full" else (2, dim))
    assert (error < 0.05).all()
    np.testing.assert_array_less(np.abs(kl.sum(axis=1) - difference.mean(axis=0)), 4 * error)


def test_only_normals_have_a_closed_kl() -> None:
    assert {name for name in FAMILIES if closed_kl(name) is not None} == set(CLOSED)


@pytest.mark.usefixtures("x64")
def test_the_full_normal_is_scipys() -> None:
    _, _, outputs = setting("full", 3)
    z = np.random.default_rng(0).normal(size=(5, 2, 3))
    found = log_prob("full", z, 3)
    for example in (0, 1):
        mean, (a, b, c, d, e, f) = outputs[example, :3], outputs[example, 3:]
        factor = np.array([[np.exp(a), 0, 0], [b, np.exp(c), 0], [d, e, np.exp(f)]])
        normal = scipy.stats.multivariate_normal(mean, factor @ factor.T)
        np.testing.assert_allclose(found[:, example], normal.logpdf(z[:, example]), rtol=1e-9)
        covariance = factor @ factor.T
        kl = (mean @ mean + np.trace(covariance) - 3 - np.linalg.slogdet(covariance)[1]) / 2
        np.testing.assert_allclose(closed_kl("full", 3)[example], [kl], rtol=1e-9)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["diagonal", "diagonal_softplus"])
def test_the_diagonal_normals_are_scipys(name: str) -> None:
    _, _, outputs = setting(name, 3)
    std = {"diagonal": np.exp, "diagonal_softplus": lambda r: np.log(1 + np.exp(r))}[name]
    z = np.random.default_rng(0).normal(size=(5, 2, 3))
    expected = scipy.stats.norm.logpdf(z, outputs[None, :, :3], std(outputs[None, :, 3:]))
    np.testing.assert_allclose(log_prob(name, z, 3), expected.sum(axis=2), rtol=1e-10)
    np.testing.assert_array_equal(centre(name, 3), outputs[:, :3])


@pytest.mark.usefixtures("x64")
def test_log_softplus_is_numpys_and_goes_on_where_numpy_ends() -> None:
    raw = np.array([-30.0, -20.1, -19.9, -3.0, 0.0, 5.0, 600.0])
    with_numpy = np.log(np.log1p(np.exp(raw)))
    compute = jax.jit(jax.vmap(jax.value_and_grad(posteriors.log_softplus)))
    found, slopes = compute(jnp.array([*raw, -1e4, 1e4]))
    np.testing.assert_allclose(found[:-2], with_numpy, rtol=1e-13)
    np.testing.assert_allclose(found[-2:], [-1e4, np.log(1e4)], rtol=1e-12)
    np.testing.assert_allclose(slopes[-2:], [1.0, 1e-4], rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_the_squashed_normal_is_the_change_of_variables() -> None:
    _, _, outputs = setting("squashed")
    z = np.random.default_rng(0).uniform(-0.99, 0.99, size=(50, 2, 2))
    mean, std = outputs[None, :, :2], np.exp(outputs[None, :, 2:])
    expected = scipy.stats.norm.logpdf(np.arctanh(z), mean, std) - np.log(1 - z**2)
    np.testing.assert_allclose(log_prob("squashed", z), expected.sum(axis=2), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(centre("squashed"), np.tanh(outputs[:, :2]))


def test_the_squashed_normal_at_the_faces_of_the_cube_and_outside() -> None:
    q = posterior("squashed")
    z = jnp.array([[1.0, -1.0], [0.5, 1.0], [1.0001, 0.0], [0.0, -7.0]])
    z = jnp.broadcast_to(z[:, None], (4, 2, 2))
    (_, found), slope = jax.jit(
        jax.value_and_grad(lambda z: (q.log_prob(z)[:2].sum(), q.log_prob(z)), has_aux=True)
    )(z)
    np.testing.assert_array_equal(np.isfinite(found), [[True] * 2] * 2 + [[False] * 2] * 2)
    np.testing.assert_array_equal(found[2:], -np.inf)
    assert np.isfinite(slope).all()

    # Means far out: codes stay strictly inside, where their density is finite.
    def run(outputs):
        far = POSTERIORS["squashed"](2).at({}, outputs)
        z, log_q = far.draw(KEY, 100)
        return z, far.centre, log_q, far.log_prob(z)

    z, centre, *log_q = jax.jit(run)(jnp.array([[60.0, -60.0, 2.0, -2.0]]))
    assert (np.abs(z) < 1).all()
    assert (np.abs(centre) < 1).all()
    assert np.isfinite(log_q).all()


@pytest.mark.usefixtures("x64")
def test_the_log_slope_of_tanh_is_numpys_and_goes_on_where_numpy_ends() -> None:
    u = np.linspace(-9, 9, 37)
    np.testing.assert_allclose(
        posteriors.log_slope_of_tanh(jnp.array(u)), -2 * np.log(np.cosh(u)), atol=1e-13
    )
    far = posteriors.log_slope_of_tanh(jnp.array([-500.0, 500.0]))
    np.testing.assert_allclose(far, [2 * np.log(2) - 1000] * 2)


@pytest.mark.usefixtures("x64")
def test_two_layers_are_scipys_chain() -> None:
    _, params, outputs = setting("two_layers")
    z = np.random.default_rng(0).normal(size=(6, 2, 2))
    h1, h2 = z[..., 0], z[..., 1]
    shift = params["shift"][0, 0]
    lower = scipy.stats.norm.logpdf(h1, outputs[None, :, 0], np.exp(outputs[None, :, 1]))
    upper = scipy.stats.norm.logpdf(h2, np.sin(2 * h1) + shift, np.exp(0.3 * h1 - 1))
    np.testing.assert_allclose(log_prob("two_layers", z), lower + upper, rtol=1e-9)
    mean = outputs[:, 0]
    chained = np.stack([mean, np.sin(2 * mean) + shift], axis=1)
    np.testing.assert_allclose(centre("two_layers"), chained, rtol=1e-9)


def test_two_layers_of_other_sizes() -> None:
    deep = posteriors.two_layers(3, 2, mlp.encoder((8,), outputs=4))
    assert deep.outputs == 6

    def run(key):
        q = deep.at(deep.init(key), jnp.zeros((5, 6)))
        z, log_q = q.draw(key, 4)
        return z, log_q, q.log_prob(z), q.centre

    z, log_q, again, centre = jax.jit(run)(KEY)
    assert z.shape == (4, 5, 5)
    assert centre.shape == (5, 5)
    assert np.unique(z[..., 3:]).size == 40  # every code has noise of its own
    np.testing.assert_allclose(again, log_q, rtol=1e-4)


def flow_setting(dim: int, steps: int):
    """Parameters of a flow, inputs and contexts, in double precision."""
    net, rng = made((8,), "tanh"), np.random.default_rng(dim + steps)
    like = jax.eval_shape(posteriors.inverse_autoregressive(dim, net, steps, 2).init, KEY)
    params = jax.tree.map(lambda a: jnp.asarray(rng.normal(0, 1, a.shape)), like)
    z, context = jnp.array(rng.normal(size=(3, dim))), jnp.array(rng.normal(size=(3, 2)))
    return net, params, z, context


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("dim", "steps"), [(1, 1), (4, 1), (4, 2), (3, 3)])
def test_the_flows_determinant_is_that_of_its_numerical_jacobian(dim: int, steps: int) -> None:
    net, params, z, context = flow_setting(dim, steps)
    forward = jax.jit(lambda z: posteriors.flow(net, params, z, context))
    after, log_det = forward(z)
    step = 1e-5 * np.eye(dim)[:, None]
    ahead, behind = ([forward(z + sign * axis)[0] for axis in step] for sign in (1, -1))
    jacobian = (np.stack(ahead, axis=2) - np.stack(behind, axis=2)) / 2e-5
    sign, expected = np.linalg.slogdet(jacobian)
    np.testing.assert_allclose(log_det, expected, rtol=1e-6)
    np.testing.assert_array_equal(np.abs(sign), 1)
    if dim > 1:  # one step goes through the coordinates in one order, two in both
        triangular = np.abs(np.triu(jacobian, 1)).max() < 1e-9
        assert triangular == (steps == 1)
    # And the inverse is the inverse, with the same determinant.
    before, again = jax.jit(lambda z: posteriors.inverse_flow(net, params, z, context))(after)
    np.testing.assert_allclose(before, z, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(again, log_det, rtol=1e-9)


def test_the_flow_starts_near_a_scaling() -> None:
    """With MADE near 0, every step keeps s = sigmoid(2) of a coordinate and its place."""
    flow = posteriors.inverse_autoregressive(4, made((32,)), 3, 2)
    assert flow.outputs == 10
    params = jax.jit(flow.init)(KEY)
    outputs = jax.random.normal(KEY, (50, 10))
    centre = jax.jit(lambda params, outputs: flow.at(params, outputs).centre)(params, outputs)
    s = 1 / (1 + np.exp(-2))
    np.testing.assert_allclose(centre, s**3 * outputs[:, :4], atol=0.1)
    first, second = (np.asarray(jax.tree.leaves(params)[1][i]) for i in (0, 1))
    assert (first != second).any()  # steps do not share their start


def test_the_flow_bends_each_example_by_its_own_context() -> None:
    made_, params, outputs = setting("flow")
    params, outputs = jax.tree.map(jnp.asarray, params), jnp.asarray(outputs, jnp.float32)
    draw = jax.jit(lambda o: made_.at(params, o).draw(KEY, 3)[0])
    before, after = draw(outputs), draw(outputs.at[1, -1].add(1.0))
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert (before[:, 1] != after[:, 1]).all()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    """Compare with differences in z, parameters and outputs, in a random direction."""
    made_, params, outputs = setting(name)
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(2, 2))

    def total(everything):
        params, outputs, z = everything
        q = made_.at(params, outputs)
        drawn, log_q = q.draw(KEY, 2)
        return (weights * (q.log_prob(z) + log_q)).sum() + (weights[..., None] * drawn).sum()

    inputs = jax.tree.map(np.float64, (params, outputs, 0.3 * rng.normal(size=(2, 2, 2))))
    direction = jax.tree.map(lambda a: rng.normal(size=a.shape), inputs)
    value_and_slope = jax.jit(jax.value_and_grad(total))
    at = lambda h: jax.tree.map(lambda a, d: jnp.asarray(a + h * d), inputs, direction)  # noqa: E731
    numerical = (value_and_slope(at(1e-5))[0] - value_and_slope(at(-1e-5))[0]) / 2e-5
    slopes = value_and_slope(at(0.0))[1]
    along = jax.tree.map(lambda s, d: float((np.asarray(s) * d).sum()), slopes, direction)
    np.testing.assert_allclose(sum(jax.tree.leaves(along)), numerical, rtol=1e-6)


@pytest.mark.parametrize("name", FAMILIES)
def test_values_and_gradients_are_finite_far_out(name: str) -> None:
    """Outputs of +-12 in every combination of signs of the first four, in float32."""
    made_, params, _ = setting(name)
    signs = np.stack(np.meshgrid(*[[-1, 1]] * 4), axis=-1).reshape(-1, 4)
    size = 3.0 if name == "two_layers" else 12.0  # its log std grows with the code
    outputs = jnp.array(size * np.resize(signs.T, (made_.outputs, 16)).T, jnp.float32)

    def total(params, outputs):
        q = made_.at(params, outputs)
        z, log_q = q.draw(KEY, 2)
        kl = jnp.zeros(()) if q.kl is None else q.kl.sum()
        return log_q.sum() + q.log_prob(jnp.concatenate([z, -z])).sum() + kl + z.sum()

    value, slopes = jax.jit(jax.value_and_grad(total, (0, 1)))(
        jax.tree.map(jnp.asarray, params), outputs
    )
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


def test_networks_that_remember_and_flows_of_no_step_are_refused() -> None:
    remembers = mlp.encoder((4,), outputs=2, norm="batch")
    with pytest.raises(BadInput, match="norm='batch' is not possible"):
        posteriors.two_layers(1, 1, remembers).init(KEY)
    with pytest.raises(BadInput, match="steps=0 must be at least 1"):
        posteriors.inverse_autoregressive(2, made(), 0, 1)


def test_encoder_outputs_are_mean_then_log_std() -> None:
    normal = posteriors.diagonal_normal(jnp.array([[1.0, 2.0, 0.0, jnp.log(3.0)]]))
    np.testing.assert_allclose(normal.mean, [[1.0, 2.0]])
    np.testing.assert_allclose(normal.std, [[1.0, 3.0]], rtol=1e-6)
