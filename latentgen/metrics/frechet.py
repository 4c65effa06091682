"""The Frechet distance of two sets of features, each summed up by its mean and covariance."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from latentgen.errors import BadInput


class Moments(NamedTuple):
    """What n examples leave behind of their d features; `merge` joins those of two batches.

    n: how many examples
    mean: their mean
    scatter: sum_i (x_i - mean)(x_i - mean)^T, n - 1 times the covariance
    """

    n: Int[Array, ""]
    mean: Float[Array, " d"]
    scatter: Float[Array, "d d"]


def moments(x: Float[Array, "n d"]) -> Moments:
    """Number, mean and scatter of a batch; of no examples, what `merge` leaves others as they are.

    Reference: Chan, Golub & LeVeque 1983, Algorithms for computing the sample variance (the
    two-pass algorithm).
    """
    n = len(x)
    mean = x.sum(axis=0) / max(n, 1)
    centered = x - mean[None, :]
    # `highest`: no TF32 on a GPU.
    return Moments(jnp.asarray(n), mean, jnp.matmul(centered.T, centered, precision="highest"))


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of both batches together.

    scatter = scatter_a + scatter_b + (n_a n_b / n) delta delta^T, delta = mean_b - mean_a

    Reference: Chan, Golub & LeVeque 1983, Algorithms for computing the sample variance.
    """
    n = a.n + b.n
    # Of n, as a float: n_a n_b may be more than an int32 holds.
    share = b.n.astype(b.mean.dtype) / jnp.maximum(n, 1).astype(b.mean.dtype)
    delta = b.mean - a.mean
    between = a.n.astype(a.mean.dtype) * share * jnp.outer(delta, delta)
    return Moments(n, a.mean + share * delta, a.scatter + b.scatter + between)


def frechet_distance(real: Moments, synthetic: Moments) -> Float[Array, ""]:
    """|m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2)), covariances C over n - 1.

    With symmetric roots A = C_1^(1/2) and B = C_2^(1/2), the trace of (C_1 C_2)^(1/2) is the sum of
    the singular values of A B = P S Q^T, and the second term is |A - B Q P^T|^2, the least that a
    rotation leaves. As a sum of squares it is never negative, and it loses no digits where the
    two covariances are close, as the difference of traces would.

    Singular covariances need no special case, and nothing is added to their diagonals. Eigenvalues
    far below the largest lose digits first: the root of one that rounding left at eps instead of 0
    is eps^(1/2). In float64 no digits that matter. Under jit, fewer than 2 examples yield nan.

    Raises:
        BadInput: fewer than 2 examples on a side, or features of different sizes.

    Reference: Heusel et al. 2017, arXiv:1706.08500; Dowson & Landau 1982, The Frechet distance
    between multivariate normal distributions. The rotation is that of the orthogonal Procrustes
    problem (Schoenemann 1966).
    """
    for key, side in (("real", real), ("synthetic", synthetic)):
        if not isinstance(side.n, jax.core.Tracer) and side.n < 2:
            raise BadInput(
                f"{key}.n={int(side.n)} must be at least 2: a covariance of fewer is none."
            )
    if real.mean.shape != synthetic.mean.shape:
        raise BadInput(
            f"synthetic.d={synthetic.mean.size} must be real.d={real.mean.size}, the same features."
        )
    a, b = _root(real), _root(synthetic)
    left, _, right = jnp.linalg.svd(jnp.matmul(a, b, precision="highest"))
    rotation = jnp.matmul(left, right, precision="highest").T
    rest = a - jnp.matmul(b, rotation, precision="highest")
    return ((real.mean - synthetic.mean) ** 2).sum() + (rest**2).sum()


def _root(of: Moments) -> Float[Array, "d d"]:
    """The covariance's symmetric root; eigenvalues that rounding left below 0 count as 0."""
    values, vectors = jnp.linalg.eigh(of.scatter / (of.n - 1).astype(of.scatter.dtype))
    roots = jnp.sqrt(jnp.maximum(values, 0))
    return jnp.matmul(vectors * roots[None, :], vectors.T, precision="highest")
