"""Lower bounds of log p(x) from importance weights w = p(x, z) / q(z|x), z ~ q(z|x).

All of them average the logarithm of the mean weight over groups of codes. Groups of one are the
ELBO, one group of all is IWAE; the others lie between or mix the two.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from latentgen.core.errors import BadInput


class Part(NamedTuple):
    """`share` of a bound: groups of `size` codes each."""

    share: Any
    size: int


class Bound(NamedTuple):
    """Bounds that decoder, prior and likelihood, and the encoder, maximize: convex mixtures."""

    decoder: tuple[Part, ...]
    encoder: tuple[Part, ...]


def value(parts: tuple[Part, ...], log_w: Float[Array, "k n"]) -> Float[Array, " n"]:
    """sum_parts share * mean_groups log mean_{i in group} w_i, in nats.

    Its expectation is at most log p(x).

    Reference: Burda et al. 2015, equation 8 (arXiv:1509.00519); Rainforth et al. 2018, equations
    8 to 10 (arXiv:1802.04537).
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
    """b_i - curved c_i, with b_i = d value / d log w_i and c_i = d^2 value / d (log w_i)^2.

    With v_i = w_i / sum_group w, a part adds share / groups times v_i to b_i and
    share / groups times v_i (1 - v_i) to c_i. For IWAE, curved = 1 gives v_i^2.
    """
    found = jnp.zeros_like(log_w)
    for share, size in parts:
        v = jax.nn.softmax(_groups(log_w, size), axis=1)
        weight = share * size / log_w.shape[0]
        found += (weight * (v - curved * v * (1 - v))).reshape(log_w.shape)
    return found


def _groups(log_w: Float[Array, "k n"], size: int) -> Float[Array, "groups {size} n"]:
    return log_w.reshape(-1, size, log_w.shape[1])


def elbo(samples: int, group: int, share: Any) -> Bound:
    """mean_i log w_i: the evidence lower bound, averaged over the samples."""
    return _same(Part(1.0, 1))


def iwae(samples: int, group: int, share: Any) -> Bound:
    """log mean_i w_i.

    Reference: Burda et al. 2015, equation 8 (arXiv:1509.00519).
    """
    return _same(Part(1.0, samples))


def miwae(samples: int, group: int, share: Any) -> Bound:
    """The mean over samples / group groups of log mean_{i in group} w_i.

    Reference: Rainforth et al. 2018, equation 8 (arXiv:1802.04537), K = group.
    """
    return _same(Part(1.0, group))


def ciwae(samples: int, group: int, share: Any) -> Bound:
    """share times the ELBO and (1 - share) times IWAE.

    Reference: Rainforth et al. 2018, equation 9 (arXiv:1802.04537), beta = share.
    """
    return _same(Part(share, 1), Part(1.0 - share, samples))


def piwae(samples: int, group: int, share: Any) -> Bound:
    """IWAE for the decoder, MIWAE for the encoder.

    Reference: Rainforth et al. 2018, section 4.3 (arXiv:1802.04537).
    """
    return Bound((Part(1.0, samples),), (Part(1.0, group),))


def _same(*parts: Part) -> Bound:
    return Bound(parts, parts)


BOUNDS: dict[str, Callable[[int, int, Any], Bound]] = {
    "elbo": elbo,
    "iwae": iwae,
    "miwae": miwae,
    "ciwae": ciwae,
    "piwae": piwae,
}
"""(samples, group, share) -> bound; each takes what it needs of the three."""


def check_groups(samples: int, group: int) -> None:
    """Check that the samples fall into whole groups.

    Raises:
        BadInput: they do not.
    """
    if group < 1 or samples % group:
        raise BadInput(f"group={group} must divide samples={samples}.")
