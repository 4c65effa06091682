"""What counts as agreement, on values that are made up."""

import pytest

from latentgen.errors import BadInput
from latentgen.ledger.types import Claim, Margin
from latentgen.ledger.verdicts import quantity, unlike, verdict

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
    assert verdict(values, CLAIM, MARGIN).word == word


@pytest.mark.parametrize("values", [INSIDE, [10.0], []])
@pytest.mark.parametrize("deterministic", [False, True])
def test_an_unverified_number_is_never_reproduced(values: list[float], deterministic: bool) -> None:
    claim = CLAIM._replace(trust="unverified", deterministic=deterministic)
    found = verdict(values, claim, MARGIN)
    assert found.word == "not comparable"
    assert "unverified" in found.why


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(9.0, None, "reproduced"), (None, 9.0, "differs"), (10.0, None, "inconclusive")],
)
def test_a_margin_may_be_open_on_one_side(low: float | None, high: float | None, word: str) -> None:
    assert verdict(INSIDE, CLAIM, Margin(low, high)).word == word


def test_without_chance_one_value_tells() -> None:
    claim = CLAIM._replace(deterministic=True)
    assert verdict([10.0], claim, MARGIN).word == "reproduced"
    assert verdict([11.5], claim, MARGIN).word == "differs"


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
        assert verdict(INSIDE, CLAIM, MARGIN, found).word == "not comparable"


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
