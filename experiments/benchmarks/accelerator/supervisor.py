"""The parts one after the other, each in processes that are killed at its limit."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmarks.accelerator.parts import DRY_TOTAL, PARTS, SHARED, TOTAL, Part
from experiments.benchmarks.accelerator.results import Results, write

POLL = 0.2  # seconds
GRACE = 5.0  # seconds for a process to end
FAST = "--xla_backend_optimization_level=0"
"""For XLA in a dry run, which compiles for longer than it computes."""

LEAST = 10.0  # seconds that a part is worth starting with

Command = Callable[[str], list[str]]


class Job(NamedTuple):
    """A call of the command: which parts, into which file.

    command: part -> the command line of its process, without the options of `child`.
    """

    path: Path
    dry: bool
    parts: Mapping[str, Part] = PARTS
    environment: Mapping[str, str] = {}
    command: Command = lambda part: [
        *(sys.executable, "-m", "experiments.benchmarks.accelerator.child", part)
    ]


def run(job: Job, results: Results, chosen: Sequence[str], say: Callable[[str], None]) -> None:
    """Run the chosen parts that are not finished; the file is written after each item."""
    began = time.monotonic()
    total = DRY_TOTAL if job.dry else TOTAL
    for name in chosen:
        part = job.parts[name]
        if results["parts"].get(name, {}).get("state") == "finished":
            say(f"{name}: finished by an earlier call")
            continue
        left = total - (time.monotonic() - began)
        own = part.dry_seconds if job.dry else part.seconds
        limit = left if own is None else min(own, left)
        if limit < LEAST:
            say(f"{name}: no time left; run the command again to go on")
            results["parts"].setdefault(name, _empty(limit))
        else:
            say(f"{name}: {part.what}, at most {limit:.0f} s")
            one(job, results, name, limit, say)
        write(job.path, results)


def one(
    job: Job, results: Results, name: str, limit: float, say: Callable[[str], None] = lambda _: None
) -> None:
    """Run one part; a process that breaks down is started again without the item that broke it."""
    found = results["parts"].setdefault(name, _empty(limit))
    found.update(limit=limit, state="running")
    found.pop("error", None)
    write(job.path, results)
    began = time.monotonic()
    skip: list[str] = []
    while (left := limit - (time.monotonic() - began)) > 0:
        with tempfile.TemporaryDirectory() as folder:
            rows = Path(folder, "rows.jsonl")
            rows.touch()
            broken = _attempt(job, results, name, Attempt(rows, left, tuple(skip)), say)
        if broken is None:
            break
        skip.append(broken)
    found["seconds"] = round(found.get("seconds", 0.0) + time.monotonic() - began, 1)
    found["left"] = [i["name"] for i in found["items"] if i["name"] not in found["done"]]
    errors = "error" in found or any("error" in item for item in found["done"].values())
    found["state"] = "failed" if errors else "cut" if found["left"] else "finished"
    if not found["items"]:
        found["state"] = "failed"


def _empty(limit: float) -> dict[str, Any]:
    return {"state": "cut", "limit": limit, "seconds": 0.0, "items": [], "done": {}}


class Attempt(NamedTuple):
    """A process for a part: where it writes, its seconds, and the items it leaves out."""

    rows: Path
    seconds: float
    skip: tuple[str, ...]


def _attempt(
    job: Job, results: Results, name: str, attempt: Attempt, say: Callable[[str], None]
) -> str | None:
    """Run a process to its end or its limit; returns the item that broke it, if one did."""
    arguments = ["--rows", str(attempt.rows), "--json", str(job.path)]
    arguments += ["--seconds", str(attempt.seconds), *(["--dry"] if job.dry else [])]
    arguments += ["--skip", *attempt.skip] if attempt.skip else []
    errors = attempt.rows.with_name("stderr")
    reader = _Reader(attempt.rows, results["parts"][name], say)
    with errors.open("w") as stderr, _process(job, name, arguments, stderr) as process:
        end = time.monotonic() + attempt.seconds
        while process.poll() is None and time.monotonic() < end:
            time.sleep(POLL)
            if reader.read():
                write(job.path, results)
        in_time = process.poll() is not None
    reader.read()
    write(job.path, results)
    if reader.ended or not in_time:
        return None
    tail = "\n".join(errors.read_text(errors="replace").splitlines()[-20:])
    message = f"{tail}\nthe process ended with {process.returncode}"
    if reader.began is None:
        results["parts"][name]["error"] = message
        return None
    results["parts"][name]["done"][reader.began] = {"error": message}
    return reader.began


@contextlib.contextmanager
def _process(
    job: Job, name: str, arguments: list[str], stderr: Any
) -> Iterator[subprocess.Popen[str]]:
    """A process and all that it starts, in a session of its own, which is killed in the end."""
    extra = dict(job.parts[name].environment)
    flags = [os.environ.get("XLA_FLAGS", ""), extra.get("XLA_FLAGS", ""), FAST if job.dry else ""]
    extra["XLA_FLAGS"] = " ".join(filter(None, flags))
    process = subprocess.Popen(
        [*job.command(name), *arguments],
        env={**os.environ, **SHARED, **job.environment, **extra},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(GRACE)


class _Reader:
    """Takes over what a part's process has written since the last look."""

    def __init__(self, rows: Path, found: dict[str, Any], say: Callable[[str], None]) -> None:
        self._rows, self._found, self._say, self._at = rows, found, say, 0
        self.began: str | None = None
        self.ended = False

    def read(self) -> bool:
        """Read whole lines; returns whether there were some."""
        with self._rows.open("rb") as file:
            file.seek(self._at)
            new = file.read()
        new = new[: new.rfind(b"\n") + 1]  # a line may be half written
        self._at += len(new)
        for line in new.splitlines():
            self._take(json.loads(line))
        return bool(new)

    def _take(self, line: dict[str, Any]) -> None:
        if "items" in line:
            self._found["items"] = line["items"]
        elif "began" in line:
            self.began = line["began"]
        elif line.get("end"):
            self.ended = True
        else:
            name = line.pop("name")
            self._found["done"][name] = line
            self.began = None
            self._say(f"  {name}: {shown(line)}")


def shown(done: dict[str, Any]) -> str:
    """An item's outcome in a line."""
    if error := done.get("error"):
        return f"ERROR {error.strip().splitlines()[-1]}"
    rows, seconds = done["rows"], f"{done['seconds']:.0f} s"
    checks = [row["ok"] for row in rows if "ok" in row]
    if checks and not all(checks):
        return f"FAILED, {seconds}"
    return f"{'ok, ' if checks else ''}{seconds}"
