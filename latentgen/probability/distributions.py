"""Log-densities, samples and closed-form divergences. All in nats, summed over what `*` covers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy import stats
from jaxtyping import Array, Float, Key


def sum_event(values: Float[Array, "n *event"]) -> Float[Array, " n"]:
    """Sum over all axes but the first: independent coordinates, so log-densities add."""
    return values.reshape(values.shape[0], -1).sum(axis=1)


class Normal(NamedTuple):
    """n normal distributions with diagonal covariance: N(mean, diag(std^2)), std = exp(log_std)."""

    mean: Float[Array, "n *event"]
    log_std: Float[Array, "n *event"]

    @property
    def std(self) -> Float[Array, "n *event"]:
        """exp(log_std)."""
        return jnp.exp(self.log_std)


def normal_sample(normal: Normal, key: Key[Array, ""]) -> Float[Array, "n *event"]:
    """One reparametrized sample each: z = mean + std * eps, eps ~ N(0, I).

    Reference: Kingma & Welling 2014, section 2.4 (arXiv:1312.6114).
    """
    noise = jax.random.normal(key, normal.mean.shape, normal.mean.dtype)
    return normal.mean + normal.std * noise


def normal_log_prob(normal: Normal, z: Float[Array, "n *event"]) -> Float[Array, " n"]:
    """log N(z; mean, std^2) = -sum [(z - mean)^2 / (2 std^2) + log std + log(2 pi) / 2]."""
    return sum_event(stats.norm.logpdf(z, normal.mean, normal.std))


def kl_to_standard_normal(normal: Normal) -> Float[Array, " n"]:
    """KL(N(mean, std^2) || N(0, I)) = 1/2 sum [mean^2 + std^2 - 1 - 2 log std].

    Reference: Kingma & Welling 2014, appendix B (arXiv:1312.6114).
    """
    mean, log_std = normal
    return 0.5 * sum_event(mean**2 + jnp.exp(2 * log_std) - 1 - 2 * log_std)


def bernoulli_log_prob(
    logits: Float[Array, "n *event"], x: Float[Array, "n *event"]
) -> Float[Array, " n"]:
    """sum [x log p + (1 - x) log(1 - p)], p = sigmoid(logits), from logits: x l - softplus(l).

    A log-probability where x is 0 or 1; for grey x in [0, 1] the negative cross-entropy, which is
    no density over x (Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845).
    """
    return sum_event(x * logits - jax.nn.softplus(logits))
