"""The Frechet distance of two sets of features, each summed up by its mean and covariance."""

from functools import partial
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


def frechet_distance_of_examples(
    real: Float[Array, "n d"],
    synthetic: Float[Array, "m d"],
    keep_real: Float[Array, " n"] | None = None,
    keep_synthetic: Float[Array, " m"] | None = None,
) -> Float[Array, ""]:
    """Compute `frechet_distance` without covariances, for fewer examples than features.

    Let U and V be the centered examples over (n - 1)^(1/2) and (m - 1)^(1/2), so that C_1 = U^T U
    and C_2 = V^T V. Then tr (C_1 C_2)^(1/2) is the nuclear norm of U V^T, whose shape is (n, m).
    With U V^T = P S Q^T and n <= m, the second term of the distance is
    |P^T U - Q^T V|^2 + |V - Q Q^T V|^2: a sum of squares, never negative, which loses no digits.
    Takes O(n m (n + d)) operations and memory for (n + m) d numbers, but no d x d matrix.

    Args:
        real: features of real examples.
        synthetic: features of synthetic examples.
        keep_real: 1 for each real example that counts, 0 for each that is left out; None: all.
        keep_synthetic: the same for the synthetic examples.

    Returns:
        The distance, in squared units of the features. Fewer than 2 kept examples yield nan.

    Raises:
        BadInput: fewer than 2 examples on a side.

    Reference: Heusel et al. 2017, arXiv:1706.08500, eq. 6, with the singular values of U V^T in
    place of the root of C_1 C_2.
    """
    for key, x in (("real", real), ("synthetic", synthetic)):
        if len(x) < 2:
            raise BadInput(f"{key}.n={len(x)} must be at least 2: a covariance of fewer is none.")
    sides = _scaled(real, keep_real), _scaled(synthetic, keep_synthetic)
    (mean_u, u), (mean_v, v) = sorted(sides, key=lambda side: len(side[1]))
    dot = partial(jnp.matmul, precision="highest")
    left, _, right = jnp.linalg.svd(dot(u, v.T), full_matrices=False)
    of_v = dot(right, v)
    apart = ((dot(left.T, u) - of_v) ** 2).sum() + ((v - dot(right.T, of_v)) ** 2).sum()
    return ((mean_u - mean_v) ** 2).sum() + apart


def _scaled(
    x: Float[Array, "n d"], keep: Float[Array, " n"] | None
) -> tuple[Float[Array, " d"], Float[Array, "n d"]]:
    """The mean, and a matrix U of covariance U^T U; rows of examples left out are 0."""
    keep = jnp.ones(len(x), x.dtype) if keep is None else keep.astype(x.dtype)
    n = keep.sum()
    mean = (keep[:, None] * x).sum(axis=0) / n
    return mean, keep[:, None] * (x - mean[None]) / jnp.sqrt(n - 1)


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
