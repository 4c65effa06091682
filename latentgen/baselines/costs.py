"""CPU time spent on the runs of a folder, a line for each piece of work."""

import contextlib
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from latentgen.storage import log, workdir

SPENT = "spent.jsonl"


@contextlib.contextmanager
def spending(folder: Path) -> Iterator[None]:
    """Record the CPU seconds that this process and its children spend within the context."""
    start, before = time.perf_counter(), _cpu_seconds()
    try:
        yield
    finally:
        line = {
            "cpu_seconds": round(_cpu_seconds() - before, 1),
            "seconds": round(time.perf_counter() - start, 1),
        }
        workdir.append_json(folder / SPENT, line)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def total(folder: Path) -> dict[str, float]:
    """Return the total CPU seconds, seconds and number of jobs of a folder."""
    lines = log.read(folder / SPENT)
    return {
        key: round(sum(line.get(key, 0) for line in lines), 1)
        for key in ("cpu_seconds", "seconds", "jobs")
    }


def jobs(folder: Path, count: int) -> None:
    """Record jobs of a cluster, whose CPU time is not known."""
    workdir.append_json(folder / SPENT, {"jobs": count})


def forget(folder: Path) -> None:
    """Delete the recorded times."""
    (folder / SPENT).unlink(missing_ok=True)
