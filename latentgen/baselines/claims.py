"""Types of baselines: a paper's claims, the recipe to reproduce them, the margin of agreement.

A quantity is named 'ARM:MEASURE/NAME', such as 'pacgan2:modes/captured'. 'A - B' is the difference
of two quantities: seed by seed if the claim is paired, else of their means. An exact baseline names
its own quantities.
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
    "code": "read in the authors' code, or in what stands beside it",
}
"""Sources of a claimed number that results may be compared with."""

TRUST = {**COMPARED, "unverified": "nobody here has read it in the paper"}


SEEDS = {"smoke": 1, "cpu": 3, "paper": 3}
"""Budget -> default number of seeds."""


class Margin(NamedTuple):
    """The open interval of means that agree with a claim; None: no bound on that side."""

    low: float | None
    high: float | None


class Claim(NamedTuple):
    """A number, or an order of numbers, that a paper reports.

    key: key of the paper in references.bib
    where: table, figure or theorem of the paper
    data: data set of the paper
    metric: name of the reported number, with its unit
    of: the measured quantity that is compared with it
    value: the paper's number, in the units of `of`; None if the claim is an order
    spread: the uncertainty that the paper reports; for an order, the numbers that are ordered
    trust: a key of TRUST
    margin: margin of agreement, declared before any run
    protocol: required entries of a result's protocol, 'measure.key' or 'data.key' -> value
    budgets: budgets at which the recipe is that of the claim
    here: data set on which an order is checked, if it is not the paper's
    instead: budget -> the quantity measured at that budget, if it is not the metric
    resolution: step size of the values, such as 1 for a count
    deterministic: whether the value depends on no seed, so that one value suffices
    paired: for a difference, whether the two runs of a seed share data order and noise, or are one
    range: minimum and maximum of the quantity; None: no bound
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
    arms: name of an arm -> its changes of the config, by key
    measures: budget -> {name of a measure: flags of latentgen.evaluate}
    deviations: descriptions of the deviations from the paper
    """

    config: Callable[[str], ConfigDict]
    arms: Mapping[str, Mapping[str, Any]]
    measures: Callable[[str], Mapping[str, Mapping[str, Any]]]
    deviations: tuple[str, ...]


class Exact(NamedTuple):
    """A computation whose result is known exactly.

    settings: budget -> all inputs of the computation besides the seed, as plain data
    compute: (settings, seed) -> quantities by name
    deviations: descriptions of the deviations from the paper
    """

    settings: Callable[[str], Mapping[str, Any]]
    compute: Callable[[Mapping[str, Any], int], Mapping[str, float]]
    deviations: tuple[str, ...] = ()


class Baseline(NamedTuple):
    """One entry of the ledger.

    minutes: budget -> expected minutes on two cores for all seeds and arms; None: not measured
    seeds: budget -> default number of seeds; results of fewer seeds are inconclusive
    """

    title: str
    claims: tuple[Claim, ...]
    recipe: Recipe | Exact
    minutes: Mapping[str, float | None]
    seeds: Mapping[str, int] = SEEDS
