"""Annealing against exact log-likelihoods, a grid, and a loop in NumPy with the same randomness."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from metrics.models import curved, linear

from latentgen.core.errors import BadInput
from latentgen.metrics import annealing


def densities(model):
    return model.log_prior, model.log_likelihood


def exact_posterior_samples(model, c, b=1.0):
    mean, covariance = model.posterior(b)
    noise = np.random.default_rng(1).normal(size=(c, *mean.shape))
    return jnp.asarray(mean + noise @ np.linalg.cholesky(covariance).T, float)


@pytest.mark.usefixtures("x64")
def test_the_leapfrog_is_reversible_and_keeps_volume() -> None:
    model = curved(3, 2)
    at = annealing.evaluate(*densities(model))
    step = jnp.array([0.1, 0.2, 0.4])
    z, momentum = jax.random.normal(jax.random.key(0), (2, 4, 3, 2))

    @jax.jit
    def move(z, momentum):
        chain, momentum = annealing.leapfrog(at, at(z), momentum, 0.7, step, 10)
        return chain.z, momentum

    there, with_momentum = move(z, momentum)
    assert jnp.abs(there - z).min() > 1e-3
    back, stopped = move(there, -with_momentum)
    np.testing.assert_allclose(back, z, atol=1e-10)
    np.testing.assert_allclose(stopped, -momentum, atol=1e-10)

    def one(phase):
        moved = move(z.at[0, 2].set(phase[:2]), momentum.at[0, 2].set(phase[2:]))
        return jnp.concatenate([leaf[0, 2] for leaf in moved])

    jacobian = jax.jacfwd(one)(jnp.array([0.3, -0.4, 1.0, 0.5]))
    assert np.abs(jacobian - np.eye(4)).max() > 0.1
    np.testing.assert_allclose(np.linalg.det(jacobian), 1.0, rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_the_energy_error_falls_as_the_square_of_the_step() -> None:
    model = curved(3, 2)
    at = annealing.evaluate(*densities(model))
    z, momentum = jax.random.normal(jax.random.key(0), (2, 200, 3, 2))

    def energy(chain, momentum):
        return (momentum**2).sum(-1) / 2 - chain.log_prior - 0.7 * chain.log_likelihood

    @partial(jax.jit, static_argnums=0)
    def error(leapfrogs):
        """For one unit of time."""
        step = jnp.full(3, 1 / leapfrogs)
        start = at(z)
        end, moved = annealing.leapfrog(at, start, momentum, 0.7, step, leapfrogs)
        return jnp.abs(energy(end, moved) - energy(start, momentum)).mean()

    coarse, fine, finest = (error(s) for s in (20, 40, 80))
    np.testing.assert_allclose([coarse / fine, fine / finest], 4.0, rtol=0.05)


def test_transitions_leave_their_target_invariant() -> None:
    """From exact samples, six coarse transitions: whitened, they are still N(0, I) (KS, p > 1e-4).

    The steps are so coarse that many are rejected; without the acceptance test the spread grows.
    """
    model, c = linear(2), 6000
    at = annealing.evaluate(*densities(model))

    @jax.jit
    def run(z, b, step, key):
        def body(chain, key):
            return annealing.transition(at, chain, key, b, step, 4)

        chain, probability = jax.lax.scan(body, at(z), jax.random.split(key, 6))
        return chain.z, probability.mean()

    for b in (0.3, 1.0):
        mean, covariance = model.posterior(b)
        step = jnp.full(2, 1.8 * np.sqrt(np.linalg.eigvalsh(covariance)[0]))
        z, acceptance = run(exact_posterior_samples(model, c, b), b, step, jax.random.key(1))
        assert 0.5 < acceptance < 0.9
        white = (np.asarray(z, float) - mean) @ np.linalg.cholesky(np.linalg.inv(covariance))
        for example in range(2):
            for coordinate in range(2):
                assert scipy.stats.kstest(white[:, example, coordinate], "norm").pvalue > 1e-4
            # Standard errors of a variance and a covariance: sqrt(2 / c), 1 / sqrt(c).
            moments = np.cov(white[:, example].T)
            np.testing.assert_allclose(moments, np.eye(2), atol=4 * np.sqrt(2 / c))


def numpy_transition(model, z, key, b, step, leapfrogs):
    """Hamiltonian Monte Carlo in NumPy on the linear model, with JAX's random numbers."""
    momentum_key, accept_key = jax.random.split(key)
    p = np.asarray(jax.random.normal(momentum_key, z.shape))
    u = np.asarray(jax.random.uniform(accept_key, z.shape[:2]))

    def log_target(z):
        residual = (model.x - model.mu)[None] - z @ model.w.T
        quadratic = (z**2).sum(-1) + b * (residual**2).sum(-1) / model.std**2
        return -quadratic / 2

    def gradient(z):
        residual = (model.x - model.mu)[None] - z @ model.w.T
        return -z + b * residual @ model.w / model.std**2

    new, p_new, eps = z, p, step[None, :, None]
    for _ in range(leapfrogs):
        p_new = p_new + eps / 2 * gradient(new)
        new = new + eps * p_new
        p_new = p_new + eps / 2 * gradient(new)
    gain = log_target(new) - log_target(z) + (p**2 - p_new**2).sum(-1) / 2
    return np.where((np.log(u) < gain)[..., None], new, z), np.exp(np.minimum(gain, 0))


