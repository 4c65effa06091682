"""The bounds against loops in NumPy, their slopes against derivatives, their order on a model."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from latentgen.core.errors import BadInput
from latentgen.objectives.bounds import BOUNDS, check_groups
from latentgen.objectives.bounds import slope as eager_slope
from latentgen.objectives.bounds import value as eager_value
from latentgen.objectives.elbo import free_nats

value, slope = (jax.jit(f, static_argnums=0) for f in (eager_value, eager_slope))

SAMPLES, GROUP, SHARE = 6, 2, 0.3
PLAYERS = ("decoder", "encoder")


def logarithms(samples: int = SAMPLES, n: int = 4, spread: float = 1.5) -> np.ndarray:
    return np.random.default_rng(0).normal(-3.0, spread, size=(samples, n))


def by_groups(log_w: np.ndarray, size: int) -> np.ndarray:
    """mean over groups of log mean w, one number after the other."""
    samples, n = log_w.shape
    found = np.zeros(n)
    for j in range(n):
        logs = []
        for start in range(0, samples, size):
            weights = [math.exp(log_w[i, j]) for i in range(start, start + size)]
            logs.append(math.log(math.fsum(weights) / size))
        found[j] = math.fsum(logs) / len(logs)
    return found


def by_hand(name: str, player: str, log_w: np.ndarray, group: int, share: float) -> np.ndarray:
    elbo, iwae = log_w.mean(axis=0), by_groups(log_w, len(log_w))
    miwae = by_groups(log_w, group)
    return {
        "elbo": elbo,
        "iwae": iwae,
        "miwae": miwae,
        "ciwae": share * elbo + (1 - share) * iwae,
        "piwae": iwae if player == "decoder" else miwae,
    }[name]


CASES = list(itertools.product(BOUNDS, PLAYERS))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "player"), CASES)
@pytest.mark.parametrize(("samples", "group"), [(6, 2), (6, 3), (1, 1)])
def test_a_bound_is_the_loop_over_its_groups(
    name: str, player: str, samples: int, group: int
) -> None:
    log_w = logarithms(samples)
    parts = getattr(BOUNDS[name](samples, group, SHARE), player)
    expected = by_hand(name, player, log_w, group, SHARE)
    np.testing.assert_allclose(value(parts, jnp.array(log_w)), expected, rtol=1e-12)


def test_one_code_in_a_group_is_the_elbo_and_all_in_one_is_iwae() -> None:
    log_w = jnp.array(logarithms(), jnp.float32)
    elbo, iwae = logarithms().mean(axis=0), by_groups(logarithms(), SAMPLES)
    ends = {
        ("miwae", 1, SHARE): elbo,
        ("miwae", SAMPLES, SHARE): iwae,
        ("ciwae", GROUP, 1.0): elbo,
        ("ciwae", GROUP, 0.0): iwae,
    }
    for (name, group, share), expected in ends.items():
        for parts in BOUNDS[name](SAMPLES, group, share):
            np.testing.assert_allclose(value(parts, log_w), expected, rtol=1e-5)
    assert BOUNDS["piwae"](SAMPLES, GROUP, SHARE).decoder == BOUNDS["iwae"](SAMPLES, 1, 0.0).decoder
    assert (
        BOUNDS["piwae"](SAMPLES, GROUP, SHARE).encoder
        == BOUNDS["miwae"](SAMPLES, GROUP, 0.0).encoder
    )


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "player"), CASES)
def test_slope_is_the_gradient_less_the_diagonal_of_the_hessian(name: str, player: str) -> None:
    """Compare with finite differences of the loop in NumPy, h = 1e-4, and with JAX's gradient."""
    log_w, h = logarithms(), 1e-4
    parts = getattr(BOUNDS[name](SAMPLES, GROUP, SHARE), player)
    b, c = np.zeros_like(log_w), np.zeros_like(log_w)
    for i in range(SAMPLES):
        nudge = np.zeros_like(log_w)
        nudge[i] = h  # in all examples at once: they do not see each other
        up, here, down = (
            by_hand(name, player, log_w + sign * nudge, GROUP, SHARE) for sign in (1, 0, -1)
        )
        b[i], c[i] = (up - down) / (2 * h), (up - 2 * here + down) / h**2
    found = jnp.array(log_w)
    gradient = jax.jit(jax.grad(lambda log_w: value(parts, log_w).sum()))(found)
    np.testing.assert_allclose(slope(parts, found), gradient, rtol=1e-12)
    np.testing.assert_allclose(slope(parts, found), b, rtol=1e-6)
    for curved in (1.0, 0.4):
        np.testing.assert_allclose(slope(parts, found, curved), b - curved * c, atol=2e-7)
    hessian = jax.jit(jax.hessian(lambda column: value(parts, column[:, None])[0]))
    diagonal = np.stack([np.diag(hessian(column)) for column in found.T], axis=1)
    np.testing.assert_allclose(
        slope(parts, found, 1.0), gradient - diagonal, rtol=1e-10, atol=1e-12
    )


