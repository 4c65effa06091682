"""Regularization of a discriminator: penalties on its gradient in x, and weight clipping.

A penalty is a function (discriminator, real, synthetic, key) -> (n,). The discriminator maps x of
shape (n, ...) to logits (n,), and logit i depends on x_i only. D ascends its value minus a weight
times the penalty; the generator's loss has no penalty.

Units: gradients are in logits per unit of x. On images in [0, 1] (`data.preprocess=unit`) they are
twice those on the same images in [-1, 1] (`signed`), which most papers use. `rescale_gamma`
converts the weight of R1 and R2. WGAN-GP and DRAGAN pull the gradient norm to 1: in other units
this is another condition, for which no change of the weight makes up.
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
    """|grad_x l(x_i)|^2 of each example.

    One gradient of sum_i l(x_i) is enough, since l(x_i) depends on x_i only.
    """
    gradient = jax.grad(lambda x: discriminator(x).sum())(x)
    return (gradient**2).sum(axis=tuple(range(1, x.ndim)))


def grad_norm(discriminator: Discriminator, x: Float[Array, "n *shape"]) -> Float[Array, " n"]:
    """|grad_x l(x_i)| of each example; where it is 0, its own gradient is 0 instead of nan."""
    return _root(grad_norm_sq(discriminator, x))


def _root(squared: Float[Array, " n"]) -> Float[Array, " n"]:
    positive = squared > 0  # `where` twice: the gradient of sqrt at 0 is inf, and 0 * inf is nan
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def normalize_gradient(
    discriminator: Callable[[Float[Array, "n *shape"]], tuple[Float[Array, " n"], PyTree]],
    x: Float[Array, "n *shape"],
) -> tuple[Float[Array, " n"], PyTree]:
    """l / (|grad_x l| + |l|), in [-1, 1]: gradient normalization; 0 / 0 is taken as 0.

    Args:
        discriminator: x -> (logits l, new stats); logit i depends on x_i only.

    Returns:
        The normalized logits and the new stats.

    Reference: Wu et al. 2021 (GN-GAN, arXiv:2109.02235).
    """
    logits, gradient_of, stats = jax.vjp(discriminator, x, has_aux=True)
    (gradient,) = gradient_of(jnp.ones_like(logits))
    size = _root((gradient**2).sum(axis=tuple(range(1, x.ndim)))) + abs(logits)
    return jnp.where(size > 0, logits / jnp.where(size > 0, size, 1.0), 0.0), stats


def rescale_gamma(
    interval: tuple[float, float], gamma: float, of: tuple[float, float] = (-1.0, 1.0)
) -> float:
    """Convert a weight of R1 or R2 from x in the interval `of` to x in `interval`.

    gamma ((b - a) / (of_b - of_a))^2, so that gamma |grad_x l|^2 stays the same.

    Args:
        interval: (a, b), range of x in training.
        gamma: weight for x in `of`.
        of: (of_a, of_b), range of x in the paper.
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

    The authors' code has no factor 1/2: its `reg_param` is half the weight here.

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
    """R1 + R2; with the relativistic loss, R3GAN. The paper's gamma is for x in [-1, 1].

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

    The target norm of 1 is per unit of x, for x in [0, 1] as in the authors' gan_mnist.py and in
    Lucic et al. 2018. For the same images in [-1, 1] an equal target would be 1/2.

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

    std(x) is one number, over the whole minibatch; the target norm of 1 is per unit of x. The noise
    is that of compare_gan v2, the later code of Lucic et al., which also clips to [0, 1].

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
    """(|grad l(x + a std(x) u / 2)| - 1)^2, u ~ U[0, 1] per pixel, a ~ U[0, 1] per example.

    DRAGAN as in its authors' code, and in that of Lucic et al.'s paper (compare_gan v1). The noise
    is one-sided, i.e. never negative; the penalty is two-sided. std(x) is one number, over the
    whole minibatch; the target norm of 1 is per unit of x.

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


def orthogonal_regularization(
    weight: float | Float[Array, ""], player: str
) -> optax.GradientTransformation:
    """Add the gradient of weight / 2 |W^T W * (1 - I)|^2, * elementwise, for each matrix W.

    W is a kernel of `player` as a matrix with one column for each output: columns are pulled to
    right angles to each other, whatever their lengths. Only kernels are regularized, without the
    embedding that layers share (named 'shared'). It must come before the optimizer in an
    `optax.chain`.

    The factor 1/2 is that of the authors' code, whose weight is 1e-4; equation 3 has none.

    Reference: Brock et al. 2019, equation 3 (arXiv:1809.11096).
    """

    def gradient(path: tuple, update: Array, kernel: Array) -> Array:
        names = [getattr(key, "key", None) for key in path]
        if names[0] != player or names[-1] != "kernel" or "shared" in names:
            return update
        w = kernel.reshape(-1, kernel.shape[-1])
        products = (w.T @ w) * (1 - jnp.eye(w.shape[1], dtype=w.dtype))
        return update + weight * 2 * (w @ products).reshape(kernel.shape)

    def add(updates: PyTree, params: PyTree) -> PyTree:
        return jax.tree_util.tree_map_with_path(gradient, updates, params)

    return optax.stateless(add)


def clip_weights(limit: float | Float[Array, ""]) -> optax.GradientTransformation:
    """Clip every parameter to [-limit, limit] after its update; must come last in an `optax.chain`.

    Reference: Arjovsky et al. 2017, algorithm 1 (WGAN, arXiv:1701.07875).
    """

    def update(
        updates: PyTree, state: optax.EmptyState, params: PyTree
    ) -> tuple[PyTree, optax.EmptyState]:
        clipped = jax.tree.map(lambda u, p: jnp.clip(p + u, -limit, limit) - p, updates, params)
        return clipped, state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
