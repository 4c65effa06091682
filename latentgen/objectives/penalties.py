"""What keeps a discriminator smooth: penalties on its gradient in x, and weights held in a box.

A penalty is a function (discriminator, real, synthetic, key) -> (n,), where the discriminator
takes x (n, ...) to logits (n,) and looks at each example alone. D ascends its value minus a
weight times the penalty; the generator's turn has none.

Units: gradients are in logits per unit of x as the discriminator sees it. On images in [0, 1]
(`data.preprocess=unit`) a slope is twice what it is on the same images in [-1, 1] (`signed`), which
most papers have, and its square four times: `rescale_gamma` converts a weight of R1 and R2. The
slope of 1 that WGAN-GP and DRAGAN ask for is another demand in other units: no weight converts it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from latentgen.core.types import PyTree

Discriminator = Callable[[Float[Array, "n *shape"]], Float[Array, " n"]]
Penalty = Callable[
    [Discriminator, Float[Array, "n *shape"], Float[Array, "n *shape"], Key[Array, ""]],
    Float[Array, " n"],
]


def grad_norm_sq(discriminator: Discriminator, x: Float[Array, "n *shape"]) -> Float[Array, " n"]:
    """|grad_x l(x_i)|^2 of each example: one gradient of the sum, as no example sees another."""
    gradient = jax.grad(lambda x: discriminator(x).sum())(x)
    return (gradient**2).sum(axis=tuple(range(1, x.ndim)))


def grad_norm(discriminator: Discriminator, x: Float[Array, "n *shape"]) -> Float[Array, " n"]:
    """|grad_x l(x_i)|, with gradient 0 where it is 0."""
    squared = grad_norm_sq(discriminator, x)
    positive = squared > 0  # sqrt has no slope at 0, and nan where both branches are followed
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def rescale_gamma(
    interval: tuple[float, float], gamma: float, of: tuple[float, float] = (-1.0, 1.0)
) -> float:
    """The weight of R1 or R2 on x in `interval` that is `gamma` on the same x in `of`.

    gamma |grad_x l|^2 stays the same: rescale_gamma(interval) = gamma ((b - a) / (of_b - of_a))^2.
    """
    (low, high), (of_low, of_high) = interval, of
    return gamma * ((high - low) / (of_high - of_low)) ** 2


def r1(
    discriminator: Discriminator,
    real: Float[Array, "n *shape"],
    synthetic: Float[Array, "n *shape"],
    key: Key[Array, ""],
) -> Float[Array, " n"]:
    """|grad l(x)|^2 / 2 at real examples. The weight is the paper's gamma, for x in [-1, 1].

    Their code leaves out the half: its `reg_param` is half the weight here.

    Reference: Mescheder et al. 2018, equation 9 (arXiv:1801.04406).
    """
    del synthetic, key
    return grad_norm_sq(discriminator, real) / 2


def r2(
    discriminator: Discriminator,
    real: Float[Array, "n *shape"],
    synthetic: Float[Array, "n *shape"],
    key: Key[Array, ""],
) -> Float[Array, " n"]:
    """|grad l(x)|^2 / 2 at synthetic examples; units as for `r1`.

    Reference: Mescheder et al. 2018, equation 10 (arXiv:1801.04406).
    """
    del real, key
    return grad_norm_sq(discriminator, synthetic) / 2


def r1_and_r2(
    discriminator: Discriminator,
    real: Float[Array, "n *shape"],
    synthetic: Float[Array, "n *shape"],
    key: Key[Array, ""],
) -> Float[Array, " n"]:
    """R1 + R2. With the relativistic game it makes R3GAN, whose gamma is for x in [-1, 1].

    Reference: Huang et al. 2024, section 2 (arXiv:2501.05441).
    """
    return r1(discriminator, real, synthetic, key) + r2(discriminator, real, synthetic, key)


def gradient_penalty(
    discriminator: Discriminator,
    real: Float[Array, "n *shape"],
    synthetic: Float[Array, "n *shape"],
    key: Key[Array, ""],
) -> Float[Array, " n"]:
    """(|grad l(u x + (1 - u) G(z))| - 1)^2, u ~ U[0, 1]: on lines from real to synthetic.

    The slope of 1 is per unit of x: on [0, 1] as in the authors' gan_mnist.py and in Lucic et al.
    2018, half as steep as on [-1, 1].

    Reference: Gulrajani et al. 2017, equation 3 (WGAN-GP, arXiv:1704.00028).
    """
    u = jax.random.uniform(key, (real.shape[0], *(1,) * (real.ndim - 1)))
    return (grad_norm(discriminator, u * real + (1 - u) * synthetic) - 1) ** 2


def dragan_penalty(
    discriminator: Discriminator,
    real: Float[Array, "n *shape"],
    synthetic: Float[Array, "n *shape"],
    key: Key[Array, ""],
) -> Float[Array, " n"]:
    """(|grad l(x + std(x) (u - 1/2))| - 1)^2, u ~ U[0, 1]: around real examples.

    std(x) is one number, over the whole minibatch, and the slope of 1 is per unit of x. The noise
    is that of Lucic et al.'s later code (compare_gan, v2), without its clipping to pixels.

    Reference: Kodali et al. 2017, section 2.5 (DRAGAN, arXiv:1705.07215).
    """
    del synthetic
    noise = jax.random.uniform(key, real.shape) - 0.5
    return (grad_norm(discriminator, real + real.std() * noise) - 1) ** 2


def dragan_one_sided_penalty(
    discriminator: Discriminator,
    real: Float[Array, "n *shape"],
    synthetic: Float[Array, "n *shape"],
    key: Key[Array, ""],
) -> Float[Array, " n"]:
    """(|grad l(x + a std(x) u / 2)| - 1)^2, u ~ U[0, 1] of each pixel, a ~ U[0, 1] of each example.

    DRAGAN as its authors' code has it, and Lucic et al.'s of their paper (compare_gan, v1).
    std(x) is one number, over the whole minibatch, and the slope of 1 is per unit of x.

    Reference: the code of Kodali et al. 2017 (arXiv:1705.07215).
    """
    del synthetic
    pixel_key, example_key = jax.random.split(key)
    u = jax.random.uniform(pixel_key, real.shape)
    a = jax.random.uniform(example_key, (real.shape[0], *(1,) * (real.ndim - 1)))
    return (grad_norm(discriminator, real + a * real.std() * u / 2) - 1) ** 2


PENALTIES: dict[str, Penalty] = {
    "r1": r1,
    "r2": r2,
    "r1_r2": r1_and_r2,
    "wgan_gp": gradient_penalty,
    "dragan": dragan_penalty,
    "dragan_one_sided": dragan_one_sided_penalty,
}


def clip_weights(limit: float | Float[Array, ""]) -> optax.GradientTransformation:
    """Every parameter is clipped to [-limit, limit] after its update; goes last in a chain.

    Reference: Arjovsky et al. 2017, algorithm 1 (WGAN, arXiv:1701.07875).
    """

    def update(
        updates: PyTree, state: optax.EmptyState, params: PyTree
    ) -> tuple[PyTree, optax.EmptyState]:
        clipped = jax.tree.map(lambda u, p: jnp.clip(p + u, -limit, limit) - p, updates, params)
        return clipped, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
