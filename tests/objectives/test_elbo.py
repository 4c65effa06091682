"""The bound against an exact log-likelihood, and the schedule of its weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.objectives.elbo import elbo, kl_warmup
from latentgen.probability.distributions import (
    Normal,
    kl_to_standard_normal,
    normal_log_prob,
    normal_sample,
)
from latentgen.probability.likelihoods import normal


def test_terms_add_up() -> None:
    bound = elbo(jnp.array([-3.0, -5.0]), jnp.array([1.0, 2.0]), 0.5)
    np.testing.assert_allclose(bound.negative_elbo, [4.0, 7.0])
    np.testing.assert_allclose(bound.loss, [3.5, 6.0])
    np.testing.assert_allclose(bound.distortion, [3.0, 5.0])
    np.testing.assert_allclose(bound.rate, [1.0, 2.0])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("exact", [True, False])
def test_bound_is_tight_at_the_true_posterior_and_only_there(exact: bool) -> None:
    """z ~ N(0, 1), x = w z + s e: with t = w^2 + s^2, p(x) = N(0, t), p(z|x) = N(w x / t, s^2 / t).

    The gap elsewhere is KL(q || p(z|x)).
    """
    w, s, x = 1.7, 0.6, 0.9
    total = w**2 + s**2
    mean, std = w * x / total, s / np.sqrt(total)
    shift = 0.0 if exact else 0.4
    n = 200_000
    q = Normal(jnp.full((n, 1), mean + shift), jnp.full((n, 1), np.log(std)))
    z = normal_sample(q, jax.random.key(0))
    log_px = normal(s).log_prob({}, w * z, jnp.full((n, 1), x))
    found = -elbo(log_px, kl_to_standard_normal(q).sum(axis=1)).negative_elbo
    marginal = normal_log_prob(
        Normal(jnp.zeros((1, 1)), jnp.full((1, 1), np.log(total) / 2)), jnp.full((1, 1), x)
    )
    gap = shift**2 / (2 * std**2)
    error = 5 * float(found.std()) / np.sqrt(n)
    assert abs(float(found.mean() - marginal[0]) + gap) < error + 1e-12


def test_warmup_rises_to_beta_and_stays() -> None:
    weight = kl_warmup(4.0, 10)
    np.testing.assert_allclose([weight(jnp.int32(s)) for s in (0, 4, 9, 50)], [0.4, 2.0, 4.0, 4.0])
    np.testing.assert_allclose(kl_warmup(4.0, 0)(jnp.int32(0)), 4.0)
