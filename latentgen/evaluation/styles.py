"""Truncation of codes or styles, and mixing of styles, for methods that have what they need.

A method has styles if it has the probes `style` (state, z, label) -> w of shape (n, d),
`decode_style` (state, w) -> x, where w may be (n, d) or, with a style for each level of the
generator, (n, levels, d), and `mean_style` (state) -> the mean w, (d,).
"""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from latentgen.core.errors import BadInput
from latentgen.core.types import Method, PyTree
from latentgen.evaluation.views import probe
from latentgen.probability.priors import normal

STYLE = ("style", "decode_style", "mean_style")
LEVELS = "style_levels"
"""Probe (state) -> number of levels of the generator, each of which takes a style."""


def has_styles(method: Method) -> bool:
    """Return whether a method has the probes of a generator with styles."""
    return all(name in method.probes for name in STYLE)


def has_normal_prior(method: Method, state: PyTree) -> bool:
    """Return whether p(z) is N(0, I), by its density at eight codes."""
    if not {"codes", "log_prior"} <= method.probes.keys():
        return False
    dim, key = code_dim(method, state), jax.random.key(0)
    z = jnp.linspace(0.5, 2.0, 8)[:, None] * jax.random.normal(key, (8, dim))
    found = method.probes["log_prior"](state, z[None])[0]
    return bool(jnp.allclose(found, normal(dim).log_prob(z), rtol=1e-4))


def code_dim(method: Method, state: PyTree) -> int:
    """Return the number of coordinates of a code."""
    draw = probe(method, "codes")
    return jax.eval_shape(lambda state: draw(state, jax.random.key(0), 1), state).shape[1]


MOST = {"styles": 1.0, "codes": 10.0}
"""Greatest truncation; beyond 10 standard deviations a normal code is not cut off."""


def check_truncation(key: str, value: float, of: str = "codes") -> None:
    """Raise BadInput unless 0 < value <= MOST[of].

    Args:
        key: the name of the value, for the message.
    """
    if not 0 < value <= MOST[of]:
        raise BadInput(f"{key}={value} must be above 0 and at most {MOST[of]:g}, for {of}.")


def truncated(method: Method, state: PyTree, truncation: float) -> Method:
    """Return the method with truncated styles, or with truncated codes under the prior N(0, I).

    Styles are pulled to their mean m: w <- m + truncation (w - m). Codes are drawn from the normal
    distribution given that no coordinate is beyond +-truncation, which is what drawing each
    coordinate anew until it is inside gives.

    Args:
        state: of which the prior is looked at; the result is a method of any state.
        truncation: in (0, 1] of styles, in (0, 10] of codes.

    Raises:
        BadInput: the value is out of range, or the method has neither styles nor that prior.

    Reference: Karras et al. 2019, appendix B (arXiv:1812.04948); Brock et al. 2019, section 3.1
    (arXiv:1809.11096).
    """
    check_truncation("truncation", truncation, "styles" if has_styles(method) else "codes")
    if has_styles(method):
        return method._replace(probes={**method.probes, **_pulled(method, truncation)})
    if not has_normal_prior(method, state):
        raise BadInput(
            "truncation needs styles or codes of the prior N(0, I), neither of which this method "
            "has."
        )
    dim = code_dim(method, state)

    def codes(state: PyTree, key: Key[Array, ""], n: int) -> Float[Array, "n d"]:
        return jax.random.truncated_normal(key, -truncation, truncation, (n, dim))

    return method._replace(probes={**method.probes, "codes": codes})


def _pulled(method: Method, psi: float) -> dict[str, Callable[..., Any]]:
    """Make the probes `style` and `decode` of styles w <- m + psi (w - m)."""
    plain, decode_style, mean = (method.probes[name] for name in STYLE)

    def style(
        state: PyTree, z: Float[Array, "n d"], label: Int[Array, " n"] | None = None
    ) -> Float[Array, "n w"]:
        center = mean(state)[None]
        return center + psi * (plain(state, z, label) - center)

    def decode(
        state: PyTree, z: Float[Array, "n d"], label: Int[Array, " n"] | None = None
    ) -> Float[Array, "n *shape"]:
        return decode_style(state, style(state, z, label))

    return {"style": style, "decode": decode}


def decoding_styles(method: Method) -> Method:
    """Return the method whose `decode` takes styles in place of codes."""
    decode_style = probe(method, "decode_style")
    decode = lambda state, w, label=None: decode_style(state, w)  # noqa: E731
    return method._replace(probes={**method.probes, "decode": decode})


def parse_levels(key: str, text: str) -> tuple[int, int]:
    """Return the first and the last level of 'FIRST-LAST' or 'LEVEL'.

    Raises:
        BadInput: the text is neither.
    """
    found = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", text, re.ASCII)
    first, last = (int(each) for each in found.group(1, 2 if found[2] else 1)) if found else (1, 0)
    if first > last:
        raise BadInput(
            f"{key}={text!r} must be a level or FIRST-LAST, such as 0-3, counted from 0."
        )
    return first, last


def mixed(
    method: Method,
    state: PyTree,
    key: Key[Array, ""],
    rows: int,
    columns: int,
    levels: tuple[int, int],
    label: Int[Array, " rows_and_columns"] | None = None,
) -> Float[Array, "n levels w"]:
    """Make the styles of a table in which rows meet columns.

    The first row of the table has the styles of the columns, the first column those of the rows,
    the corner the mean style. Elsewhere the style is the row's, except in `levels`, where it is
    the column's.

    Args:
        levels: the first and the last level that take the column's style, from 0.
        label: class of each row, then of each column; None: unconditional.

    Returns:
        Styles of (rows + 1) * (columns + 1) images, row by row, for `decode_style`.

    Raises:
        BadInput: the method has no styles, or not that many levels.

    Reference: Karras et al. 2019, section 3.1 (arXiv:1812.04948).
    """
    if not has_styles(method):
        raise BadInput(f"mixing needs styles; this method has {', '.join(method.probes)}.")
    number = probe(method, LEVELS)(state)
    if levels[1] >= number:
        raise BadInput(f"level {levels[1]} is beyond this generator's. Valid: 0 .. {number - 1}.")
    z = probe(method, "codes")(state, key, rows + columns)
    of_rows, of_columns = jnp.split(method.probes["style"](state, z, label), [rows])
    mean = method.probes["mean_style"](state)[None]
    row, column = jnp.concatenate([mean, of_rows]), jnp.concatenate([mean, of_columns])
    shape = (rows + 1, columns + 1, number, mean.shape[-1])
    at = jnp.arange(number)
    from_column = (at >= levels[0]) & (at <= levels[1])
    inside = (jnp.arange(rows + 1) > 0)[:, None] & (jnp.arange(columns + 1) > 0)[None, :]
    top = (jnp.arange(rows + 1) == 0)[:, None]
    take = jnp.where(inside[..., None], from_column[None, None], top[..., None])
    row, column = (jnp.broadcast_to(w, shape) for w in (row[:, None, None], column[None, :, None]))
    return jnp.where(take[..., None], column, row).reshape(-1, *shape[2:])