def test_slope_of_iwae_is_the_normalized_weight_and_curved_its_square() -> None:
    log_w = logarithms()
    weights = np.exp(log_w) / np.exp(log_w).sum(axis=0)
    parts = BOUNDS["iwae"](SAMPLES, 1, 0.0).encoder
    found = jnp.array(log_w, jnp.float32)
    np.testing.assert_allclose(slope(parts, found), weights, rtol=2e-6)
    np.testing.assert_allclose(slope(parts, found, 1.0), weights**2, rtol=5e-5, atol=1e-8)


@pytest.mark.parametrize("name", BOUNDS)
def test_weights_of_any_size_give_finite_bounds_and_slopes(name: str) -> None:
    """Log weights of images lie at -1000 and below, where w itself is 0 in float32."""
    log_w = logarithms(spread=40.0)
    for parts in BOUNDS[name](SAMPLES, GROUP, SHARE):
        near = np.asarray(value(parts, jnp.array(log_w, jnp.float32)))
        for shift in (-2000.0, 2000.0):
            far = jnp.array(log_w + shift, jnp.float32)
            np.testing.assert_allclose(value(parts, far), near + shift, rtol=1e-6)
            assert np.isfinite(slope(parts, far, 1.0)).all()
            np.testing.assert_allclose(slope(parts, far).sum(axis=0), 1.0, rtol=1e-5)


@pytest.mark.usefixtures("x64")
def test_bounds_keep_the_dtype_and_take_a_traced_share() -> None:
    for dtype in (jnp.float32, jnp.float64):
        log_w = jnp.array(logarithms(), dtype)

        @jax.jit
        def both(share, log_w=log_w):
            parts = BOUNDS["ciwae"](SAMPLES, GROUP, share).encoder
            return eager_value(parts, log_w), eager_slope(parts, log_w, share)

        shares = jnp.array([0.0, 0.5], dtype)
        values, slopes = jax.vmap(both)(shares)
        assert values.dtype == slopes.dtype == dtype
        for share, found in zip(shares, values, strict=True):
            expected = by_hand("ciwae", "encoder", np.asarray(log_w, float), GROUP, float(share))
            np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.usefixtures("x64")
