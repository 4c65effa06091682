"""Differences of arms that share nothing, ranges of counts, and how many seeds decide."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from latentgen.baselines import checks, store, table
from latentgen.baselines.claims import Claim, Margin
from latentgen.baselines.verdicts import bounds, verdict
from latentgen.metrics.intervals import cut, spread, welch

ROOT = Path(__file__).parents[2]
GRID = {"pacgan2": [24.0, 25.0, 25.0], "gan": [18.0, 20.0, 14.0]}
CLAIM = Claim(
    key="lin2018",
    where="Table 1",
    data="grid",
    metric="modes",
    of="pacgan2:modes/captured - gan:modes/captured",
    value=None,
    spread="",
    trust="seen",
    margin=Margin(0.0, None),
    protocol={},
    budgets=("cpu",),
    range=(0.0, 25.0),
)
MEASURED = {
    f"{arm}:modes/captured": {str(seed): x for seed, x in enumerate(values)}
    for arm, values in GRID.items()
}


def test_welchs_interval_is_scipys() -> None:
    found = welch(GRID["pacgan2"], GRID["gan"])
    expected = stats.ttest_ind(GRID["pacgan2"], GRID["gan"], equal_var=False)
    low, high = expected.confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high], [low, high], rtol=1e-12)
    assert [round(found.low, 2), round(found.high, 1)] == [0.08, 14.6]
    assert welch([1.0], [2.0, 3.0]).low is None
    assert welch([1.0, 1.0], [2.0, 2.0])[3:5] == (-1.0, -1.0)


def test_welchs_interval_holds_the_true_difference_in_95_of_100_samples() -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.normal(1, 3, 4), rng.normal(0, 1, 3)) for _ in range(2_000)]
    held = [found.low <= 1 <= found.high for found in (welch(a, b) for a, b in pairs)]
    assert abs(np.mean(held) - 0.95) < 0.02


def test_arms_are_paired_only_where_the_claim_says_so() -> None:
    apart = checks.check_claims(CLAIM, "cpu", MEASURED, {}, 3)
    assert (apart["interval"], apart["verdict"]) == ("Welch", "reproduced")
    assert list(apart["values"].values()) == list(GRID.values())
    assert table.measured(apart).endswith("], 3 each")
    paired = checks.check_claims(CLAIM._replace(paired=True), "cpu", MEASURED, {}, 3)
    assert (paired["interval"], paired["verdict"]) == ("t", "inconclusive")
    assert paired["values"] == [6.0, 5.0, 11.0]
    # A seed that one arm lost does not take the other arm's value with it.
    lost = {**MEASURED, "gan:modes/captured": {"0": 18.0, "1": 20.0}}
    found = checks.check_claims(CLAIM, "cpu", lost, {}, 3)
    assert found["values"]["pacgan2:modes/captured"] == GRID["pacgan2"]
    assert found["why"] == "2 of 3 seeds ended well"


def test_pairs_are_declared_where_a_seed_shares_order_and_noise() -> None:
    paired = {
        (name, claim.paired)
        for name, found in store.every().items()
        for claim in found.claims
        if " - " in claim.of
    }
    assert {name for name, said in paired if said} == {
        *("r3gan_grid", "r3gan_stacked", "vamp_fashion", "wu_order")
    }
    assert {name for name, said in paired if not said} == {
        *("iwae_fashion", "pacgan_grid", "pacgan_ring")
    }


def test_an_interval_of_counts_stays_within_their_range() -> None:
    one = CLAIM._replace(of="pacgan2:modes/captured", resolution=1.0, margin=Margin(23.0, None))
    found = verdict(GRID["pacgan2"], one, one.margin, 3).spread
    assert found.high == 25.0
    assert found.low == spread(GRID["pacgan2"]).low
    assert bounds(CLAIM) == (-25.0, 25.0)
    assert bounds(CLAIM._replace(range=(0.0, None))) == (None, None)
    assert cut(spread([1.0]), 0.0, 1.0) == spread([1.0])
    for result in store.results(ROOT / store.FOLDER).values():
        for claim in result["claims"]:
            if claim["of"].endswith("captured") and claim["spread"]["high"] is not None:
                assert claim["spread"]["high"] <= 25.0


def test_fewer_seeds_than_were_declared_decide_nothing() -> None:
    found = store.baseline("pacgan_grid")
    kept = store.results()["pacgan_grid"]
    words = [c["verdict"] for c in checks.claims(found, "cpu", MEASURED | kept["measured"],
                                                   kept["protocol"], 3)]  # fmt: skip
    assert words[0] == "reproduced"
    more = found._replace(seeds={**found.seeds, "cpu": 5})
    held = checks.claims(more, "cpu", kept["measured"], kept["protocol"], 3)
    assert held[0]["why"] == "3 of 5 seeds ended well"


@pytest.mark.parametrize("k", [1, 5, 50])
def test_the_readmes_table_of_iwae_is_the_ledgers(k: int) -> None:
    """One experiment, one record: the same recipe stood with other numbers in two tables."""
    file = ROOT / store.FOLDER / store.RESULTS / "iwae_fashion.json"
    measured = json.loads(file.read_text())["measured"]
    cells = []
    for of, sign, digits in (("is/log_likelihood", -1, 2), ("active/active_units", 1, 1)):
        x = sign * np.array(list(measured[f"k={k}:{of}"].values()))
        cells.append(f"{x.mean():.{digits}f} +- {x.std(ddof=1) / len(x) ** 0.5:.{digits}f}")
    line = re.compile(rf"^\| {k} \| ([^|]* \+- [^|]*) \| ([^|]*) \|$", re.M)
    assert list(line.search((ROOT / "experiments" / "README.md").read_text()).groups()) == cells
