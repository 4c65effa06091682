"""CPU time that a folder's runs have cost, a line for each piece of work."""

import contextlib
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from latentgen.storage import log, workdir

SPENT = "spent.jsonl"


@contextlib.contextmanager
def spending(place: Path) -> Iterator[None]:
    """Add the CPU seconds spent inside, of this process and its children, to the folder's."""
    began, before = time.perf_counter(), _cpu_seconds()
    try:
        yield
    finally:
        line = {
            "cpu_seconds": round(_cpu_seconds() - before, 1),
            "seconds": round(time.perf_counter() - began, 1),
        }
        workdir.append_json(place / SPENT, line)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def total(place: Path) -> dict[str, float]:
    """CPU seconds and seconds of all commands that worked in this folder, and jobs beside them."""
    lines = log.read(place / SPENT)
    return {
        key: round(sum(line.get(key, 0) for line in lines), 1)
        for key in ("cpu_seconds", "seconds", "jobs")
    }


def jobs(place: Path, count: int) -> None:
    """Add jobs of a cluster, whose time is not known here."""
    workdir.append_json(place / SPENT, {"jobs": count})


def forget(place: Path) -> None:
    """Begin anew."""
    (place / SPENT).unlink(missing_ok=True)
