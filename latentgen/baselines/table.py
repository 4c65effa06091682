"""The ledger as a Markdown table, and its place between two comments of a page."""

from collections.abc import Mapping
from typing import Any

from latentgen.baselines.claims import Baseline, Claim
from latentgen.baselines.verdicts import NOT_COMPARABLE
from latentgen.core.errors import BadInput

BEGIN = "<!-- ledger: made by `make ledger` from experiments/baselines/; edit nothing here -->"
END = "<!-- end of the ledger -->"
COLUMNS = (
    "baseline",
    "claim",
    "paper",
    "here: mean [95% interval], seeds",
    "agrees within",
    "verdict",
    "command, CPU time",
)
NOT_RUN = "not yet run"


def number(value: float | None) -> str:
    """Five significant digits; a dash for None."""
    return "-" if value is None else f"{value:.5g}"


def claimed(claim: Claim) -> str:
    """Return the paper's number or order in words, and how far it is trusted."""
    if claim.trust == "exact":
        return f"{number(claim.value)} (exact)"
    if claim.value is None:
        said = f": {claim.spread}" if claim.spread else ""
        return f"an order{said} ({claim.trust})"
    spread = f" {claim.spread}" if claim.spread else ""
    return f"{number(claim.value)}{spread} ({claim.trust})"


def within(claim: Claim) -> str:
    """The margin in words."""
    low, high = claim.margin
    if low is None and high is None:
        return "-"
    if low is None:
        return f"below {number(high)}"
    if high is None:
        return f"above {number(low)}"
    return f"{number(low)} to {number(high)}"


def compared(held: Mapping[str, Any]) -> bool:
    """Return whether a claim and the measured value are comparable."""
    return bool(held["verdict"] != NOT_COMPARABLE)


def found(held: Mapping[str, Any]) -> str:
    """The mean of all seeds, its interval and their number; what it is, where not the metric."""
    spread = held["spread"]
    if spread is None:
        return "-"
    interval = (
        "" if spread["low"] is None else f" [{number(spread['low'])}, {number(spread['high'])}]"
    )
    other = "" if held["measured"] == held["metric"] else f" ({held['measured']})"
    each = " each" if held.get("interval") == "Welch" else ""
    return f"{number(spread['mean'])}{interval}, {spread['n']}{each}{other}"


def word(held: Mapping[str, Any], budget: str) -> str:
    """The verdict; of an order, on what and at which budget."""
    if held["value"] is not None or not compared(held):
        return str(held["verdict"])
    where = f" on {held['here']}" if held["here"] != held["data"] else ""
    return f"order{where} at budget {budget}: {held['verdict']}"


def cpu(seconds: float) -> str:
    """CPU time in the unit that fits."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3_600 else f"{seconds / 3_600:.1f} h"


def cost(result: Mapping[str, Any]) -> str:
    """The CPU time of a result, and the jobs beside it."""
    jobs = int(result.get("jobs", 0))
    beside = f" and {jobs} jobs, whose time a cluster knows" if jobs else ""
    return f"{cpu(result['cpu_seconds'])} of CPU time{beside}"


def rows(name: str, baseline: Baseline, result: Mapping[str, Any] | None) -> list[tuple[str, ...]]:
    """A row for each claim of a baseline."""
    made: list[tuple[str, ...]] = []
    for i, claim in enumerate(baseline.claims):
        head = f"`{name}`" if i == 0 else ""
        what = f"{claim.of}, {claim.metric}; {claim.data}; {claim.where}"
        fixed = (head, what, f"{claimed(claim)} [{claim.key}]")
        if result is None:
            made.append((*fixed, NOT_RUN, within(claim), "", ""))
            continue
        held = result["claims"][i]
        margin = within(claim) if compared(held) else "-"
        spent = f"`{result['command']}`, {cost(result)}" if i == 0 else ""
        if i == 0 and result["not_done"]:
            spent += f"; {len(result['not_done'])} runs not done"
        verdict = word(held, result["budget"])
        if not compared(held):  # nor may a reader compare them
            verdict += f": {held['why']}"
        made.append((*fixed, found(held), margin, verdict, spent))
    return made


def render(baselines: Mapping[str, Baseline], results: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole table, in Markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for name, baseline in baselines.items():
        lines += rows(name, baseline, results.get(name))
    return "\n".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines
    )


def placed(text: str, table: str) -> str:
    """The page with this table between its two comments.

    Raises:
        BadInput: the page lacks one of the comments, or has one twice.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise BadInput(f"the page must have the lines {BEGIN!r} and {END!r} once each.")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"


def differences(text: str, table: str) -> list[str]:
    """Cells of a page's table that are not what the files say; nothing, if they agree.

    Raises:
        BadInput: as for `placed`.
    """
    placed(text, table)
    here = text.split(BEGIN)[1].split(END)[0].strip().splitlines()
    wanted = table.splitlines()
    if len(here) != len(wanted):
        return [f"{len(here)} lines in the page, {len(wanted)} from the files; run `make ledger`"]
    wrong = []
    for old, new in zip(here, wanted, strict=True):
        if old != new:
            cells = zip(old.split(" | "), new.split(" | "), strict=False)
            said = [f"{a.strip()!r} must be {b.strip()!r}" for a, b in cells if a != b]
            wrong.append("; ".join(said) or f"{old!r} must be {new!r}")
    return wrong
