"""Verdicts on whether measured values agree with a paper's claims."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from latentgen.baselines.claims import COMPARED, Claim, Margin
from latentgen.core.errors import BadInput
from latentgen.metrics.intervals import Spread, cut, spread, welch

REPRODUCED, DIFFERS = "reproduced", "differs"
INCONCLUSIVE, NOT_COMPARABLE = "inconclusive", "not comparable"


class Verdict(NamedTuple):
    """A verdict on a claim.

    word: one of the four verdicts
    why: the reason, in words
    spread: mean and interval of the values; None if there are none
    """

    word: str
    why: str
    spread: Spread | None


def verdict(
    values: Sequence[float],
    claim: Claim,
    margin: Margin,
    seeds: int,
    unlike: Sequence[str] = (),
    against: Sequence[float] | None = None,
) -> Verdict:
    """Hold the values of all seeds against a claim.

    reproduced      the 95% t interval of the mean lies inside the margin; for the difference of two
                    independent arms, Welch's interval
    differs         the interval lies outside the margin
    inconclusive    the interval contains a bound of the margin, there is only one seed, or a seed
                    has failed or has no finite value
    not comparable  the protocol or the data differ, or the claimed number is unverified

    For values in steps of h, such as counts, the variance is at least h^2 / 12, that of the
    rounding error (Sheppard 1898), because equal rounded values need not be equal exactly.

    Args:
        values: values of the finished seeds.
        margin: open interval of agreement.
        seeds: number of planned seeds; with fewer finished ones, the verdict is inconclusive.
        unlike: descriptions of differences of the protocols.
        against: values of the second arm, for a difference that is not paired.
    """
    found = _summarize(values, against, claim)
    if claim.trust not in COMPARED:
        return Verdict(NOT_COMPARABLE, f"the claimed number is {claim.trust}", found)
    if unlike:
        return Verdict(NOT_COMPARABLE, "; ".join(unlike), found)
    ended = len(values) if against is None else min(len(values), len(against))
    if ended < seeds:
        text = f"{ended} of {seeds} seeds" if ended else "no seed"
        return Verdict(INCONCLUSIVE, f"{text} ended well", found)
    if found is None:
        return Verdict(INCONCLUSIVE, "not all values are finite", None)
    low, high = found.low, found.high
    if claim.deterministic:
        low, high = min(values), max(values)
    if low is None or high is None:
        return Verdict(INCONCLUSIVE, "one seed gives no interval", found)
    return Verdict(*_compare(low, high, margin), found)


def _summarize(
    values: Sequence[float], against: Sequence[float] | None, claim: Claim
) -> Spread | None:
    """Compute mean and interval; return None if there are no values or not all are finite."""
    samples = [values] if against is None else [values, against]
    if not all(sample and all(map(math.isfinite, sample)) for sample in samples):
        return None
    least_sd = claim.resolution / 12**0.5
    if against is None:
        return cut(spread(values, least_sd=least_sd), *bounds(claim))
    return cut(welch(values, against, least_sd=least_sd), *bounds(claim))


def bounds(claim: Claim) -> tuple[float | None, float | None]:
    """Return minimum and maximum of the claim's quantity or difference; None: no bound."""
    least, most = claim.range
    if not is_difference(claim.of):
        return least, most
    if least is None or most is None:
        return None, None
    return least - most, most - least


def is_difference(of: str) -> bool:
    """Return whether `of` names a difference of two quantities."""
    return " - " in of


def arms(of: str, measured: Mapping[str, Mapping[str, float | None]]) -> dict[str, list[float]]:
    """Return the values of each quantity in the difference `of`, over all of its own seeds."""
    return {name: quantity(name, measured) for name in of.split(" - ")}


def _compare(low: float, high: float, margin: Margin) -> tuple[str, str]:
    least = float("-inf") if margin.low is None else margin.low
    most = float("inf") if margin.high is None else margin.high
    text = f"[{low:.4g}, {high:.4g}] and ({least:.4g}, {most:.4g})"
    if least < low and high < most:
        return REPRODUCED, f"the interval lies inside the margin: {text}"
    if high <= least or low >= most:
        return DIFFERS, f"the interval lies outside the margin: {text}"
    return INCONCLUSIVE, f"the interval lies on both sides of a bound: {text}"


def quantity(of: str, measured: Mapping[str, Mapping[str, float | None]]) -> list[float]:
    """Return the values of a quantity over seeds; see `by_seed`."""
    return list(by_seed(of, measured).values())


def by_seed(of: str, measured: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """Return the values of a quantity by seed, without seeds that lack a result.

    Args:
        of: name of the quantity; see `claims`.
        measured: name -> seed -> value.

    Raises:
        BadInput: nothing of this name was measured.
    """
    names = of.split(" - ")
    with_results = {name.split(":")[0] for name in measured}
    if any(name.split(":")[0] not in with_results for name in names):
        return {}
    for name in names:
        if name not in measured:
            raise BadInput(f"{name!r} was not measured; there are {', '.join(measured)}.")
    first, *others = (measured[name] for name in names)
    found = {}
    for seed, value in first.items():
        parts = [value, *(each.get(seed) for each in others)]
        numbers = [part for part in parts if part is not None]
        if len(numbers) == len(parts):
            found[seed] = numbers[0] - sum(numbers[1:])
    return found


def unlike(claim: Claim, budget: str, protocol: Mapping[str, Any]) -> list[str]:
    """Describe the differences between a result's protocol and the claim's.

    Args:
        protocol: the result's protocol, 'measure.key' or 'data.key' -> value.
    """
    found = []
    if budget not in claim.budgets:
        found.append(f"the budget {budget!r} is not the recipe of the claim")
    for key, wanted in claim.protocol.items():
        if json.dumps(protocol.get(key)) != json.dumps(wanted):  # a tuple equals a list
            found.append(f"{key} is {protocol.get(key)!r}, the claim's {wanted!r}")
    return found
