"""Linear VAE: affine encoder and decoder, one learned std; its optimum is known in closed form.

At the optimum it is probabilistic PCA and the ELBO equals log p(x): a reference on real images
for estimators of the likelihood.

Reference: Lucas et al. 2019, theorem 1 (arXiv:1911.02469); Tipping & Bishop 1999.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from latentgen.core.types import Params
from latentgen.networks.mlp import affine_params
from latentgen.probability.likelihoods import std_params
from latentgen.probability.linear import posterior, probabilistic_pca


def solution(x: Float[Array, "n *shape"], q: int, std_floor: float = 0.0) -> Params:
    """Return the parameters that maximize the mean log p(x), with the exact posterior as encoder.

    They fit a VAE whose encoder and decoder are MLPs without hidden layers, with a diagonal normal
    posterior, the prior N(0, I) and a normal likelihood with one learned std. Along the principal
    axes the exact posterior is diagonal, so that the encoder gives it and the ELBO is log p(x).

    Args:
        x: the training set.
        q: coordinates of the code.
        std_floor: lower bound of the likelihood's std.

    Raises:
        BadInput: q is not between 0 and the number of pixels.
    """
    flat = x.reshape(len(x), -1)
    w, mu, std = probabilistic_pca(flat, q)
    # The posterior mean is V x + b: its value at 0 is b, at the unit vector e_i it is V e_i + b.
    inputs = jnp.concatenate([jnp.zeros((1, len(mu)), mu.dtype), jnp.eye(len(mu), dtype=mu.dtype)])
    means, covariance = posterior(w, mu, std, inputs)
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