def numpy_log_likelihood(model, z):
    residual = (model.x - model.mu)[None] - z @ model.w.T
    constant = -np.log(model.std) - np.log(2 * np.pi) / 2
    return (-(residual**2) / (2 * model.std**2) + constant).sum(-1)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_chains_are_those_of_a_loop_with_the_step_sizes_given(direction: str) -> None:
    """Every temperature and example has a step size of its own: a frozen table, used as it is."""
    model, c, temperatures = linear(3), 4, 6
    schedule = annealing.sigmoid_schedule(temperatures)
    rng = np.random.default_rng(0)
    steps = rng.uniform(0.05, 0.5, size=(temperatures - 1, 3))
    key = jax.random.key(5)
    b, order = np.asarray(schedule), range(1, temperatures)
    if direction == "forward":
        start, key_of_run = jax.random.split(key)
        z = np.asarray(model.sample_prior(c)(start))
        origin = model.sample_prior(c)
        run = annealing.forward
    else:
        z, key_of_run, order = rng.normal(size=(c, 3, 2)), key, order[::-1]
        origin = jnp.asarray(z)
        run = annealing.reverse
    found = jax.jit(
        lambda key: run(*densities(model), origin, key, schedule, jnp.asarray(steps), 3)
    )(key)
    log_w, acceptance = np.zeros((c, 3)), []
    for t in order:
        if direction == "forward":
            log_w += (b[t] - b[t - 1]) * numpy_log_likelihood(model, z)
        move = jax.random.fold_in(key_of_run, t - 1)
        z, accepted = numpy_transition(model, z, move, b[t], steps[t - 1], 3)
        acceptance.append(accepted.mean(axis=0))
        if direction == "reverse":
            log_w += (b[t] - b[t - 1]) * numpy_log_likelihood(model, z)
    np.testing.assert_allclose(found.z, z, rtol=1e-9)
    np.testing.assert_allclose(found.log_w, log_w, rtol=1e-9)
    np.testing.assert_allclose(found.acceptance, np.mean(acceptance, axis=0), rtol=1e-9)
    sign = {"forward": 1, "reverse": -1}[direction]
    bound = sign * (scipy.special.logsumexp(sign * log_w, axis=0) - np.log(c))
    np.testing.assert_allclose(found.log_likelihood, bound, rtol=1e-9)
    w = np.exp(sign * log_w)
    np.testing.assert_allclose(found.effective_chains, w.sum(0) ** 2 / (w**2).sum(0), rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_two_temperatures_are_importance_sampling_from_the_prior() -> None:
    """E[w / p(x)] = 1 and E[(w / p(x))^2] by its closed form, within 4 standard errors."""
    model, c = linear(2, pixels=2, dim=1, std=1.5), 50_000
    schedule = annealing.linear_schedule(2)
    run = jax.jit(
        lambda key: annealing.forward(
            *densities(model), model.sample_prior(c), key, schedule, jnp.full((1, 2), 0.3), 1
        )
    )
    found = run(jax.random.key(0))
    ratio = np.exp(found.log_w - model.exact()[None])
    # p(x|z)^2 = N(x; W z + mu, std^2/2) (4 pi std^2)^(-D/2), so the second moment is a marginal.
    narrow = model.w @ model.w.T + model.std**2 / 2 * np.eye(2)
    log_second = scipy.stats.multivariate_normal(model.mu, narrow).logpdf(model.x)
    log_second += -np.log(4 * np.pi * model.std**2)
    second = np.exp(log_second - 2 * model.exact())
    error = np.sqrt((second - 1) / c)
    np.testing.assert_array_less(np.abs(ratio.mean(axis=0) - 1), 4 * error)
    np.testing.assert_array_less(
        np.abs((ratio**2).mean(axis=0) - second), 4 * (ratio**2).std(axis=0) / np.sqrt(c)
    )
    np.testing.assert_allclose(found.effective_chains, c / second, rtol=0.05)


def test_weights_are_unbiased_with_few_coarse_temperatures() -> None:
    """E[w] = p(x) forward and E[1/w] = 1/p(x) in reverse, far from equilibrium (4 std errors).

    In reverse eight chains start at each exact sample: dependent, and still unbiased.
    """
    model, c = linear(2, pixels=3, std=1.0), 8_000
    schedule = annealing.linear_schedule(4)
    steps = jnp.tile(jnp.array([[0.9], [0.5], [0.4]]), (1, 2))
    exact = model.exact()[None]
    forward = jax.jit(
        lambda key: annealing.forward(
            *densities(model), model.sample_prior(c), key, schedule, steps, 2
        )
    )(jax.random.key(0))
    ratio = np.exp(np.asarray(forward.log_w, float) - exact)
    error = ratio.std(axis=0) / np.sqrt(c)
    assert (error < 0.05).all()
    np.testing.assert_array_less(np.abs(ratio.mean(axis=0) - 1), 4 * error)
    z = jnp.repeat(exact_posterior_samples(model, c // 8), 8, axis=0)
    reverse = jax.jit(lambda key: annealing.reverse(*densities(model), z, key, schedule, steps, 2))(
        jax.random.key(2)
    )
    ratio = np.exp(exact - np.asarray(reverse.log_w, float)).reshape(-1, 8, 2).mean(axis=1)
    error = ratio.std(axis=0) / np.sqrt(len(ratio))
    assert (error < 0.05).all()
    np.testing.assert_array_less(np.abs(ratio.mean(axis=0) - 1), 4 * error)


def both_bounds(model, c, temperatures, leapfrogs=10):
    """Forward and reverse bounds of simulated data, from one exact posterior sample each."""
    schedule = annealing.sigmoid_schedule(temperatures)
    prior = model.sample_prior(c)

    @jax.jit
    def run(key):
        pilot, up, down = jax.random.split(key, 3)
        steps = annealing.tune(*densities(model), prior, pilot, schedule, leapfrogs)
        start = jnp.broadcast_to(jnp.asarray(model.z, steps.dtype)[None], (c, *model.z.shape))
        return (
            annealing.forward(*densities(model), prior, up, schedule, steps, leapfrogs),
            annealing.reverse(*densities(model), start, down, schedule, steps, leapfrogs),
        )

    return run(jax.random.key(0))


@pytest.mark.parametrize("make", [lambda: linear(6), lambda: curved(6, 1), lambda: curved(6, 2)])
def test_bounds_of_simulated_data_close_in_on_the_exact_value(make) -> None:
    """Each example within 6 standard errors of its weights, their mean within 5.

    Of c chains with n effective ones, log(mean w) has the variance (c / n - 1) / c; over 12 seeds
    and these models |error| / standard error was at most 3.7, and 3.1 for the mean.
    """
    model, c = make(), 100
    exact = model.exact()
    for found in both_bounds(model, c, 200, leapfrogs=3):
        error = np.sqrt((c / np.asarray(found.effective_chains) - 1) / c)
        gap = np.asarray(found.log_likelihood) - exact
        assert (error < 0.15).all()
        np.testing.assert_array_less(np.abs(gap), 6 * error)
        assert abs(gap.mean()) < 5 * np.sqrt((error**2).sum()) / len(gap)
        assert ((found.acceptance > 0.5) & (found.acceptance < 0.85)).all()


def test_forward_is_below_and_reverse_above_where_annealing_is_too_fast() -> None:
    """Means over 400 examples: on the right side of the exact value by more than 3 std errors."""
    model = linear(400, std=0.3)
    forward, reverse = both_bounds(model, 1, 5, leapfrogs=2)
    below = np.asarray(model.exact() - forward.log_likelihood)
    above = np.asarray(reverse.log_likelihood - model.exact())
    assert below.mean() > 3 * below.std() / 20 > 0
    assert above.mean() > 3 * above.std() / 20 > 0


def test_tuning_finds_the_step_size_of_each_example_and_temperature() -> None:
    """Pixels ten times as sharp ask for steps about ten times as small, and reach the target."""
    model = linear(2, pixels=10, dim=5)

    def log_likelihood(z):
        scale = jnp.array([1.0, 100.0])[None]
        return scale * model.log_likelihood(z)

    schedule, prior = annealing.sigmoid_schedule(150), model.sample_prior(32)

    @jax.jit
    def run(pilot, key):
        functions = (model.log_prior, log_likelihood, prior)
        steps = annealing.tune(*functions, pilot, schedule, 5)
        return steps, annealing.forward(*functions, key, schedule, steps, 5).acceptance

    steps, acceptance = run(*jax.random.split(jax.random.key(0)))
    assert steps.shape == (149, 2)
    ratio = steps[-20:].mean(axis=0)
    assert 6 < ratio[0] / ratio[1] < 15
    assert (steps[0] > 2 * steps[-1]).all()
    np.testing.assert_allclose(acceptance, 0.65, atol=0.05)


def test_what_is_infinite_or_not_a_number_is_rejected() -> None:
    """A prior and a likelihood with walls; log p(x) of a box is the logarithm of its share."""

    def log_prior(z):
        return jnp.where((jnp.abs(z) <= 1).all(-1), -2 * jnp.log(2.0), -jnp.inf)

    def log_likelihood(z):
        inside = jnp.where(z[..., 0] > 0.5, -3.0 + 0 * z[..., 0], -jnp.inf)
        return jnp.where(z[..., 1] > 0.9, jnp.nan, inside)

    def sample_prior(key):
        return jax.random.uniform(key, (4000, 1, 2), minval=-1.0, maxval=0.9)

    # b jumps: the chains that start outside the box have weight 0, and stay harmless.
    schedule = jnp.array([0.0, 0.5, 1.0])
    found = jax.jit(
        lambda key: annealing.forward(
            log_prior, log_likelihood, sample_prior, key, schedule, jnp.full((2, 1), 0.4), 3
        )
    )(jax.random.key(0))
    assert jnp.isfinite(found.z).all()
    assert (jnp.abs(found.z) <= 1).all()
    assert (found.z[..., 1] <= 0.9).all()
    assert 0 < found.acceptance[0] < 1
    share = 0.4 / 1.9
    error = np.sqrt((1 - share) / share / 4000)
    assert abs(found.log_likelihood[0] - np.log(share) + 3) < 4 * error
    np.testing.assert_allclose(found.effective_chains, 4000 * share, rtol=4 * error)


def test_schedules_run_from_the_prior_to_the_posterior() -> None:
    np.testing.assert_allclose(annealing.linear_schedule(5), [0, 0.25, 0.5, 0.75, 1])
    b = np.asarray(annealing.sigmoid_schedule(101))
    u = np.linspace(-4, 4, 101)
    low, high = scipy.special.expit([-4, 4])
    np.testing.assert_allclose(b, (scipy.special.expit(u) - low) / (high - low), atol=1e-6)
    for schedule in (annealing.linear_schedule, annealing.sigmoid_schedule):
        b = np.asarray(schedule(1000))
        assert (b[0], b[-1]) == (0, 1)
        assert (np.diff(b) > 0).all()
        np.testing.assert_array_equal(schedule(2), [0, 1])
        with pytest.raises(BadInput, match="temperatures=1 "):
            schedule(1)
