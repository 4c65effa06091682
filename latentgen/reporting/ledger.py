"""The ledger as a page: papers' claims, measured values, and a chart of each claim."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from latentgen.baselines import checks, running, store, table
from latentgen.baselines.claims import REAL, TRUST, Baseline, Claim, Exact
from latentgen.baselines.verdicts import by_seed
from latentgen.core.errors import BadInput
from latentgen.reporting import charts, folders, images
from latentgen.reporting.images import Selection, Series
from latentgen.reporting.page import TARGET, render
from latentgen.reporting.sections import Chart, counted, shown
from latentgen.sweeps import folder as sweeps

PICTURES = 3_000_000
"""Maximum characters of all pictures of a page."""
HEADER = (
    *("quantity", "verdict", "paper", "here: mean [95\u00a0% interval], seeds"),
    *("agrees within", "where", "why"),
)
DASH = "\u2013"
_MINUS = re.compile(r"(?<![\w\d])-(?=\d)|(?<=\de)-(?=\d)")

Result = Mapping[str, Any]


class Ledger(NamedTuple):
    """The baselines, their results and the bibliography, as read from files.

    results: by the baseline's name, as in their files; not every baseline has one
    entries: BibTeX by key
    """

    baselines: Mapping[str, Baseline]
    results: Mapping[str, Result]
    entries: Mapping[str, str]


def is_ledger(path: Path) -> bool:
    """Return whether a folder is one of baselines: it has their results and references."""
    return (path / store.RESULTS).is_dir() and (path / store.REFERENCES).is_file()


def read(path: Path) -> Ledger:
    """Read the ledger in a folder.

    Raises:
        BadInput: its baselines cannot be imported from the current folder, or are not valid.
    """
    if path.resolve() != store.FOLDER.resolve():
        raise BadInput(
            f"DIR={str(path)!r}: run this from the root of the checkout that holds it, with "
            f"DIR={store.FOLDER}."
        )
    found = Ledger(store.every(), store.results(), store.entries())
    checks.validate(*found)
    return found


def page(ledger: Ledger, runs: Path, command: str) -> str:
    """Render the page.

    Args:
        runs: folder that holds the folders NAME-BUDGET of trained baselines, if it exists.
        command: the command that writes the page.
    """
    series = [
        each
        for name, found in ledger.baselines.items()
        for each in _series(name, found, ledger.results.get(name), runs)
    ]
    selection = images.select(series, PICTURES)
    done = [name for name in ledger.baselines if name in ledger.results]
    context = {
        "title": "Ledger of baselines",
        "lead": "What papers claim, and what was found when their recipes were run again.",
        "contents": [("overview", "Overview"), *((name, name) for name in done)],
        "facts": _facts(ledger),
        "trust": list(TRUST.items()),
        "overview": [_overview(name, ledger) for name in ledger.baselines],
        "baselines": [_baseline(name, ledger, selection) for name in ledger.baselines],
        "left_out": selection.left_out,
        "command": command,
    }
    return render(context, "ledger.html")


def _facts(ledger: Ledger) -> list[tuple[str, str]]:
    verdicts = [claim["verdict"] for each in ledger.results.values() for claim in each["claims"]]
    counts = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
    spent = sum((each["cpu_seconds"] for each in ledger.results.values()), 0.0)
    return [
        ("baselines", shown(len(ledger.baselines))),
        (table.NOT_RUN, shown(len(ledger.baselines) - len(ledger.results))),
        *((f"claims {verdict}", shown(count)) for verdict, count in counts.items()),
        ("CPU time", table.cpu(spent)),
    ]


def _verdicts(result: Result | None) -> str:
    """Describe the verdicts of a result's claims with their counts."""
    if result is None:
        return table.NOT_RUN
    verdicts = [claim["verdict"] for claim in result["claims"]]
    counts = {verdict: verdicts.count(verdict) for verdict in dict.fromkeys(verdicts)}
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def _overview(name: str, ledger: Ledger) -> dict[str, str]:
    result = ledger.results.get(name)
    spent = f"{result['budget']}, {table.cost(result)}" if result else DASH
    title = ledger.baselines[name].title
    return {"name": name, "title": title, "verdicts": _verdicts(result), "spent": spent}


def _baseline(name: str, ledger: Ledger, selection: Selection) -> dict[str, Any]:
    found, result = ledger.baselines[name], ledger.results.get(name)
    pictures = _pictures(name, selection)
    notes = [] if result is None else list(result["not_done"])
    if result is None and pictures:
        notes.append("There are runs of it here, but the ledger holds no result of them yet.")
    claims = found.claims
    entries = [None] * len(claims) if result is None else result["claims"]
    keys = dict.fromkeys(claim.key for claim in claims)
    return {
        "name": name,
        "title": found.title,
        "verdicts": _verdicts(result),
        "header": HEADER,
        "rows": [_row(*each, result) for each in zip(claims, entries, strict=True)],
        "charts": [] if result is None else _charts(found, result),
        "notes": notes,
        "has_result": result is not None,
        "deviations": found.recipe.deviations,
        "facts": _run_again(name, found) if result is None else _provenance(result),
        "bibtex": "\n\n".join(ledger.entries[key] for key in keys),
        "pictures": pictures,
    }


def _row(claim: Claim, entry: Mapping[str, Any] | None, result: Result | None) -> list[str]:
    here, margin, verdict, why = DASH, table.within(claim), table.NOT_RUN, DASH
    if entry is not None and result is not None:
        here, why = table.measured(entry), entry["why"]
        verdict = table.verdict(entry, result["budget"])
        margin = margin if table.compared(entry) else DASH
    return [
        f"{claim.of}: {claim.metric}",
        verdict,
        typeset(table.claimed(claim)),
        typeset(here),
        typeset(margin),
        f"{claim.data}; {claim.where} [{claim.key}]",
        typeset(why),
    ]


