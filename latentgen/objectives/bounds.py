"""Lower bounds on log p(x) from k importance weights w_i = p(x, z_i) / q(z_i|x), z_i ~ q(z|x).

Each bound is the mean over groups of codes of log mean_{i in group} w_i, or a convex mixture of
such means. Groups of one code give the ELBO, one group of k codes gives IWAE.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput


class Part(NamedTuple):
    """Component of a mixture: its weight `share`, and the number `size` of codes in a group."""

    share: Any
    size: int


class Bound(NamedTuple):
    """Bounds as convex mixtures of parts.

    decoder: parts of the bound that decoder, prior and likelihood maximize
    encoder: parts of the bound that the encoder maximizes
    """

    decoder: tuple[Part, ...]
    encoder: tuple[Part, ...]


def value(parts: tuple[Part, ...], log_w: Float[Array, "k n"]) -> Float[Array, " n"]:
    """sum_parts share * mean_groups log mean_{i in group} w_i, in nats.

    Its expectation is at most log p(x).

    Reference: Burda et al. 2015, equation 8 (arXiv:1509.00519); MIWAE, CIWAE and PIWAE of
    Rainforth et al. 2018 (arXiv:1802.04537).
    """
    return sum(
        (
            share * (jax.nn.logsumexp(_groups(log_w, size), axis=1) - jnp.log(size)).mean(axis=0)
            for share, size in parts
        ),
        jnp.zeros_like(log_w[0]),
    )


def slope(
    parts: tuple[Part, ...], log_w: Float[Array, "k n"], curved: float | Float[Array, ""] = 0.0
) -> Float[Array, "k n"]:
    """Return b_i - curved c_i, b_i = d value / d log w_i, c_i = d^2 value / d (log w_i)^2.

    With v_i = w_i / sum_{j in group} w_j and g groups, a part adds (share / g) v_i to b_i
    and (share / g) v_i (1 - v_i) to c_i. For IWAE, curved = 1 gives v_i^2.

    Args:
        curved: weight of the second derivatives.
    """
    result = jnp.zeros_like(log_w)
    for share, size in parts:
        v = jax.nn.softmax(_groups(log_w, size), axis=1)
        weight = share * size / log_w.shape[0]
        result += (weight * (v - curved * v * (1 - v))).reshape(log_w.shape)
    return result


def _groups(log_w: Float[Array, "k n"], size: int) -> Float[Array, "groups {size} n"]:
    return log_w.reshape(-1, size, log_w.shape[1])


def elbo(samples: int, group: int, share: Any) -> Bound:
    """Evidence lower bound: mean_i log w_i."""
    return _shared(Part(1.0, 1))


def iwae(samples: int, group: int, share: Any) -> Bound:
    """Importance-weighted bound: log mean_i w_i.

    Reference: Burda et al. 2015, equation 8 (arXiv:1509.00519).
    """
    return _shared(Part(1.0, samples))


def miwae(samples: int, group: int, share: Any) -> Bound:
    """Mean of log mean_{i in group} w_i over samples / group groups.

    Reference: MIWAE of Rainforth et al. 2018 (arXiv:1802.04537), K = group.
    """
    return _shared(Part(1.0, group))


def ciwae(samples: int, group: int, share: Any) -> Bound:
    """share ELBO + (1 - share) IWAE.

    Reference: CIWAE of Rainforth et al. 2018 (arXiv:1802.04537), beta = share.
    """
    return _shared(Part(share, 1), Part(1.0 - share, samples))


def piwae(samples: int, group: int, share: Any) -> Bound:
    """IWAE for the decoder, MIWAE for the encoder.

    Reference: PIWAE of Rainforth et al. 2018 (arXiv:1802.04537).
    """
    return Bound((Part(1.0, samples),), (Part(1.0, group),))


def _shared(*parts: Part) -> Bound:
    """Make a bound that all networks maximize."""
    return Bound(parts, parts)


BOUNDS: dict[str, Callable[[int, int, Any], Bound]] = {
    "elbo": elbo,
    "iwae": iwae,
    "miwae": miwae,
    "ciwae": ciwae,
    "piwae": piwae,
}
"""Name -> (samples, group, share) -> bound; each ignores the arguments that it does not need."""


def check_groups(samples: int, group: int) -> None:
    """Check that `group` divides `samples`.

    Raises:
        BadInput: it does not.
    """
    if group < 1 or samples % group:
        raise BadInput(f"group={group} must divide samples={samples}.")
