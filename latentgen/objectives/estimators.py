"""Gradients of a bound with respect to the encoder: three estimators of one expectation.

The gradient of a bound B(log w_1, ..., log w_k) reaches the encoder through the codes, along the
path z_i = z(noise_i, x), and through the density q in each weight. The second part has a known
expectation, so that it can be left out (STL), or put back along the path with its variance gone
(DReG): E[dB/dlog w_i  grad log q(z_i)] = E[d^2B/d(log w_i)^2  dlog w_i/dz_i  dz_i/d encoder].
"""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float

from latentgen.objectives.bounds import Bound, slope, value


class Estimator(NamedTuple):
    """Estimator of the encoder's gradient.

    stops: True if no gradient flows through the density q in the weights, only through the codes.
    doubles: True if the part that this leaves out is put back along the path, as in DReG.
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
dreg: doubly reparametrized (Tucker et al. 2018, equation 8, arXiv:1810.04152)."""


def one_view(bound: Bound, estimator: Estimator) -> bool:
    """Return whether all players share the importance weights, so that one backward pass does."""
    return bound.decoder == bound.encoder and not estimator.doubles


def negative_bound(
    bound: Bound,
    estimator: Estimator,
    model: Float[Array, "k n"],
    path: Float[Array, "k n"],
    beta: float | Float[Array, ""] = 1.0,
) -> Float[Array, " n"]:
    """The loss of training: minus the decoder's bound, with a gradient for every player.

    Decoder, prior and likelihood get the gradient of their bound from `model`. The encoder gets
    sum_i b_i dlog w_i from `path`, where b_i is the slope of its own bound in log w_i; with
    `doubles`, b_i less beta times the bound's curvature, which for IWAE is the squared
    normalized weight.

    Args:
        model: log w with the gradient of the model only: codes and q hold still.
        path: log w with the gradient of the encoder only.
        beta: the weight of log p(z) - log q(z|x) in log w.

    Reference: Rainforth et al. 2018, section 4.3 (arXiv:1802.04537); Tucker et al. 2018, equation
    8 (arXiv:1810.04152), here for any bound that is a mean over groups.
    """
    hold = jax.lax.stop_gradient
    weights = hold(slope(bound.encoder, path, beta if estimator.doubles else 0.0))
    climbed = (weights * path).sum(axis=0)
    return -value(bound.decoder, model) - (climbed - hold(climbed))
