"""Verdicts of agreement with a claim, on made-up values."""

import math

import pytest

from latentgen.baselines.claims import Claim, Margin
from latentgen.baselines.verdicts import Verdict, quantity, unlike, verdict
from latentgen.core.errors import BadInput

MARGIN = Margin(9.0, 11.0)
CLAIM = Claim(
    key="burda2016",
    where="Table 1",
    data="ring",
    metric="modes",
    of="gan:modes/captured",
    value=10.0,
    spread="",
    trust="seen",
    margin=MARGIN,
    protocol={"data.name": "ring", "modes.synthetic": 2_500},
    budgets=("paper",),
)
INSIDE = [9.9, 10.0, 10.1]


def held(values: list[float], claim: Claim = CLAIM, margin: Margin = MARGIN) -> Verdict:
    """The verdict if all seeds ended well."""
    return verdict(values, claim, margin, max(len(values), 1))


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (INSIDE, "reproduced"),
        ([19.9, 20.0, 20.1], "differs"),
        ([-20.1, -20.0, -19.9], "differs"),
        ([10.9, 11.0, 11.1], "inconclusive"),  # around the upper bound
        ([8.9, 9.0, 9.1], "inconclusive"),
        ([0.0, 10.0, 20.0], "inconclusive"),  # wider than the margin
        ([9.0, 10.0, 11.0], "inconclusive"),  # all values inside, the interval is not
        ([9.0, 9.0, 9.0], "differs"),  # on a bound, which is excluded
        ([10.0], "inconclusive"),
        ([20.0], "inconclusive"),
        ([], "inconclusive"),
    ],
)
def test_the_interval_of_the_mean_decides(values: list[float], word: str) -> None:
    assert held(values).word == word


@pytest.mark.parametrize("trust", ["unverified", "recalled", "Unverified", ""])
@pytest.mark.parametrize("values", [INSIDE, [10.0], []])
def test_only_what_somebody_has_read_or_computed_is_compared(
    trust: str, values: list[float]
) -> None:
    found = held(values, CLAIM._replace(trust=trust))
    assert found.word == "not comparable"
    assert found.why == f"the claimed number is {trust}"


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_decides_nothing(bad: float, deterministic: bool) -> None:
    found = held([10.0, bad, 10.0], CLAIM._replace(deterministic=deterministic))
    assert found.word == "inconclusive"
    assert "finite" in found.why
    assert found.spread is None


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("values", [INSIDE, [19.9, 20.0, 20.1], []])
def test_seeds_that_ended_well_do_not_speak_for_the_others(
    values: list[float], deterministic: bool
) -> None:
    claim = CLAIM._replace(deterministic=deterministic)
    found = verdict(values, claim, MARGIN, len(values) + 1)
    assert found.word == "inconclusive"
    assert "ended well" in found.why


def test_equal_counts_are_equal_to_the_step_of_counting() -> None:
    """Half widths are 4.303 sqrt(1/12) / sqrt(3) = 0.717 for three, 2.262 / sqrt(120) for ten."""
    count = CLAIM._replace(resolution=1.0)
    assert held([10.0] * 3, count).spread.low == pytest.approx(10 - 0.7171, abs=1e-4)
    assert held([10.0] * 10, count).spread.high == pytest.approx(10.2065, abs=1e-4)
    assert held([10.0] * 3, count, Margin(9.5, None)).word == "inconclusive"
    assert held([10.0] * 10, count, Margin(9.5, None)).word == "reproduced"
    assert held([0.0] * 3, count, Margin(0.0, None)).word == "inconclusive"  # a tie
    wide = [8.0, 10.0, 12.0]
    assert held(wide, count).spread == held(wide).spread  # the floor is below the observed spread


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(9.0, None, "reproduced"), (None, 9.0, "differs"), (10.0, None, "inconclusive")],
)
def test_a_margin_may_be_open_on_one_side(low: float | None, high: float | None, word: str) -> None:
    assert held(INSIDE, CLAIM, Margin(low, high)).word == word


def test_without_chance_one_value_tells() -> None:
    claim = CLAIM._replace(deterministic=True)
    assert held([10.0], claim).word == "reproduced"
    assert held([11.5], claim).word == "differs"


def test_other_protocols_data_and_budgets_are_not_comparable() -> None:
    same = {"data.name": "ring", "modes.synthetic": 2_500, "modes.split": "test"}
    assert unlike(CLAIM, "paper", same) == []
    for budget, protocol, said in (
        ("paper", same | {"data.name": "grid"}, "data.name is 'grid', the claim's 'ring'"),
        ("paper", same | {"modes.synthetic": 100}, "modes.synthetic is 100"),
        ("paper", {"data.name": "ring"}, "modes.synthetic is None"),
        ("cpu", same, "the budget 'cpu'"),
    ):
        found = unlike(CLAIM, budget, protocol)
        assert len(found) == 1
        assert said in found[0]
        assert verdict(INSIDE, CLAIM, MARGIN, 3, found).word == "not comparable"


def test_a_difference_is_taken_seed_by_seed() -> None:
    measured = {
        "a:m/x": {"0": 3.0, "1": 5.0, "2": 8.0},
        "b:m/x": {"0": 1.0, "2": 2.0},
    }
    assert quantity("a:m/x", measured) == [3.0, 5.0, 8.0]
    assert quantity("a:m/x - b:m/x", measured) == [2.0, 6.0]
    assert quantity("a:m/x - c:m/x", measured) == []  # no run of c ended well
    with pytest.raises(BadInput, match="'b:m/y' was not measured"):
        quantity("a:m/x - b:m/y", measured)
