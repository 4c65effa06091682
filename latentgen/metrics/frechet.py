"""The Frechet distance of two sets of features, each summed up by its mean and covariance."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from latentgen.core.errors import BadInput

DIGITS = 1e-8  # relative error at which a difference of traces is no longer trusted


class Moments(NamedTuple):
    """Count, mean and scatter matrix of n examples' d features; `merge` combines two batches.

    n: number of examples
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
    the roots of the eigenvalues of A C_2 A. Where rounding could change that difference of traces
    in its eighth digit (singular covariances, or two that are close), it is the sum of the
    singular values of A B = P S Q^T instead, and the second term |A - B Q P^T|^2, the least that a
    rotation leaves: as a sum of squares it is never negative and loses no digits. That takes some
    three times as long.

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
    first, second = _covariance(real), _covariance(synthetic)
    a = _root(first)
    traces, error = _by_traces(first, second, a)
    apart = jax.lax.cond(
        error <= DIGITS * traces, lambda: traces, lambda: _by_rotation(a, _root(second))
    )
    return ((real.mean - synthetic.mean) ** 2).sum() + apart


def _by_traces(
    first: Float[Array, "d d"], second: Float[Array, "d d"], root: Float[Array, "d d"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """tr(C_1 + C_2 - 2 (A C_2 A)^(1/2)), and an estimate of what rounding may have done to it.

    An eigenvalue is off by some e = d^(1/2) eps times the largest, its root by what that makes of
    it: e / lambda^(1/2), or e^(1/2) near 0.
    """
    product = jnp.matmul(root, jnp.matmul(second, root, precision="highest"), precision="highest")
    values = jnp.maximum(jnp.linalg.eigvalsh((product + product.T) / 2), 0)
    sum_of_traces = jnp.trace(first) + jnp.trace(second)
    eps = jnp.finfo(root.dtype).eps
    off = len(root) ** 0.5 * eps * values[-1]
    error = 2 * (off / jnp.sqrt(jnp.maximum(values, off))).sum() + 8 * eps * sum_of_traces
    return sum_of_traces - 2 * jnp.sqrt(values).sum(), error


def _by_rotation(a: Float[Array, "d d"], b: Float[Array, "d d"]) -> Float[Array, ""]:
    """|A - B Q P^T|^2, where A B = P S Q^T."""
    left, _, right = jnp.linalg.svd(jnp.matmul(a, b, precision="highest"))
    rotation = jnp.matmul(left, right, precision="highest").T
    return ((a - jnp.matmul(b, rotation, precision="highest")) ** 2).sum()


def _covariance(of: Moments) -> Float[Array, "d d"]:
    return of.scatter / (of.n - 1).astype(of.scatter.dtype)


def _root(covariance: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """The symmetric root; eigenvalues that rounding left below 0 count as 0."""
    values, vectors = jnp.linalg.eigh(covariance)
    roots = jnp.sqrt(jnp.maximum(values, 0))
    return jnp.matmul(vectors * roots[None, :], vectors.T, precision="highest")
