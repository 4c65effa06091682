"""The table of cards in the documents, written from the JSON of real runs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from experiments.benchmarks.accelerator import results
from latentgen.core.errors import BadInput

BEGIN = "<!-- accelerator: written by `python -m experiments.benchmarks.accelerator --table` -->"
END = "<!-- accelerator: end -->"
COMMAND = "make accelerator"
HEADER = (
    "| network | batch | precision | steps/s | of the card's peak | "
    "PyTorch eager takes | compiled takes |",
    "|---|---|---|---|---|---|---|",
)


def update(document: Path, cards: Path = results.CARDS) -> None:
    """Replace what stands between the markers of the document.

    Raises:
        BadInput: the document has no markers, or a card's file is of a dry run.
    """
    try:
        text = document.read_text()
        before, rest = text.split(BEGIN)
        _, after = rest.split(END)
    except (OSError, ValueError) as error:
        raise BadInput(f"--table={document} must hold {BEGIN!r} and {END!r} once.") from error
    new = f"{before}{BEGIN}\n{written(load(cards))}\n{END}{after}"
    document.write_text(new)


def load(cards: Path) -> list[results.Results]:
    """The results of all cards, by name.

    Raises:
        BadInput: one of them is of a dry run.
    """
    found = [results.read(path) for path in sorted(cards.glob("*.json"))]
    for path, each in zip(sorted(cards.glob("*.json")), found, strict=True):
        if each["dry"]:
            raise BadInput(f"{path} holds figures of a dry run, which do not belong among cards.")
    return found


def written(cards: Iterable[results.Results]) -> str:
    """Markdown for all cards."""
    sections = [_card(each) for each in cards]
    if not sections:
        return f"Not yet run on a GPU: `{COMMAND}` does it on a machine that has one."
    return "\n\n".join(sections)


def _card(found: results.Results) -> str:
    card, versions = found["card"], found["versions"]
    names = ", ".join(f"{name} {versions[name]}" for name in ("jax", "torch") if name in versions)
    lines = [
        f"**{card['name']}** (driver {card.get('driver', 'unknown')}; {names}; "
        f"{found['date'][:10]})",
        "",
        *_checks(found),
    ]
    speed = [row for row in results.rows(found, ["speed"]) if "steps_per_second" in row]
    if speed:
        lines += ["", *HEADER, *map(_speed, speed)]
    lines += _populations(found) + _recipe(found) + _profiles(found) + _transposed(found)
    return "\n".join(lines)


def _checks(found: results.Results) -> list[str]:
    part = found["parts"].get("correct")
    if part is None:
        return ["Checks: not run."]
    if failed := results.problems("correct", part):
        return ["Checks that do not hold:", "", *(f"- {line}" for line in failed)]
    count = sum("ok" in row for row in results.rows(found, ["correct"]))
    return [f"All {count} checks hold."]


def _speed(row: dict[str, Any]) -> str:
    def ratio(way: str) -> str:
        found = row.get("ratios", {}).get(way)
        return "-" if found is None else f"{found:.2f} times as long"

    share = row.get("share_of_peak")
    return (
        f"| {row['work']} | {row['batch']:,} | {row['precision']} | "
        f"{row['steps_per_second']:,.0f} | {'-' if share is None else f'{share:.0%}'} | "
        f"{ratio('PyTorch')} | {ratio('PyTorch, compiled')} |"
    )


def _populations(found: results.Results) -> list[str]:
    rows = results.rows(found, ["populations"])
    if not rows:
        return []
    said = [f"{r['work']}, {r['seeds']} seeds: {r['images_per_second']:,.0f}" for r in rows]
    return ["", f"Images/s of populations: {'; '.join(said)}."]


def _recipe(found: results.Results) -> list[str]:
    rows = [r for r in results.rows(found, ["recipe"]) if "gpu_hours" in r]
    return [
        line
        for r in rows
        for line in (
            "",
            f"{r['recipe']}: {r['steps_per_second']:.1f} steps/s, so that its "
            f"{r['recipe_steps']:,} steps take {r['gpu_hours']:.1f} GPU-hours.",
        )
    ]


def _profiles(found: results.Results) -> list[str]:
    rows = [row for row in results.rows(found, ["profile"]) if "kernels_per_step" in row]
    return [line for row in rows for line in ("", _profile(row))]


def _profile(row: dict[str, Any]) -> str:
    seconds = row["seconds_per_step"]
    total = sum(seconds.values())
    kinds = [f"{kind} {value / total:.0%}" for kind, value in seconds.items() if value]
    longest = row["longest"][0]
    return (
        f"A step of {row['work']} ({row['batch']} images, {row['precision']}) runs "
        f"{row['kernels_per_step']:.0f} kernels: {', '.join(kinds)}. The longest is "
        f"`{longest['kernel'][:100]}`."
    )


def _transposed(found: results.Results) -> list[str]:
    rows = [row for row in results.rows(found, ["profile"]) if "layer" in row]
    if not rows:
        return []
    ending = ", both: seconds"
    forms = list(dict.fromkeys(k.removesuffix(ending) for r in rows for k in r if ending in k))
    header = "| a transposed convolution and its gradients, microseconds | precision | "
    lines = ["", header + " | ".join(forms) + " |", "|---" * (2 + len(forms)) + "|"]
    for row in rows:
        found_times = [row.get(f"{form}{ending}") for form in forms]
        times = ["-" if t is None else f"{1e6 * t:,.0f}" for t in found_times]
        lines.append(f"| {row['layer']} | {row['precision']} | {' | '.join(times)} |")
    return lines
