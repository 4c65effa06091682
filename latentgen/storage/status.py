"""Where a run stands, for whoever looks at its folder: status.json, replaced whole each time."""

import contextlib
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any, NamedTuple

from latentgen.core.errors import BadInput
from latentgen.storage import workdir

STATUS = "status.json"
TAIL = 100_000  # bytes of a log in which its last line is looked for
BEAT = 15.0  # seconds between two signs of life

RUNNING, DONE, DIVERGED, FAILED = "running", "done", "diverged", "failed"
PENDING, PREEMPTED = "pending", "preempted"


class Status(NamedTuple):
    """The content of status.json.

    status: running, done, diverged, failed, or preempted by a signal
    reason: why it ended, in a line
    attempts: how often it was started
    since, beat: when this attempt began, its last sign of life; seconds since 1970
    """

    status: str
    reason: str | None
    attempts: int
    host: str
    pid: int
    job: str | None
    since: float
    beat: float


KINDS: tuple[tuple[str, Any], ...] = (
    *(("status", str), ("reason", str | None), ("attempts", int), ("host", str), ("pid", int)),
    *(("job", str | None), ("since", int | float), ("beat", int | float)),
)
"""What status.json holds by name: it may be anybody's."""


def read(folder: Path) -> Status | None:
    """Read the folder's status; None if it is missing or unreadable."""
    try:
        found = workdir.read_json(folder / STATUS)
        read = Status(**{name: found[name] for name in Status._fields})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return read if all(isinstance(getattr(read, name), kind) for name, kind in KINDS) else None


def job() -> str | None:
    """The batch job that this process belongs to, 'array_task' in an array."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}") for name in ("JOB_ID", "TASK_ID"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def blame(folder: Path, code: int, log: Path) -> None:
    """Say how a run ended whose process could not say so itself.

    A run that was killed with SIGKILL, by a person or for want of memory, is preempted: the same
    command continues it. Any other has failed. Nothing is said where the process has done so, or
    where another one holds the folder.

    Args:
        folder: the run's.
        code: with which its process ended; -n where signal n killed it.
        log: what it printed.
    """
    with contextlib.suppress(BadInput), workdir.lock(folder):
        now = read(folder)
        if now is not None and now.status not in (RUNNING, DONE):
            return
        said = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        last = _last_line(log)
        StatusWriter(folder, attempt=now is None).end(
            PREEMPTED if code == -signal.SIGKILL else FAILED, f"{said}: {last}" if last else said
        )


LOST = "its process was killed before it could say why, as where memory runs out"
"""What there is to say of a run that stands at `RUNNING` while nothing holds its folder."""


def _last_line(log: Path) -> str:
    try:
        with workdir.opened(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""


class StatusWriter:
    """Tells the folder that its run is alive, and how it ended; for who holds the folder.

    before: what it said last
    """

    def __init__(self, folder: Path, attempt: bool = True):
        self.before, now = read(folder), time.time()
        attempts = attempt + (self.before.attempts if self.before else 0)
        host, pid = socket.gethostname(), os.getpid()
        self._folder = folder
        self._said = Status(RUNNING, None, attempts, host, pid, job(), now, now)
        self._write()

    def _write(self) -> None:
        said: dict[str, Any] = self._said._asdict()
        workdir.write_json(self._folder / STATUS, said)

    def beat(self) -> None:
        """A sign of life, at most one in BEAT seconds."""
        if (now := time.time()) - self._said.beat >= BEAT:
            self._said = self._said._replace(beat=now)
            self._write()

    def end(self, status: str, reason: str | None = None) -> None:
        """Write how this attempt ended."""
        self._said = self._said._replace(status=status, reason=reason, beat=time.time())
        self._write()
