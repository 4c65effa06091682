"""Log-densities, samples and closed-form divergences. All in nats, summed over what `*` covers."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
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
    scaled = (z - normal.mean) * jnp.exp(-normal.log_std)  # std^2 might underflow
    return noise_log_prob(scaled, normal.log_std)


def noise_log_prob(
    noise: Float[Array, "n *event"], log_std: Float[Array, "n *event"]
) -> Float[Array, " n"]:
    """log N(mean + std * noise; mean, std^2), which does not depend on the mean."""
    return -sum_event(0.5 * noise**2 + log_std + 0.5 * math.log(2 * math.pi))


def kl_to_standard_normal(normal: Normal) -> Float[Array, "n *event"]:
    """KL(N(mean, std^2) || N(0, 1)) = 1/2 [mean^2 + std^2 - 1 - 2 log std] of each coordinate.

    Reference: Kingma & Welling 2014, appendix B (arXiv:1312.6114).
    """
    mean, log_std = normal
    return 0.5 * (mean**2 + jnp.exp(2 * log_std) - 1 - 2 * log_std)


PRODUCT = 16  # factors in (1, 2] that share a logarithm: at most 2^16, never an overflow in float32


@jax.custom_jvp
def bernoulli_log_prob(
    logits: Float[Array, "n *event"], x: Float[Array, "n *event"]
) -> Float[Array, " n"]:
    """sum [x log p + (1 - x) log(1 - p)], p = sigmoid(logits), from logits: x l - softplus(l).

    A log-probability where x is 0 or 1; for grey x in [0, 1] the negative cross-entropy, which is
    no density over x (Loaiza-Ganem & Cunningham 2019, arXiv:1907.06845).

    softplus(l) = max(l, 0) + log(1 + exp(-|l|)), with one logarithm for the product of many pixels.
    The gradients are x - p and l, in closed form.
    """
    n, pixels = logits.shape[0], math.prod(logits.shape[1:])
    # Flat from the start: loops over images with a last axis of length 1 are not vectorized.
    flat, x = logits.reshape(n, pixels), x.reshape(n, pixels)
    together = max(i for i in range(1, PRODUCT + 1) if pixels % i == 0)
    factors = (1 + jnp.exp(-jnp.abs(flat))).reshape(n, together, pixels // together)
    logarithms = jnp.log(factors.prod(axis=1))
    return sum_event(x * flat - jnp.maximum(flat, 0)) - sum_event(logarithms)


bernoulli_log_prob.defjvps(
    lambda tangent, value, logits, x: sum_event((x - jax.nn.sigmoid(logits)) * tangent),
    lambda tangent, value, logits, x: sum_event(logits * tangent),
)
