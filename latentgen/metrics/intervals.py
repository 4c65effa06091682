"""What a few runs say of all: the mean over seeds, and how far it can be trusted."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats


class Spread(NamedTuple):
    """Of n values; `sd`, `low` and `high` are None where n = 1 says nothing of them.

    sd: with n - 1 below the sum
    low, high: Student's t interval of the mean
    """

    n: int
    mean: float
    sd: float | None
    low: float | None
    high: float | None
    median: float


def spread(
    values: Sequence[float] | Float[np.ndarray, " n"], level: float = 0.95, least_sd: float = 0.0
) -> Spread:
    """Mean, standard deviation, t interval and median.

    mean +- t_{n-1, (1 + level)/2} sd / sqrt(n), which holds the true mean in a share `level` of
    all samples from a normal distribution, whatever n.

    Args:
        values: finite, at least one.
        level: of the interval.
        least_sd: what the interval is made from where `sd` is less.

    Reference: Student 1908, "The probable error of a mean".
    """
    x = np.asarray(values, np.float64)
    mean, median = float(x.mean()), float(np.median(x))
    if len(x) == 1:
        return Spread(1, mean, None, None, None, median)
    sd = float(x.std(ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, len(x) - 1)) * max(sd, least_sd) / len(x) ** 0.5
    return Spread(len(x), mean, sd, mean - half, mean + half, median)
