"""A pass over a split: the objective's terms as in training, with standard errors."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key

from latentgen.core.types import Batch, PyTree, Terms


class Estimate(NamedTuple):
    """A mean over examples, its standard error s / sqrt(n), and n."""

    mean: float
    standard_error: float
    n: int


def estimate(values: np.ndarray) -> Estimate:
    """Mean and standard error in double precision; nan where one example gives no error."""
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
    """Every term of the objective over a whole split.

    Args:
        terms: `Method.terms`, jitted.
        step: updates done; the objective's weights are those of the last one.
        batches: (batch of fixed size, how many of its examples count).
        key: batch i draws its noise from fold_in(key, i).
    """
    found: dict[str, list[np.ndarray]] = {}

    def collect(values: Terms, valid: int) -> None:
        for name, value in values.items():
            found.setdefault(name, []).append(np.asarray(value)[:valid])

    sent: tuple[Terms, int] | None = None
    for i, (batch, valid) in enumerate(batches):
        values = terms(state, max(step - 1, 0), batch, jax.random.fold_in(key, i))
        if sent:  # one batch is on the device while the next is made
            collect(*sent)
        sent = values, valid
    if sent:
        collect(*sent)
    return {name: estimate(np.concatenate(parts)) for name, parts in found.items()}
