"""Structured codes of a generator, noise and codes c that mean something, and Q(c|x).

A code is z = [noise, one-hot categories, continuous codes]. c, all but the noise, is what InfoGAN
makes x tell: the categories uniform, the continuous codes uniform on [-1, 1].

Reference: Chen et al. 2016, section 5 (arXiv:1606.03657).
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from latentgen.core.types import PyTree
from latentgen.probability.priors import Encode, LearnedPrior, Prior, uniform


class Codes(NamedTuple):
    """Coordinates of c: one-hot categories, then continuous codes.

    categories: number of values of each categorical code
    continuous: number of continuous codes
    """

    categories: tuple[int, ...] = ()
    continuous: int = 0

    @property
    def size(self) -> int:
        """Coordinates of c; also outputs of Q: logits of each category, means of the others."""
        return sum(self.categories) + self.continuous

    def split(
        self, c: Float[Array, "n c"]
    ) -> tuple[list[Float[Array, "n k"]], Float[Array, "n j"]]:
        """Return the part of each category and that of the continuous codes."""
        ends = [sum(self.categories[: i + 1]) for i in range(len(self.categories))]
        *categories, continuous = jnp.split(c, ends, axis=1)
        return categories, continuous


def structured(noise: LearnedPrior, codes: Codes) -> LearnedPrior:
    """Return p(z) = p(noise) p(c), where the noise may have a learned prior."""

    def at(params: PyTree, encode: Encode) -> Prior:
        return _join(noise.at(params, encode), codes)

    return LearnedPrior(noise.init, at)


def _join(noise: Prior, codes: Codes) -> Prior:
    dim, box = noise.dim + codes.size, uniform(codes.continuous)

    def sample(key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
        noise_key, box_key, *keys = jax.random.split(key, 2 + len(codes.categories))
        drawn = [
            jax.nn.one_hot(jax.random.randint(k, (n,), 0, values), values)
            for k, values in zip(keys, codes.categories, strict=True)
        ]
        return jnp.concatenate([noise.sample(noise_key, n), *drawn, box.sample(box_key, n)], axis=1)

    def log_prob(z: Float[Array, "n d"]) -> Float[Array, " n"]:
        categories, continuous = codes.split(z[:, noise.dim :])
        total = noise.log_prob(z[:, : noise.dim]) + box.log_prob(continuous)
        for c in categories:
            is_one_hot = ((c == 0) | (c == 1)).all(axis=1) & (c.sum(axis=1) == 1)
            total += jnp.where(is_one_hot, -math.log(c.shape[1]), -jnp.inf)
        return total

    return Prior(dim, sample, log_prob)


def posterior(codes: Codes, outputs: Float[Array, "n c"]) -> Float[Array, "n c"]:
    """Return the parameters of Q(c|x): probabilities of each category, means of the others."""
    logits, means = codes.split(outputs)
    return jnp.concatenate([*(jax.nn.softmax(each, axis=1) for each in logits), means], axis=1)


def traversal(
    codes: Codes, prior: Prior, key: Key[Array, ""], columns: int
) -> Float[Array, "rows {columns} d"]:
    """Make a row of codes for each value of each category, then for each continuous code.

    All rows of a category have the same codes but for it, one in each column. A continuous code
    moves from -1 to 1 along its row, with all other coordinates fixed.
    """
    z, first = prior.sample(key, columns), prior.dim - codes.size
    rows = []
    for values in codes.categories:
        rows += [z.at[:, first : first + values].set(hot[None]) for hot in jnp.eye(values)]
        first += values
    fixed = jnp.broadcast_to(z[:1], z.shape)
    line = jnp.linspace(-1.0, 1.0, columns)
    rows += [fixed.at[:, first + j].set(line) for j in range(codes.continuous)]
    return jnp.stack(rows)
