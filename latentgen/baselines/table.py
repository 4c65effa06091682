"""The ledger as a Markdown table, which is inserted between two comments of a page."""

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
    """Format a number with five significant digits; None is a dash."""
    return "-" if value is None else f"{value:.5g}"


def claimed(claim: Claim) -> str:
    """Describe the paper's number or order, and its trust."""
    if claim.trust == "exact":
        return f"{number(claim.value)} (exact)"
    if claim.value is None:
        numbers = f": {claim.spread}" if claim.spread else ""
        return f"an order{numbers} ({claim.trust})"
    uncertainty = f" {claim.spread}" if claim.spread else ""
    return f"{number(claim.value)}{uncertainty} ({claim.trust})"


def within(claim: Claim) -> str:
    """Describe the margin."""
    low, high = claim.margin
    if low is None and high is None:
        return "-"
    if low is None:
        return f"below {number(high)}"
    if high is None:
        return f"above {number(low)}"
    return f"{number(low)} to {number(high)}"


def compared(entry: Mapping[str, Any]) -> bool:
    """Return whether a claim and the measured value are comparable."""
    return bool(entry["verdict"] != NOT_COMPARABLE)


def measured(entry: Mapping[str, Any]) -> str:
    """Format the mean over seeds, its interval, their number, and the quantity."""
    summary = entry["spread"]
    if summary is None:
        return "-"
    interval = (
        "" if summary["low"] is None else f" [{number(summary['low'])}, {number(summary['high'])}]"
    )
    other = "" if entry["measured"] == entry["metric"] else f" ({entry['measured']})"
    each = " each" if entry.get("interval") == "Welch" else ""
    return f"{number(summary['mean'])}{interval}, {summary['n']}{each}{other}"


def verdict(entry: Mapping[str, Any], budget: str) -> str:
    """Format the verdict; for an order, with the data set and the budget."""
    if entry["value"] is not None or not compared(entry):
        return str(entry["verdict"])
    where = f" on {entry['here']}" if entry["here"] != entry["data"] else ""
    return f"order{where} at budget {budget}: {entry['verdict']}"


def cpu(seconds: float) -> str:
    """Format CPU time as seconds, minutes or hours."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3_600 else f"{seconds / 3_600:.1f} h"


def cost(result: Mapping[str, Any]) -> str:
    """Describe the CPU time of a result, and its number of cluster jobs."""
    jobs = int(result.get("jobs", 0))
    beside = f" and {jobs} jobs, whose time a cluster knows" if jobs else ""
    return f"{cpu(result['cpu_seconds'])} of CPU time{beside}"


def rows(name: str, baseline: Baseline, result: Mapping[str, Any] | None) -> list[tuple[str, ...]]:
    """Make a row for each claim of a baseline."""
    made: list[tuple[str, ...]] = []
    for i, claim in enumerate(baseline.claims):
        head = f"`{name}`" if i == 0 else ""
        description = f"{claim.of}, {claim.metric}; {claim.data}; {claim.where}"
        fixed = (head, description, f"{claimed(claim)} [{claim.key}]")
        if result is None:
            made.append((*fixed, NOT_RUN, within(claim), "", ""))
            continue
        entry = result["claims"][i]
        margin = within(claim) if compared(entry) else "-"
        spent = f"`{result['command']}`, {cost(result)}" if i == 0 else ""
        if i == 0 and result["not_done"]:
            spent += f"; {len(result['not_done'])} runs not done"
        shown = verdict(entry, result["budget"])
        if not compared(entry):  # nor may a reader compare them
            shown += f": {entry['why']}"
        made.append((*fixed, measured(entry), margin, shown, spent))
    return made


def render(baselines: Mapping[str, Baseline], results: Mapping[str, Mapping[str, Any]]) -> str:
    """Format the table in Markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for name, baseline in baselines.items():
        lines += rows(name, baseline, results.get(name))
    return "\n".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines
    )


def placed(text: str, table: str) -> str:
    """Return the page with this table between its two comments.

    Raises:
        BadInput: the page does not have each of the comments once.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise BadInput(f"the page must have the lines {BEGIN!r} and {END!r} once each.")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"


def differences(text: str, table: str) -> list[str]:
    """Describe the cells of a page's table that differ from the files.

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
            differing = [f"{a.strip()!r} must be {b.strip()!r}" for a, b in cells if a != b]
            wrong.append("; ".join(differing) or f"{old!r} must be {new!r}")
    return wrong
