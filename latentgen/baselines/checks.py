"""Claims checked against measured values, and validation of results."""

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
    """Return a claim with its measured values and verdict, as plain data.

    Args:
        seeds: number of seeds planned for each arm.
    """
    values: Any = quantity(claim.of, measured)
    other_arm, first_arm = None, values
    if is_difference(claim.of) and not claim.paired:
        values = arms(claim.of, measured)
        first_arm, other_arm = values.values()
    found = verdict(
        first_arm, claim, claim.margin, seeds, unlike(claim, budget, protocol), other_arm
    )
    interval = None if found.spread is None else found.spread._asdict()
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
        "interval": "t" if other_arm is None else "Welch",
        "spread": interval,
        "verdict": found.word,
        "why": found.why,
    }


def claims(
    found: Baseline, budget: str, measured: Measured, protocol: Mapping[str, Any], seeds: int
) -> list[dict[str, Any]]:
    """Check all claims of a baseline against the measured values.

    Args:
        seeds: number of seeds run for each arm. With fewer than the baseline declares, no claim is
            decided, so that one cannot stop at a favourable result.
    """
    wanted = max(seeds, found.seeds[budget])
    return [check_claims(claim, budget, measured, protocol, wanted) for claim in found.claims]


def again(found: Baseline, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Check the current claims against the measured values of an existing result."""
    return claims(
        found, result["budget"], result["measured"], result["protocol"], len(result["seeds"])
    )


def complaints(
    name: str, found: Baseline, result: Mapping[str, Any] | None, keys: Collection[str]
) -> list[str]:
    """Describe the problems of a baseline and its result; empty if there are none.

    Args:
        result: content of its file; None if there is none.
        keys: keys of references.bib.
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
    """Check that all baselines and results are valid.

    Raises:
        BadInput: there are problems; the message lists them.
    """
    wrong = [f"{name}: a result without a baseline" for name in results if name not in baselines]
    for name, found in baselines.items():
        if problems := complaints(name, found, results.get(name), keys):
            wrong.append(few(problems))
    if wrong:
        raise BadInput(f"the ledger is not sound: {'; '.join(wrong)}.")


def few(wrong: Sequence[str], most: int = 3) -> str:
    """Join the first complaints, with the number of the others."""
    beyond = f"; and {len(wrong) - most} more" if len(wrong) > most else ""
    return f"{'; '.join(wrong[:most])}{beyond}"


def _result_complaints(name: str, found: Baseline, result: Mapping[str, Any]) -> list[str]:
    budget = result["budget"]
    if budget not in REAL:
        return [f"{name}: a result at budget {budget!r} is none"]
    wrong = []
    if result["name"] != name:
        wrong.append(f"{name}: the file holds a result of {result['name']!r}")
    current_hash = store.config_hash(found, budget)
    if result["config_sha256"] != current_hash:
        wrong.append(
            f"{name}: the result's config is {result['config_sha256']}, today's {current_hash}"
        )
    if str(result["commit"]).endswith("+"):
        wrong.append(f"{name}: the result is of source that no commit holds, {result['commit']}")
    current_claims = again(found, result)
    if len(current_claims) != len(result["claims"]):
        return [
            *wrong,
            f"{name}: {len(result['claims'])} claims in the file, {len(current_claims)} today",
        ]
    for new, old in zip(current_claims, result["claims"], strict=True):
        for key, value in new.items():
            if not _same(value, old.get(key)):
                wrong.append(f"{name}: {new['of']}: {key} is {old.get(key)!r}, must be {value!r}")
    return wrong


def _same(a: Any, b: Any) -> bool:
    """Return whether two values are equal up to rounding errors."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, Sequence) and isinstance(b, Sequence) and not isinstance(a, str):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-15)
    return bool(a == b)
