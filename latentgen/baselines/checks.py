"""Results as they are written, and what is wrong with one: nothing here runs anything."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from latentgen.baselines import store
from latentgen.baselines.claims import REAL, TRUST, Baseline, Claim
from latentgen.baselines.verdicts import arms, is_difference, quantity, unlike, verdict
from latentgen.core.errors import BadInput

Measured = Mapping[str, Mapping[str, float | None]]


def check_claims(
    claim: Claim, budget: str, measured: Measured, protocol: Mapping[str, Any], seeds: int
) -> dict[str, Any]:
    """A claim beside what was found for it, and the verdict, as plain data.

    Args:
        seeds: how many were to be run of each arm.
    """
    values: Any = quantity(claim.of, measured)
    against, first = None, values
    if is_difference(claim.of) and not claim.paired:
        values = arms(claim.of, measured)
        first, against = values.values()
    found = verdict(first, claim, claim.margin, seeds, unlike(claim, budget, protocol), against)
    spread = None if found.spread is None else found.spread._asdict()
    return {
        "of": claim.of,
        "key": claim.key,
        "where": claim.where,
        "data": claim.data,
        "here": claim.here or claim.data,
        "metric": claim.metric,
        "measured": claim.instead.get(budget, claim.metric),
        "value": claim.value,
        "said": claim.spread,
        "trust": claim.trust,
        "margin": list(claim.margin),
        "values": values,
        "interval": "t" if against is None else "Welch",
        "spread": spread,
        "verdict": found.word,
        "why": found.why,
    }


def claims(
    found: Baseline, budget: str, measured: Measured, protocol: Mapping[str, Any], seeds: int
) -> list[dict[str, Any]]:
    """All claims of a baseline, held against what was found.

    Args:
        seeds: how many were run of each arm; of fewer than the baseline declares none is decided,
            or one could stop where the result is liked.
    """
    wanted = max(seeds, found.seeds[budget])
    return [check_claims(claim, budget, measured, protocol, wanted) for claim in found.claims]


def again(found: Baseline, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All claims as they are today, held against what a result's file says was measured."""
    return claims(
        found, result["budget"], result["measured"], result["protocol"], len(result["seeds"])
    )


def complaints(
    name: str, found: Baseline, result: Mapping[str, Any] | None, keys: Collection[str]
) -> list[str]:
    """List what is wrong with a baseline and its result, in words; empty if all is well.

    Args:
        result: as its file holds it; None where there is none.
        keys: of references.bib.
    """
    wrong = [
        f"{name}: the claim on {claim.of} cites {claim.key!r}, which references.bib lacks"
        for claim in found.claims
        if claim.key not in keys
    ]
    wrong += [
        f"{name}: the claim on {claim.of} is trusted as {claim.trust!r}, which means nothing"
        for claim in found.claims
        if claim.trust not in TRUST
    ]
    return wrong if result is None else wrong + _result_complaints(name, found, result)


def validate(
    baselines: Mapping[str, Baseline],
    results: Mapping[str, Mapping[str, Any]],
    keys: Collection[str],
) -> None:
    """Let only baselines and results pass of which nothing is wrong.

    Raises:
        BadInput: something is; says all of it.
    """
    wrong = [f"{name}: a result without a baseline" for name in results if name not in baselines]
    for name, found in baselines.items():
        if said := complaints(name, found, results.get(name), keys):
            wrong.append(few(said))
    if wrong:
        raise BadInput(f"the ledger is not sound: {'; '.join(wrong)}.")


def few(wrong: Sequence[str], most: int = 3) -> str:
    """Some of the complaints, and how many there are beyond them."""
    beyond = f"; and {len(wrong) - most} more" if len(wrong) > most else ""
    return f"{'; '.join(wrong[:most])}{beyond}"


def _result_complaints(name: str, found: Baseline, result: Mapping[str, Any]) -> list[str]:
    budget = result["budget"]
    if budget not in REAL:
        return [f"{name}: a result at budget {budget!r} is none"]
    wrong = []
    if result["name"] != name:
        wrong.append(f"{name}: the file holds a result of {result['name']!r}")
    today = store.config_hash(found, budget)
    if result["config_sha256"] != today:
        wrong.append(f"{name}: the result's config is {result['config_sha256']}, today's {today}")
    if str(result["commit"]).endswith("+"):
        wrong.append(f"{name}: the result is of source that no commit holds, {result['commit']}")
    todays = again(found, result)
    if len(todays) != len(result["claims"]):
        return [*wrong, f"{name}: {len(result['claims'])} claims in the file, {len(todays)} today"]
    for new, old in zip(todays, result["claims"], strict=True):
        for key, value in new.items():
            if not _same(value, old.get(key)):
                wrong.append(f"{name}: {new['of']}: {key} is {old.get(key)!r}, must be {value!r}")
    return wrong


def _same(a: Any, b: Any) -> bool:
    """Equal, up to the rounding of another machine's sums."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-15)
    return bool(a == b)
