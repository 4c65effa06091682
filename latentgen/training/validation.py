"""Evaluation of the training objective's terms over a split, with standard errors."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key

from latentgen.core.types import Batch, PyTree, Terms


class Estimate(NamedTuple):
    """Mean over n examples and its standard error s / sqrt(n)."""

    mean: float
    standard_error: float
    n: int


def estimate(values: np.ndarray) -> Estimate:
    """Compute mean and standard error in double precision; the error is nan for n = 1."""
    x = np.asarray(values, np.float64)
    error = x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else np.nan
    return Estimate(float(x.mean()), float(error), len(x))


def evaluate(
    terms: Callable[..., Terms],
    state: PyTree,
    step: int,
    batches: Iterable[tuple[Batch, int]],
    key: Key[Array, ""],
) -> dict[str, Estimate]:
    """Estimate the mean of every term of the objective over a whole split.

    Args:
        terms: `Method.terms`, jitted.
        step: updates done; schedules, such as that of beta, have their value at the last update.
        batches: (batch of fixed size, number of its examples that count, from the first).
        key: batch i has the key fold_in(key, i).
    """
    collected: dict[str, list[np.ndarray]] = {}

    def collect(values: Terms, valid: int) -> None:
        for name, value in values.items():
            collected.setdefault(name, []).append(np.asarray(value)[:valid])

    pending: tuple[Terms, int] | None = None
    for i, (batch, valid) in enumerate(batches):
        values = terms(state, max(step - 1, 0), batch, jax.random.fold_in(key, i))
        if pending:  # the device works on one batch while the host makes the next
            collect(*pending)
        pending = values, valid
    if pending:
        collect(*pending)
    return {name: estimate(np.concatenate(parts)) for name, parts in collected.items()}
