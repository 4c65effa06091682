"""Intervals of a mean over seeds: worked examples, and how often they hold what they promise."""

import numpy as np
import pytest

from latentgen.metrics.intervals import spread


def test_student_s_own_example() -> None:
    """Student 1908, section 9: hours of sleep gained by ten patients; t of 97.5 % at 9 is 2.262."""
    gained = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    found = spread(gained)
    assert found.n == 10
    assert found.mean == pytest.approx(1.58)
    assert found.sd == pytest.approx(1.23, abs=0.005)
    assert found.median == pytest.approx(1.3)
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(2.262 * 1.23 / 10**0.5, abs=0.005)
    assert (found.high + found.low) / 2 == pytest.approx(1.58)


def test_one_value_has_no_interval() -> None:
    assert spread([3.5]) == (1, 3.5, None, None, None, 3.5)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_covers_the_mean_as_often_as_it_says(n: int) -> None:
    """10,000 samples of n: a share between 93 and 97 % (its standard error is 0.2 %)."""
    draws = np.random.default_rng(n).normal(2.0, 3.0, (10_000, n))
    held = [low <= 2.0 <= high for _, _, _, low, high, _ in map(spread, draws)]
    assert 0.93 <= np.mean(held) <= 0.97
