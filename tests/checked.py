"""The run-time check of types and shapes, made once for all functions of one definition."""

from collections.abc import Callable
from typing import Any

from beartype import beartype

_MADE: dict[tuple, Callable[..., Any]] = {}


def once(signature: Callable[..., Any]) -> Callable[..., Any]:
    """`beartype`, for what jaxtyping hands it: an empty function with a function's signature.

    latentgen's functions are made inside others, anew with each network and method; beartype takes
    a millisecond for each, twice.
    """
    code = signature.__code__
    key = (
        *(signature.__module__, signature.__qualname__, code.co_varnames, code.co_code),
        *(code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags),
        *(len(signature.__defaults__ or ()), tuple(signature.__kwdefaults__ or ())),
        repr(signature.__annotations__),
    )
    if key not in _MADE:
        _MADE[key] = beartype(signature)
    return _MADE[key]
