"""The exact answers of a decoder that is affine in the code.

x = W z + mu + std eps, z ~ N(0, I), eps ~ N(0, I): the marginal and the posterior are normal.
`D` values of x, `d` or q coordinates of the code.

References: Tipping & Bishop 1999, Probabilistic principal component analysis, JRSS B 61; Lucas et
al. 2019 (arXiv:1911.02469).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput

Std = float | Float[Array, ""] | Float[Array, " D"]
"""The noise's standard deviation in units of x: one for all values of x, or one for each."""


def affine(
    decode: Callable[[Float[Array, "n d"]], Float[Array, "n *shape"]], dim: int
) -> tuple[Float[Array, "D d"], Float[Array, " D"]]:
    """W and mu of a decoder z -> W z + mu, x flat: the Jacobian and the value at 0.

    Not under jit: the decoder is tried at random codes, near 0 and far.

    Raises:
        BadInput: the decoder is not affine.
    """
    origin = jnp.zeros((1, dim))
    mu = decode(origin).reshape(-1)
    w = jax.jacfwd(decode)(origin).reshape(-1, dim)
    directions = jax.random.normal(jax.random.key(0), (64, dim))
    z = directions * jnp.logspace(-1, 1, 64)[:, None]
    expected = jnp.matmul(z, w.T, precision="highest") + mu[None]
    error = jnp.abs(decode(z).reshape(expected.shape) - expected).max()
    # sqrt(eps) of the largest output: far above rounding, far below what any nonlinearity does.
    allowed = math.sqrt(jnp.finfo(expected.dtype).eps) * float(jnp.abs(expected).max())
    if not float(error) <= allowed:
        raise BadInput(
            f"decoder: not affine in the code, off by {float(error):.3g} at random codes; exact "
            "answers need one linear layer and no nonlinearity."
        )
    return w, mu


class _Whitened(NamedTuple):
    """W and x - mu over std, and the triangle R of R^T R = I + W^T W / std^2."""

    w: Float[Array, "D d"]
    x: Float[Array, "n D"]
    std: Float[Array, " D"]
    triangle: Float[Array, "d d"]
    mean: Float[Array, "n d"]


def _whiten(
    w: Float[Array, "D d"], mu: Float[Array, " D"], std: Std, x: Float[Array, "n D"]
) -> _Whitened:
    std = jnp.broadcast_to(jnp.asarray(std, w.dtype), mu.shape)
    w, x = w / std[:, None], (x - mu[None]) / std[None]
    # R from the rows of W and I themselves, not from their product: half the digits lost.
    stacked = jnp.concatenate([w, jnp.eye(w.shape[1], dtype=w.dtype)])
    triangle = jnp.linalg.qr(stacked, mode="r")
    half = solve_triangular(triangle, jnp.matmul(w.T, x.T, precision="highest"), trans="T")
    return _Whitened(w, x, std, triangle, solve_triangular(triangle, half).T)


def log_marginal(
    w: Float[Array, "D d"], mu: Float[Array, " D"], std: Std, x: Float[Array, "n D"]
) -> Float[Array, " n"]:
    """log N(x; mu, W W^T + std^2 I) in nats, with d x d systems only.

    By the matrix determinant lemma, log det = log det(I + W^T W / std^2) + sum log std^2. The
    quadratic form is the least of |x - mu - W z|^2 / std^2 + |z|^2, which the posterior mean
    attains: Woodbury's identity without its difference of two large numbers.
    """
    whitened = _whiten(w, mu, std, x)
    fitted = jnp.matmul(whitened.mean, whitened.w.T, precision="highest")
    quadratic = ((whitened.x - fitted) ** 2).sum(axis=1) + (whitened.mean**2).sum(axis=1)
    log_det = 2 * jnp.log(jnp.abs(jnp.diag(whitened.triangle))).sum()
    log_det = log_det + 2 * jnp.log(whitened.std).sum()
    return -0.5 * (quadratic + log_det + len(mu) * math.log(2 * math.pi))


def posterior(
    w: Float[Array, "D d"], mu: Float[Array, " D"], std: Std, x: Float[Array, "n D"]
) -> tuple[Float[Array, "n d"], Float[Array, "d d"]]:
    """p(z|x) = N(M^-1 W^T (x - mu) / std^2, M^-1), M = I + W^T W / std^2: means and covariance.

    Reference: Tipping & Bishop 1999, section 3.1.
    """
    whitened = _whiten(w, mu, std, x)
    inverse = solve_triangular(whitened.triangle, jnp.eye(w.shape[1], dtype=w.dtype))
    return whitened.mean, jnp.matmul(inverse, inverse.T, precision="highest")


def probabilistic_pca(
    x: Float[Array, "n D"], q: int
) -> tuple[Float[Array, "D q"], Float[Array, " D"], Float[Array, ""]]:
    """The likeliest W, mu and std of an affine decoder with a code of q coordinates.

    W = U (Lambda - std^2 I)^(1/2), with the q leading eigenvectors and eigenvalues of the data's
    covariance (divided by N); std^2 is the mean of the other D - q eigenvalues. Of all the
    rotations of the code that are as likely, this one has W^T W diagonal.

    Raises:
        BadInput: not 0 < q < D.

    Reference: Tipping & Bishop 1999, section 3.2.
    """
    _check(q, x.shape[1])
    mu = x.mean(axis=0)
    centered = x - mu[None]
    covariance = jnp.matmul(centered.T, centered, precision="highest") / len(x)
    eigenvalues, vectors = jnp.linalg.eigh(covariance)
    # eigh goes from the smallest up.
    variance = jnp.maximum(eigenvalues[:-q], 0.0).mean()
    leading, axes = eigenvalues[-q:][::-1], vectors[:, -q:][:, ::-1]
    return axes * jnp.sqrt(jnp.maximum(leading - variance, 0.0))[None], mu, jnp.sqrt(variance)


def maximum_log_likelihood(eigenvalues: Float[Array, " D"], q: int) -> Float[Array, ""]:
    """The mean log-likelihood of the data under their `probabilistic_pca`, nats per example.

    -1/2 [D ln 2 pi + sum_(j <= q) ln lambda_j + (D - q) ln std^2 + D]

    Args:
        eigenvalues: all D of the data's covariance (divided by N), in any order.
        q: the code's dimension.

    Raises:
        BadInput: not 0 < q < D.

    Reference: Tipping & Bishop 1999, section 3.2.
    """
    dimensions = len(eigenvalues)
    _check(q, dimensions)
    ordered = jnp.sort(eigenvalues)
    noise = (dimensions - q) * jnp.log(ordered[:-q].mean())
    log_det = jnp.log(ordered[-q:]).sum() + noise
    return -0.5 * (dimensions * (math.log(2 * math.pi) + 1) + log_det)


def _check(q: int, dimensions: int) -> None:
    if not 0 < q < dimensions:
        raise BadInput(f"q={q} must be at least 1 and less than the {dimensions} values of x.")
