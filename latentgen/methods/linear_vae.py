"""The VAE whose best parameters are known: affine encoder and decoder, one learned std.

Its maximum is probabilistic PCA, where the bound is log p(x) itself: what every estimator of a
likelihood can be held against, on real images.

Reference: Lucas et al. 2019, theorem 1 (arXiv:1911.02469); Tipping & Bishop 1999.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from latentgen.core.types import Params
from latentgen.networks.mlp import affine_params
from latentgen.probability.likelihoods import std_params
from latentgen.probability.linear import posterior, probabilistic_pca


def solution(x: Float[Array, "n *shape"], q: int, std_floor: float = 0.0) -> Params:
    """The parameters that maximize the mean log p(x), with the exact posterior as the encoder.

    For a VAE whose encoder and decoder are MLPs without hidden layers, with a diagonal normal
    posterior, the prior N(0, I) and a normal likelihood of one learned std. Principal axes make
    the exact posterior diagonal, so that the ELBO is log p(x).

    Args:
        x: the training set.
        q: coordinates of the code.
        std_floor: of the likelihood.

    Raises:
        BadInput: q is not between 0 and the number of pixels.
    """
    flat = x.reshape(len(x), -1)
    w, mu, std = probabilistic_pca(flat, q)
    # The posterior mean is V x + b: b is its value at 0, V its values at the unit vectors less b.
    at = jnp.concatenate([jnp.zeros((1, len(mu)), mu.dtype), jnp.eye(len(mu), dtype=mu.dtype)])
    means, covariance = posterior(w, mu, std, at)
    offset, kernel = means[0], means[1:] - means[:1]
    log_std = 0.5 * jnp.log(jnp.diag(covariance))
    return {
        "encoder": affine_params(
            jnp.concatenate([kernel, jnp.zeros_like(kernel)], axis=1),
            jnp.concatenate([offset, log_std]),
        ),
        "decoder": affine_params(w.T, mu),
        "prior": {},
        "posterior": {},
        "likelihood": std_params(std, std_floor),
    }
