"""Floating-point operations of matrix products and convolutions, counted in a traced program."""

import math
from typing import Any

from jax.extend.core import Literal


def counted(jaxpr: Any, taken: float = 1.0) -> float:
    """The operations that the results of a (closed) jaxpr need; two for a product and its sum.

    What no result needs is not counted, as the compiler leaves it out, and the body of a scan
    counts as often as it runs. A convolution of dilated inputs counts without the zeros, as that of
    a transposed convolution's user does.

    Args:
        taken: share of the calls in which a branch is the largest, else it is the smallest.
    """
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    return _counted(inner, set(map(id, inner.outvars)), taken)


def _counted(jaxpr: Any, needed: set[int], taken: float) -> float:
    total = 0.0
    for eqn in reversed(jaxpr.eqns):
        if not any(id(var) in needed for var in eqn.outvars) and not eqn.effects:
            continue
        needed.update(id(var) for var in eqn.invars if not isinstance(var, Literal))
        total += _of(eqn, needed, taken)
    return total


def _of(eqn: Any, needed: set[int], taken: float) -> float:
    name, params = eqn.primitive.name, eqn.params
    if name == "dot_general":
        return _dot(eqn)
    if name == "conv_general_dilated":
        return _conv(eqn)
    if name == "cond":
        branches = [counted(branch, taken) for branch in params["branches"]]
        return taken * max(branches) + (1 - taken) * min(branches)
    if name == "scan":
        return params["length"] * counted(params["jaxpr"], taken)
    total = 0.0
    for value in params.values():
        if hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns"):
            inner = getattr(value, "jaxpr", value)
            outs = inner.outvars
            if len(outs) == len(eqn.outvars):  # what a call returns may not all be needed
                pairs = zip(outs, eqn.outvars, strict=True)
                total += _counted(inner, {id(o) for o, v in pairs if id(v) in needed}, taken)
            else:
                total += counted(inner, taken)
    return total


def _dot(eqn: Any) -> float:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    shape = eqn.invars[0].aval.shape
    return 2.0 * math.prod(eqn.outvars[0].aval.shape) * math.prod(shape[i] for i in contracted)


def _conv(eqn: Any) -> float:
    numbers = eqn.params["dimension_numbers"]
    kernel, out = eqn.invars[1].aval.shape, eqn.outvars[0].aval.shape
    window = math.prod(kernel[i] for i in numbers.rhs_spec[2:])
    inputs = kernel[numbers.rhs_spec[1]]
    dilated = math.prod(eqn.params["lhs_dilation"])
    return 2.0 * math.prod(out) * inputs * window / dilated
