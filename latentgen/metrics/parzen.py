"""The log-likelihood of a kernel density estimate on a generator's samples.

The measure of the first papers on GANs, kept to compare with them. It says little about a model:
in 784 dimensions no number of samples is enough, and it prefers copies of cluster centers to the
training set itself (Theis et al. 2016, arXiv:1511.01844).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from latentgen.metrics.weights import Weights, add, log_sum, nothing

SIGMAS = tuple(float(sigma) for sigma in np.logspace(-1, 0, 10))
"""Bandwidths to choose from, in the units of pixels in [0, 1]."""

VALIDATION = 1000
"""The most validation images that choose the bandwidth."""


class Parzen(NamedTuple):
    """Mean log-likelihood of the test images in nats, its standard error, and the bandwidth."""

    log_likelihood: Float[Array, ""]
    standard_error: Float[Array, ""]
    sigma: Float[Array, ""]


def gaussian_parzen(
    x: Float[Array, "n p"],
    samples: Float[Array, "m p"],
    sigma: float | Float[Array, ""],
    block: int = 1000,
) -> Float[Array, " n"]:
    """log 1/m sum_i N(x; s_i, sigma^2 I) in nats, in memory for n x `block` numbers.

    Args:
        x: pixels in [0, 1], flat.
        samples: s_1, ..., s_m.
        sigma: the bandwidth, in units of pixels.
    """
    m, p = samples.shape
    block = min(block, m)
    # |x - s|^2 as a matrix product loses digits where the squares are far larger than the distance.
    # Around the samples' mean they are as small as they get. `highest`: no TF32 on a GPU.
    center = samples.mean(axis=0, keepdims=True)
    x, samples = x - center, samples - center
    x_squares = (x**2).sum(axis=1)
    padded = jnp.pad(samples, ((0, -m % block), (0, 0)))

    def body(i: Array, weights: Weights) -> Weights:
        s = jax.lax.dynamic_slice_in_dim(padded, i * block, block)
        products = jnp.matmul(s, x.T, precision="highest")
        squares = x_squares[None] + (s**2).sum(axis=1)[:, None] - 2 * products
        real = (i * block + jnp.arange(block) < m)[:, None]
        return add(weights, jnp.where(real, -squares / (2 * sigma**2), -jnp.inf))

    weights = jax.lax.fori_loop(0, len(padded) // block, body, nothing(x_squares))
    return log_sum(weights) - math.log(m) - 0.5 * p * jnp.log(2 * math.pi * sigma**2)


def choose_sigma(samples: Float[Array, "m p"], validation: Float[Array, "n p"]) -> Float[Array, ""]:
    """The one of `SIGMAS` under which (the first 1,000) validation images are likeliest."""
    sigmas = jnp.asarray(SIGMAS, samples.dtype)

    def mean(sigma: Float[Array, ""]) -> Float[Array, ""]:
        return gaussian_parzen(validation[:VALIDATION], samples, sigma).mean()

    return sigmas[jax.lax.map(mean, sigmas).argmax()]


def parzen(
    samples: Float[Array, "m p"], validation: Float[Array, "n p"], test: Float[Array, "t p"]
) -> Parzen:
    """The protocol: sigma by the validation images, mean and standard error over the test images.

    Args:
        samples: 10,000 of the generator in the papers; pixels in [0, 1], flat, as the rest.

    Reference: Goodfellow et al. 2014, section 5 (arXiv:1406.2661), and the code that came with it.
    """
    sigma = choose_sigma(samples, validation)
    values = gaussian_parzen(test, samples, sigma)
    return Parzen(values.mean(), values.std() / math.sqrt(len(test)), sigma)