def test_elbo_miwae_iwae_and_the_likelihood_come_in_this_order() -> None:
    """x = W z + c + s e with q off the posterior. Jensen orders the bounds draw by draw.

    In expectation IWAE stays below log p(x), here by more than 4 standard errors; the mean weight
    is p(x) without bias. With more samples the gap closes, for large k like var(w / p(x)) / 2k.
    """
    rng = np.random.default_rng(1)
    w, c, s = rng.normal(size=(3, 2)), rng.normal(size=3), 0.8
    x = rng.normal(size=3)
    log_p = scipy.stats.multivariate_normal(c, w @ w.T + s**2 * np.eye(3)).logpdf(x)
    covariance = np.linalg.inv(np.eye(2) + w.T @ w / s**2)
    mean, std = covariance @ w.T @ (x - c) / s**2 + 0.3, np.full(2, 1.1)
    draws, samples = 8000, 12

    noise = rng.normal(size=(samples, draws, 2))
    z = mean + std * noise
    log_w = (
        scipy.stats.norm.logpdf(x, z @ w.T + c, s).sum(axis=2)
        + scipy.stats.norm.logpdf(z).sum(axis=2)
        - scipy.stats.norm.logpdf(z, mean, std).sum(axis=2)
    )

    def of(name: str, log_w: np.ndarray, group: int = 3) -> np.ndarray:
        return np.asarray(value(BOUNDS[name](len(log_w), group, 0.5).decoder, jnp.array(log_w)))

    def error(values: np.ndarray) -> float:
        return values.std() / math.sqrt(draws)

    elbo, miwae, ciwae, iwae = (of(name, log_w) for name in ("elbo", "miwae", "ciwae", "iwae"))
    for low, high in ((elbo, miwae), (miwae, iwae), (elbo, ciwae), (ciwae, iwae)):
        assert (low <= high + 1e-12).all()
        assert low.mean() < high.mean() - 0.05
    assert iwae.mean() < log_p - 4 * error(iwae)
    weights = np.exp(iwae - log_p)
    assert abs(weights.mean() - 1) < 4 * error(weights)

    gaps = [log_p - of("iwae", log_w[:k]).mean() for k in (1, 2, 4, 12)]
    assert (np.diff(gaps) < 0).all()
    spread = np.exp(log_w - log_p).var()
    many = log_w.reshape(-1, 60)  # 1600 samples at a time
    left = log_p - of("iwae", many)
    assert abs(left.mean() - spread / (2 * len(many))) < 4 * left.std() / math.sqrt(60)


@pytest.mark.usefixtures("x64")
def test_free_nats_by_hand() -> None:
    """Means over the batch 0.2, 1.0 and 3.0, floor 0.5: the first group costs 0.5 all the same."""
    kl = jnp.array([[0.1, 0.6, 2.0], [0.3, 1.4, 4.0]])
    np.testing.assert_allclose(free_nats(kl, 0.5), [0.5 + 0.6 + 2.0, 0.5 + 1.4 + 4.0])
    np.testing.assert_allclose(free_nats(kl, 0.5).mean(), 0.5 + 1.0 + 3.0)
    np.testing.assert_allclose(free_nats(kl, 0.0), kl.sum(axis=1))
    np.testing.assert_allclose(free_nats(kl, 2.0).mean(), 2.0 + 2.0 + 3.0)


@pytest.mark.usefixtures("x64")
def test_free_nats_give_no_gradient_below_the_floor_and_all_of_it_above() -> None:
    """The mean over the batch decides: 0.6 in a group of mean 0.4 is free too."""
    kl = jnp.array([[0.2, 0.4, 2.0], [0.6, 1.4, 4.0]])
    gradient = jax.grad(lambda kl, least: free_nats(kl, least).sum())
    np.testing.assert_array_equal(gradient(kl, 0.5), [[0.0, 1.0, 1.0]] * 2)
    np.testing.assert_array_equal(gradient(kl, 0.0), np.ones((2, 3)))
    np.testing.assert_array_equal(jax.jit(gradient)(kl, jnp.array(5.0)), np.zeros((2, 3)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("least", [0.0, jnp.array(0.0)])
def test_without_a_floor_a_sampled_kl_below_zero_counts_as_it_is(least: float | jax.Array) -> None:
    kl = jnp.array([[-0.4, 0.3], [0.1, 0.2]])
    np.testing.assert_allclose(free_nats(kl, least), [-0.1, 0.3])
    np.testing.assert_allclose(free_nats(kl, 0.01).mean(), 0.01 + 0.25)


@pytest.mark.parametrize(("samples", "group"), [(6, 4), (6, 0), (6, -2), (1, 2), (2, 6)])
def test_groups_that_do_not_divide_the_samples_are_refused(samples: int, group: int) -> None:
    with pytest.raises(BadInput, match=f"group={group} must divide samples={samples}"):
        check_groups(samples, group)


@pytest.mark.parametrize(("samples", "group"), [(6, 1), (6, 2), (6, 3), (6, 6), (1, 1)])
def test_groups_that_divide_the_samples_pass_and_fit(samples: int, group: int) -> None:
    check_groups(samples, group)
    log_w = jnp.array(logarithms(samples), jnp.float32)
    for parts in BOUNDS["piwae"](samples, group, 0.0):
        assert slope(parts, log_w).shape == log_w.shape
