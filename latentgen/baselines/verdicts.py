"""Whether what was found agrees with what a paper claims."""

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
    """word: one of the four; why: in words; spread: of the values, None where there is none."""

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

    reproduced      the 95% t interval of the mean lies inside the margin; Welch's of a difference
                    of means, where the two arms share nothing
    differs         it lies outside
    inconclusive    it lies on both sides of a bound, one seed gives no interval, a seed has no
                    finite value
    not comparable  the protocol or the data differ, or the number is unverified

    Where values come in steps of h, such as counts, their variance is at least h^2 / 12, that of
    what rounding took away (Sheppard 1898): seeds that agree to the step do not agree exactly.

    Args:
        values: of the seeds that ended well.
        margin: bounds excluded.
        seeds: how many were to be run: those that ended well must not speak for the others.
        unlike: in what the protocols differ, in words.
        against: the second arm's values, where the claim is a difference that is not paired.
    """
    found = _spread(values, against, claim)
    if claim.trust not in COMPARED:
        return Verdict(NOT_COMPARABLE, f"the claimed number is {claim.trust}", found)
    if unlike:
        return Verdict(NOT_COMPARABLE, "; ".join(unlike), found)
    ended = len(values) if against is None else min(len(values), len(against))
    if ended < seeds:
        said = f"{ended} of {seeds} seeds" if ended else "no seed"
        return Verdict(INCONCLUSIVE, f"{said} ended well", found)
    if found is None:
        return Verdict(INCONCLUSIVE, "not all values are finite", None)
    low, high = found.low, found.high
    if claim.deterministic:
        low, high = min(values), max(values)
    if low is None or high is None:
        return Verdict(INCONCLUSIVE, "one seed gives no interval", found)
    return Verdict(*_placed(low, high, margin), found)


def _spread(
    values: Sequence[float], against: Sequence[float] | None, claim: Claim
) -> Spread | None:
    """Mean and interval; None where there is nothing or not all is finite."""
    samples = [values] if against is None else [values, against]
    if not all(sample and all(map(math.isfinite, sample)) for sample in samples):
        return None
    least_sd = claim.resolution / 12**0.5
    if against is None:
        return cut(spread(values, least_sd=least_sd), *bounds(claim))
    return cut(welch(values, against, least_sd=least_sd), *bounds(claim))


def bounds(claim: Claim) -> tuple[float | None, float | None]:
    """The least and the greatest value of the claim's quantity or difference; None: no bound."""
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
    """The values of each quantity that `of` names, whatever seeds the other has."""
    return {name: quantity(name, measured) for name in of.split(" - ")}


def _placed(low: float, high: float, margin: Margin) -> tuple[str, str]:
    least = float("-inf") if margin.low is None else margin.low
    most = float("inf") if margin.high is None else margin.high
    said = f"[{low:.4g}, {high:.4g}] and ({least:.4g}, {most:.4g})"
    if least < low and high < most:
        return REPRODUCED, f"the interval lies inside the margin: {said}"
    if high <= least or low >= most:
        return DIFFERS, f"the interval lies outside the margin: {said}"
    return INCONCLUSIVE, f"the interval lies on both sides of a bound: {said}"


def quantity(of: str, measured: Mapping[str, Mapping[str, float | None]]) -> list[float]:
    """The values of a quantity, a seed each; see `by_seed`."""
    return list(by_seed(of, measured).values())


def by_seed(of: str, measured: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """The values of a quantity by seed; a seed or an arm without results has none.

    Args:
        of: see `ledger.types`.
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
    """In what a result's protocol is not the claim's, in words.

    Args:
        protocol: 'measure.key' or 'data.key' -> value, as the result says.
    """
    found = []
    if budget not in claim.budgets:
        found.append(f"the budget {budget!r} is not the recipe of the claim")
    for key, wanted in claim.protocol.items():
        if json.dumps(protocol.get(key)) != json.dumps(wanted):  # a tuple equals a list
            found.append(f"{key} is {protocol.get(key)!r}, the claim's {wanted!r}")
    return found
