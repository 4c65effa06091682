"""Confidence intervals of means over a few runs with different seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats


class Spread(NamedTuple):
    """Summary statistics of n values; `sd`, `low` and `high` are None for n = 1.

    sd: standard deviation with denominator n - 1; None for a difference of two samples
    low, high: Student's t interval of the mean, Welch's of a difference of means
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


def welch(
    a: Sequence[float] | Float[np.ndarray, " n"],
    b: Sequence[float] | Float[np.ndarray, " m"],
    level: float = 0.95,
    least_sd: float = 0.0,
) -> Spread:
    """The difference of the means of two samples that share nothing, and Welch's t interval.

    mean a - mean b +- t_{d, (1 + level)/2} sqrt(u + v), u = var a / n_a, v = var b / n_b, with
    d = (u + v)^2 / (u^2 / (n_a - 1) + v^2 / (n_b - 1)) degrees of freedom. `n` is the smaller
    sample's, `median` the difference of the medians.

    Args:
        a, b: finite, at least one each.
        level: of the interval.
        least_sd: what a sample's share is made from where its standard deviation is less.

    Reference: Welch 1947, "The generalization of Student's problem when several different
    population variances are involved".
    """
    first, second = spread(a, level, least_sd), spread(b, level, least_sd)
    n, mean = min(first.n, second.n), first.mean - second.mean
    median = first.median - second.median
    if first.sd is None or second.sd is None:
        return Spread(n, mean, None, None, None, median)
    u, v = (max(x.sd or 0.0, least_sd) ** 2 / x.n for x in (first, second))
    if u + v == 0:
        return Spread(n, mean, None, mean, mean, median)
    degrees = (u + v) ** 2 / (u**2 / (first.n - 1) + v**2 / (second.n - 1))
    half = float(stats.t.ppf((1 + level) / 2, degrees)) * (u + v) ** 0.5
    return Spread(n, mean, None, mean - half, mean + half, median)


def cut(found: Spread, least: float | None, most: float | None) -> Spread:
    """The interval without what no mean can be, such as more modes than there are."""
    low, high = found.low, found.high
    if low is None or high is None:
        return found
    low = low if least is None else max(low, least)
    high = high if most is None else min(high, most)
    return found._replace(low=low, high=high)
