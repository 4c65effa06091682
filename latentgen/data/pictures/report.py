"""Text of a prepared set's report."""

from collections.abc import Mapping
from typing import Any

from latentgen.data.pictures.entries import shown

NAMES, CLASSES = 10, 20
"""Most names that are printed for a reason, and most classes."""


def lines(report: Mapping[str, Any]) -> list[str]:
    """Return the lines of a table of the report of `prepare`."""
    found = [_line("seen", report["seen"]), _line("taken", report["taken"])]
    for split, n in report["splits"].items():
        found.append(_line(f"  {split}", n))
    found.append(_line("refused", len(report["refused"])))
    reasons: dict[str, list[str]] = {}
    for name, reason in report["refused"].items():
        reasons.setdefault(reason, []).append(shown(name))
    for reason, names in sorted(reasons.items(), key=lambda each: -len(each[1])):
        found.append(_line(f"  {reason}", len(names)))
        found += [f"    {name}" for name in names[:NAMES]]
        if len(names) > NAMES:
            found.append(f"    and {len(names) - NAMES} more")
    found.append(_line("ignored files", report["ignored"]))
    found.append(_line("duplicates", report["duplicates"]))
    if report["in_two_splits"]:
        found.append(_line("left out: in a later split", report["in_two_splits"]))
    for side in ("width", "height"):
        found.append(_line(side, "min {}, median {}, max {}".format(*report[side])))
    return found + _classes(report["classes"])


def _line(name: str, value: object) -> str:
    return f"{name:<28} {value}"


def _classes(counts: Mapping[str, int]) -> list[str]:
    found = [_line("classes", len(counts))]
    found += [_line(f"  {shown(name)}", n) for name, n in list(counts.items())[:CLASSES]]
    if len(counts) > CLASSES:
        found.append(f"  and {len(counts) - CLASSES} more")
    return found
