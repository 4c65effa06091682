"""Preprocessing of raw examples by pure functions of (x, key), by name.

The name is part of a data set's identity, because likelihoods under different preprocessings are
not comparable.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Key, UInt8

from latentgen.core.errors import BadInput, choose

SQUEEZE = 0.05
"""The `a` of 'logit'. Dinh et al. (2017, section 4.1) use 0.05; Papamakarios et al. (2017,
appendix D) use 1e-6 for MNIST, which stretches x to +-13.8 and leaves its ends to rounding."""


class Preprocess(NamedTuple):
    """A preprocessing of raw examples and the map from its outputs back to pixels.

    forward: (raw, key) -> x, float32 of the shape of raw; only random ones use the key.
    pixels: x -> floats in [0, 1] of the same shape, for pictures; for 'none', x itself.
    range: the interval of x, or None if it is unbounded.
    levels: number of evenly spaced values of x; None if x is continuous.
    """

    name: str
    forward: Callable[[Array, Key[Array, ""]], Array]
    pixels: Callable[[Array], Array]
    range: tuple[float, float] | None
    levels: int | None


def _unit(raw: UInt8[Array, "*n h w c"], key: Key[Array, ""]) -> Float32[Array, "*n h w c"]:
    """Compute x = raw / 255, in [0, 1]."""
    return raw.astype(jnp.float32) / 255


def _signed(raw: UInt8[Array, "*n h w c"], key: Key[Array, ""]) -> Float32[Array, "*n h w c"]:
    """Compute x = raw / 127.5 - 1, in [-1, 1]."""
    return raw.astype(jnp.float32) / 127.5 - 1


def _binarize(raw: UInt8[Array, "*n h w c"], key: Key[Array, ""]) -> Float32[Array, "*n h w c"]:
    """Draw x ~ Bernoulli(raw / 255) anew for each batch (Salakhutdinov & Murray 2008)."""
    return jax.random.bernoulli(key, _unit(raw, key)).astype(jnp.float32)


def _threshold(raw: UInt8[Array, "*n h w c"], key: Key[Array, ""]) -> Float32[Array, "*n h w c"]:
    """Compute x = 1 where raw / 255 > 1/2, else 0."""
    return (raw > 127).astype(jnp.float32)


def _dequantize(raw: UInt8[Array, "*n h w c"], key: Key[Array, ""]) -> Float32[Array, "*n h w c"]:
    """Compute x = (raw + u) / 256 with u ~ U[0, 1) (Theis et al. 2016, section 3.1).

    u is a multiple of 2^-16, so that raw + u is exact in float32, x < 1 and floor(256 x) = raw.
    """
    u = jax.random.bits(key, raw.shape, jnp.uint16).astype(jnp.float32) / 2**16
    return (raw.astype(jnp.float32) + u) / 256


def _signed_dequantize(
    raw: UInt8[Array, "*n h w c"], key: Key[Array, ""]
) -> Float32[Array, "*n h w c"]:
    """Compute x = (raw + u) / 128 - 1 with u ~ U[0, 1), in [-1, 1) (Miyato et al. 2018, code)."""
    return 2 * _dequantize(raw, key) - 1


def _logit(raw: UInt8[Array, "*n h w c"], key: Key[Array, ""]) -> Float32[Array, "*n h w c"]:
    """Compute x = logit(a + (1 - 2a) y) with y dequantized and a = SQUEEZE."""
    y = SQUEEZE + (1 - 2 * SQUEEZE) * _dequantize(raw, key)
    return jnp.log(y) - jnp.log1p(-y)


def _none(raw: Float32[Array, "*n d"], key: Key[Array, ""]) -> Float32[Array, "*n d"]:
    return raw


def _clip(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    return jnp.clip(x, 0, 1)


def _from_signed(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    return _clip((x + 1) / 2)


def _from_logit(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    return _clip((jax.nn.sigmoid(x) - SQUEEZE) / (1 - 2 * SQUEEZE))


def _same(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    return x


PREPROCESS: dict[str, Preprocess] = {
    p.name: p
    for p in (
        Preprocess("unit", _unit, _clip, (0.0, 1.0), 256),
        Preprocess("signed", _signed, _from_signed, (-1.0, 1.0), 256),
        Preprocess("binarize", _binarize, _clip, (0.0, 1.0), 2),
        Preprocess("threshold", _threshold, _clip, (0.0, 1.0), 2),
        Preprocess("dequantize", _dequantize, _clip, (0.0, 1.0), None),
        Preprocess("signed_dequantize", _signed_dequantize, _from_signed, (-1.0, 1.0), None),
        Preprocess("logit", _logit, _from_logit, None, None),
        Preprocess("none", _none, _same, None, None),
    )
}


def preprocess_for(name: str, dtype: np.dtype) -> Preprocess:
    """Return the preprocessing of this name, if it applies to raw examples of this dtype.

    Args:
        name: a key of `PREPROCESS`.
        dtype: uint8 for images, float32 for points.

    Raises:
        BadInput: the name is unknown, or the preprocessing is for the other kind of data.
    """
    preprocess = choose("config.data.preprocess", name, PREPROCESS)
    images = np.dtype(dtype) == np.uint8
    if images == (name == "none"):
        valid = ", ".join(sorted(set(PREPROCESS) - {"none"})) if images else "none"
        kind = "images" if images else "points"
        raise BadInput(f"config.data.preprocess={name!r} does not fit {kind}. Valid: {valid}.")
    return preprocess
