"""Three estimators of the gradient of a bound B(log w_1, ..., log w_k) in the encoder.

The gradient has two terms: the path term, through the codes z_i = z(noise_i, x), and the score
term, through the density log q(z_i|x) in log w_i. STL drops the score term. DReG reparametrizes it,
which reduces the variance:

E[dB/dlog w_i  grad log q(z_i|x)] = E[d^2B/d(log w_i)^2  dlog w_i/dz_i  dz_i/d encoder].
"""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float

from latentgen.objectives.bounds import Bound, slope, value


class Estimator(NamedTuple):
    """Estimator of the encoder's gradient.

    stops: True if the score term is dropped: no gradient flows through the density log q.
    doubles: True if the score term is reparametrized a second time, as in DReG.
    """

    stops: bool
    doubles: bool


ESTIMATORS: dict[str, Estimator] = {
    "pathwise": Estimator(stops=False, doubles=False),
    "stl": Estimator(stops=True, doubles=False),
    "dreg": Estimator(stops=True, doubles=True),
}
"""pathwise: the plain reparametrized gradient (Kingma & Welling 2014, arXiv:1312.6114).
stl: "sticking the landing", the path derivative (Roeder et al. 2017, arXiv:1703.09194).
dreg: doubly reparametrized (Tucker et al. 2018, arXiv:1810.04152)."""


def one_view(bound: Bound, estimator: Estimator) -> bool:
    """Return whether one backward pass through log w gives the gradients of all networks."""
    return bound.decoder == bound.encoder and not estimator.doubles


def negative_bound(
    bound: Bound,
    estimator: Estimator,
    model: Float[Array, "k n"],
    path: Float[Array, "k n"],
    beta: float | Float[Array, ""] = 1.0,
) -> Float[Array, " n"]:
    """Return minus the decoder's bound, with separate gradients for model and encoder.

    Decoder, prior and likelihood get the gradient of their bound from `model`. The encoder gets
    sum_i b_i grad log w_i from `path`, where b_i is the `slope` of its own bound. With `doubles`,
    beta times the second derivative is subtracted from b_i; for IWAE with beta = 1, b_i is then the
    squared normalized weight.

    Args:
        model: log w with gradients only in the parameters of p(x, z): decoder, prior, likelihood.
        path: log w, equal to `model`, with gradients only in z and in q(z|x).
        beta: the weight of log p(z) - log q(z|x) in log w.

    Reference: Rainforth et al. 2018 (arXiv:1802.04537); Tucker et al. 2018 (arXiv:1810.04152), here
    for any bound that is a mean over groups.
    """
    stop_gradient = jax.lax.stop_gradient
    weights = stop_gradient(slope(bound.encoder, path, beta if estimator.doubles else 0.0))
    surrogate = (weights * path).sum(axis=0)
    # The surrogate adds its gradient and the value 0.
    return -value(bound.decoder, model) - (surrogate - stop_gradient(surrogate))