def typeset(text: str) -> str:
    """Replace hyphens before numbers by minus signs, which do not break, and +- by its sign."""
    return _MINUS.sub("\u2212", text).replace("+-", "\u00b1")


def _run_again(name: str, found: Baseline) -> list[tuple[str, str]]:
    lines = []
    for budget in REAL:
        minutes = found.minutes[budget]
        expected = "time unknown" if minutes is None else f"about {minutes:g} min on two cores"
        command = f"python -m latentgen.reproduce {name} --budget {budget}"
        lines.append((f"{budget}, {expected}", command))
    return lines


def _provenance(result: Result) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    device = ", ".join(f"{key} {value}" for key, value in result["device"].items() if value)
    return [
        ("command", result["command"]),
        ("commit", result["commit"]),
        ("config", result["config_sha256"]),
        ("budget", f"{result['budget']}, {counted(len(result['seeds']), 'seed')}"),
        *_began(result),
        ("cost", table.cost(result)),
        ("elapsed", table.cpu(result["seconds"])),
        ("device", device),
        ("versions", versions),
    ]


def _began(result: Result) -> list[tuple[str, str]]:
    """Return a row with the commit of the training, if it differs from that of the result."""
    began = result.get("began") or {}
    commit = began.get("commit")
    return [("trained from", commit)] if commit and commit != result["commit"] else []


def _charts(found: Baseline, result: Result) -> list[Chart]:
    """Make a chart for each claim that has values."""
    made = []
    for claim, entry in zip(found.claims, result["claims"], strict=True):
        paired = entry["interval"] != "Welch"
        names = {claim.of: ""} if paired else {of: f"{of}, " for of in claim.of.split(" - ")}
        values = [
            (f"{prefix}seed {seed}", value)
            for of, prefix in names.items()
            for seed, value in by_seed(of, result["measured"]).items()
            if math.isfinite(value)
        ]
        if values and entry["spread"] is not None:
            made.append(_chart(claim, entry, values, drawn=paired))
    return made


def _chart(
    claim: Claim, entry: Mapping[str, Any], values: Sequence[tuple[str, float]], drawn: bool
) -> Chart:
    """Chart the measured values, with the paper's number and the margin where comparable.

    Args:
        drawn: whether the values are of the claimed quantity, not of a difference's two arms.
    """
    summary, comparable = entry["spread"], table.compared(entry)
    bounds = (*claim.margin, claim.value) if comparable else (None, None, None)
    figure = charts.claim_chart(
        _described(claim, entry, values),
        charts.Held(
            values if drawn else [], summary["mean"], summary["low"], summary["high"], *bounds
        ),
        entry["measured"],
    )
    rows = [[seed, typeset(table.number(value))] for seed, value in values]
    rows += [["mean", typeset(table.number(summary["mean"]))]]
    rows += [
        [f"95\u00a0% interval, {end}", typeset(table.number(summary[end]))]
        for end in ("low", "high")
    ]
    if comparable:
        rows += [["paper", typeset(table.claimed(claim))]]
        rows += [["margin", typeset(table.within(claim))]]
    note = entry["verdict"] if summary["low"] is not None else f"{entry['verdict']}; no interval"
    return Chart(claim.of, figure.svg, note, ["", "value"], rows, entry["measured"])


def _described(claim: Claim, entry: Mapping[str, Any], values: Sequence[tuple[str, float]]) -> str:
    """Describe a chart in a sentence, for screen readers."""
    each = ", ".join(f"{seed} {table.number(value)}" for seed, value in values)
    paper = f"the paper {table.claimed(claim)}; agrees within {table.within(claim)}; "
    return (
        f"{claim.of}: {each}; mean and interval {table.measured(entry)} in all; "
        f"{paper if table.compared(entry) else ''}{entry['verdict']}."
    )


def _series(name: str, found: Baseline, result: Result | None, runs: Path) -> list[Series]:
    """Return the newest samples of each arm's first seed, if its run exists."""
    if isinstance(found.recipe, Exact):
        return []
    budgets = [result["budget"]] if result is not None else list(reversed(REAL))
    for budget in budgets:
        seeds = len(result["seeds"]) if result is not None else found.seeds[budget]
        runs_folder = runs / f"{name}-{budget}" / sweeps.RUNS
        if not runs_folder.is_dir():
            continue
        members = running.members(found.recipe, budget, seeds)
        made = []
        for arm in found.recipe.arms:
            samples = folders.pictures(runs_folder / members[arm, 0].run / "samples")
            if samples:
                step = max(samples)
                made.append(Series(f"{name}:{budget}:{arm}", "samples", {step: samples[step]}))
        return made
    return []


def _pictures(name: str, selection: Selection) -> list[dict[str, Any]]:
    made = []
    for each in selection.series:
        baseline, budget, arm = each.name.split(":", 2)
        if baseline != name:
            continue
        factor = max(1, TARGET[True] // each.width)
        caption = f"{arm}, seed 0, budget {budget}, after step {shown(each.steps[-1])}"
        made.append(
            {
                "uri": each.uris[-1],
                "width": each.width * factor,
                "height": each.height * factor,
                "smooth": each.width > TARGET[True],
                "alt": f"Samples of {name}: {caption}",
                "caption": caption,
            }
        )
    return made
