"""Auxiliary tasks of a discriminator, held to closed forms and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.objectives.auxiliary import (
    categorical_information,
    class_log_prob,
    continuous_information,
    information,
)
from latentgen.probability.codes import Codes

RNG = np.random.default_rng(0)
ONE_HOT = jnp.eye(10)[jnp.arange(500) % 10]
UNIFORM = jnp.asarray(RNG.uniform(-1, 1, (200_000, 1)), jnp.float32)


def test_the_bound_is_the_entropy_where_q_is_exact_and_0_where_it_knows_nothing() -> None:
    exact = categorical_information(1e3 * ONE_HOT, ONE_HOT)
    np.testing.assert_allclose(exact, np.log(10), rtol=1e-6)
    ignorant = categorical_information(jnp.full((500, 10), 3.0), ONE_HOT)
    np.testing.assert_allclose(ignorant, 0, atol=1e-6)


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_the_bound_is_at_most_the_information(scale: float) -> None:
    """x is c under a channel that keeps it with p = 0.6 and else draws any: I(c; x) is known."""
    kept = RNG.uniform(size=500_000) < 0.6
    c = RNG.integers(0, 10, len(kept))
    x = np.where(kept, c, RNG.integers(0, 10, len(kept)))
    channel = 0.6 * np.eye(10) + 0.04
    true = np.log(10) + (channel * np.log(channel)).sum(axis=1).mean()
    bound = categorical_information(jnp.log(channel)[x], jnp.eye(10)[c]).mean()
    np.testing.assert_allclose(bound, true, atol=5e-3)  # the exact posterior
    other = scale * jnp.asarray(RNG.normal(size=(10, 10)), jnp.float32)
    assert categorical_information(other[x], jnp.eye(10)[c]).mean() < true
    assert categorical_information(other[x], jnp.eye(10)[c]).max() <= np.log(10) + 1e-5


def test_a_uniform_code_has_a_sixth_where_the_mean_is_exact() -> None:
    np.testing.assert_allclose(continuous_information(UNIFORM, UNIFORM).mean(), 1 / 6, atol=1e-3)
    assert not continuous_information(jnp.zeros_like(UNIFORM), UNIFORM).any()
    # The mean c + e falls short by E e^2 / 2.
    noise = jnp.asarray(RNG.normal(size=UNIFORM.shape), jnp.float32)
    found = continuous_information(UNIFORM + 0.5 * noise, UNIFORM).mean()
    np.testing.assert_allclose(found, 1 / 6 - 0.125, atol=3e-3)


def test_gradients_are_the_errors() -> None:
    logits = jnp.asarray(RNG.normal(size=(500, 10)), jnp.float32)
    by_logits = jax.grad(lambda o: categorical_information(o, ONE_HOT).sum())(logits)
    np.testing.assert_allclose(by_logits, ONE_HOT - jax.nn.softmax(logits), atol=1e-6)
    mean = jnp.asarray(RNG.normal(size=UNIFORM.shape), jnp.float32)
    by_mean = jax.grad(lambda m: continuous_information(m, UNIFORM).sum())(mean)
    np.testing.assert_allclose(by_mean, UNIFORM - mean, atol=1e-6)


def test_codes_of_a_kind_are_summed() -> None:
    codes = Codes((3, 4), 2)
    c = jnp.concatenate([jnp.eye(3)[:2], jnp.eye(4)[1:3], jnp.array([[0.5, -1.0], [0.0, 1.0]])], 1)
    out = jnp.asarray(RNG.normal(size=c.shape), jnp.float32)
    terms = information(codes, c, out)
    expected = np.log(12) + sum(
        (np.asarray(out[:, a:b]) * c[:, a:b]).sum(1) - np.log(np.exp(out[:, a:b]).sum(1))
        for a, b in ((0, 3), (3, 7))
    )
    np.testing.assert_allclose(terms["categorical_information"], expected, rtol=1e-5)
    expected = (c[:, 7:] ** 2 - (c[:, 7:] - out[:, 7:]) ** 2).sum(axis=1) / 2
    np.testing.assert_allclose(terms["continuous_information"], expected, rtol=1e-5)
    assert set(information(Codes((3,)), c[:, :3], out[:, :3])) == {"categorical_information"}
    assert set(information(Codes((), 1), c[:, 7:8], out[:, 7:8])) == {"continuous_information"}


def test_a_class_has_its_log_probability() -> None:
    logits = jnp.array([[0.0, np.log(3.0)], [1e4, 0.0]])
    found = class_log_prob(logits, jnp.array([1, 1]))
    np.testing.assert_allclose(found, [np.log(0.75), -1e4], rtol=1e-6)
