"""The status of a run in its folder: status.json, replaced atomically."""

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
TAIL = 100_000  # bytes at the end of a log in which its last line is searched
BEAT = 15.0  # seconds between two heartbeats

RUNNING, DONE, DIVERGED, FAILED = "running", "done", "diverged", "failed"
PENDING, PREEMPTED = "pending", "preempted"


class Status(NamedTuple):
    """The content of status.json.

    status: running, done, diverged, failed, or preempted by a signal
    reason: the reason for its end, in a line
    attempts: how often it was started
    since, beat: start of this attempt and last heartbeat, in seconds since 1970
    """

    status: str
    reason: str | None
    attempts: int
    host: str
    pid: int
    job: str | None
    since: float
    beat: float


STOPPING = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals by which a process is stopped; others tell of its own fault."""

KINDS: tuple[tuple[str, Any], ...] = (
    *(("status", str), ("reason", str | None), ("attempts", int), ("host", str), ("pid", int)),
    *(("job", str | None), ("since", int | float), ("beat", int | float)),
)
"""Types of the fields, which `read` checks because the folder may not be trusted."""


def read(folder: Path) -> Status | None:
    """Read the folder's status; None if it is missing or unreadable."""
    try:
        found = workdir.read_json(folder / STATUS)
        read = Status(**{name: found[name] for name in Status._fields})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return read if all(isinstance(getattr(read, name), kind) for name, kind in KINDS) else None


def job() -> str | None:
    """Return the Slurm job of this process, 'array_task' in an array; None outside Slurm."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}") for name in ("JOB_ID", "TASK_ID"))
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")


def blame(folder: Path, code: int, log: Path) -> None:
    """Write the status of a run whose process ended without writing it.

    A run that a signal of `STOPPING` ended, sent by a user, a queue or for lack of memory, is
    preempted: the same command continues it. Any other run has failed. Nothing is written if the
    process has written its status, or if another process holds the folder.

    Args:
        folder: the run's folder.
        code: exit code of its process; -n if signal n killed it, 128 + n if it ended at signal n.
        log: file with the output of the process.
    """
    with contextlib.suppress(BadInput), workdir.lock(folder):
        current = read(folder)
        if current is not None and current.status not in (RUNNING, DONE):
            return
        message = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        last = _last_line(log)
        StatusWriter(folder, attempt=current is None).end(
            PREEMPTED if {-code, code - 128} & {*STOPPING} else FAILED,
            f"{message}: {last}" if last else message,
        )


LOST = "its process was killed before it could say why, as where memory runs out"
"""The reason given for a run with status `RUNNING` whose folder no process holds."""


def _last_line(log: Path) -> str:
    try:
        with workdir.opened(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""


class StatusWriter:
    """A writer of a run's status, for the process that holds the folder's lock.

    Attributes:
        before: the status before this attempt.
    """

    def __init__(self, folder: Path, attempt: bool = True):
        self.before, now = read(folder), time.time()
        attempts = attempt + (self.before.attempts if self.before else 0)
        host, pid = socket.gethostname(), os.getpid()
        self._folder = folder
        self._status = Status(
            status=RUNNING,
            reason=None,
            attempts=attempts,
            host=host,
            pid=pid,
            job=job(),
            since=now,
            beat=now,
        )
        self._write()

    def _write(self) -> None:
        fields: dict[str, Any] = self._status._asdict()
        workdir.write_json(self._folder / STATUS, fields)

    def beat(self) -> None:
        """Write a heartbeat, at most once in BEAT seconds."""
        if (now := time.time()) - self._status.beat >= BEAT:
            self._status = self._status._replace(beat=now)
            self._write()

    def undo(self) -> None:
        """Restore what was there before this attempt."""
        if self.before is None:
            (self._folder / STATUS).unlink(missing_ok=True)
        else:
            self._status = self.before
            self._write()

    def end(self, status: str, reason: str | None = None) -> None:
        """Write the final status of this attempt."""
        self._status = self._status._replace(status=status, reason=reason, beat=time.time())
        self._write()
