"""What a baseline is: a paper's claims, how to come by the same numbers, what counts as agreement.

A quantity is named 'ARM:MEASURE/NAME', such as 'pacgan2:modes/captured'; 'A - B' is the difference
of two quantities: of their means, or seed by seed where the claim says that a seed's runs are
paired. What an exact baseline computes has the names that it gives.
"""

import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

BUDGETS = ("smoke", "cpu", "paper")
REAL = ("cpu", "paper")
"""Budgets whose results are kept: smoke only shows that a recipe runs."""

COMPARED = {
    "exact": "computed, not copied",
    "seen": "read in the paper's own text or table",
    "quoted": "read in somebody else's text that quotes it",
}
"""How far a claim is trusted that a result may be held against."""

TRUST = {**COMPARED, "unverified": "nobody here has read it in the paper"}


SEEDS = {"smoke": 1, "cpu": 3, "paper": 3}
"""How many, where a baseline does not say."""


class Margin(NamedTuple):
    """The open interval of means that agree with a claim; None: unbounded on that side."""

    low: float | None
    high: float | None


class Claim(NamedTuple):
    """A number, or an order of numbers, that a paper reports.

    key: of references.bib
    where: table, figure or theorem
    data: the data set on which it was found
    metric: what the number is, with its unit
    of: the quantity that is held against it
    value: the paper's number, in the units of `of`; None where the claim is an order
    spread: the paper's own, and what it is; of an order, the numbers that it is read from
    trust: a key of TRUST
    margin: declared before anything was run
    protocol: the values that a comparable result's protocol has, 'measure.key' or 'data.key' ->
        value
    budgets: at which the recipe is that of the claim
    here: the data on which an order is checked here, where that is not the paper's data
    instead: budget -> the quantity that is measured there, where it is not the metric
    resolution: the steps in which values come, such as 1 of a count
    deterministic: no seed plays a part, so that one value tells
    paired: of a difference: a seed's two runs share data order and noise by design, or are one run
    range: the least and the greatest value that a quantity can have; None: no bound
    """

    key: str
    where: str
    data: str
    metric: str
    of: str
    value: float | None
    spread: str
    trust: str
    margin: Margin
    protocol: Mapping[str, Any]
    budgets: tuple[str, ...] = ("paper",)
    here: str = ""
    instead: Mapping[str, str] = types.MappingProxyType({})
    resolution: float = 0.0
    deterministic: bool = False
    paired: bool = False
    range: tuple[float | None, float | None] = (None, None)


class Recipe(NamedTuple):
    """The training and the measurement of a baseline's runs.

    config: budget -> the config of all arms
    arms: name of a setting -> what it changes in the config, by key
    measures: budget -> what is measured: name -> the flags of latentgen.evaluate
    deviations: from the paper, in words
    """

    config: Callable[[str], ConfigDict]
    arms: Mapping[str, Mapping[str, Any]]
    measures: Callable[[str], Mapping[str, Mapping[str, Any]]]
    deviations: tuple[str, ...]


class Exact(NamedTuple):
    """A computation whose answer is known.

    settings: budget -> what the computation depends on, as plain data; `compute` gets no more
    compute: (settings, seed) -> quantities by name
    deviations: from the paper, in words
    """

    settings: Callable[[str], Mapping[str, Any]]
    compute: Callable[[Mapping[str, Any], int], Mapping[str, float]]
    deviations: tuple[str, ...] = ()


class Baseline(NamedTuple):
    """One entry of the ledger.

    minutes: budget -> expected on two cores, all seeds and arms; None: nobody has measured it
    seeds: budget -> how many, unless the user says; a result of fewer decides nothing
    """

    title: str
    claims: tuple[Claim, ...]
    recipe: Recipe | Exact
    minutes: Mapping[str, float | None]
    seeds: Mapping[str, int] = SEEDS
