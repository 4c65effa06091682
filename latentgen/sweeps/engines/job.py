"""What runs inside a job of Slurm: imports little, as it stays beside the worker all the time."""

import os
import signal
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from latentgen.storage import status, workdir
from latentgen.sweeps.engines import commands

if TYPE_CHECKING:
    from submitit.core.utils import DelayedSubmission

STOPPED = 128 + signal.SIGTERM
"""The exit code of a worker that was told to stop, whether or not it was far enough to save."""


class Work:
    """The callable that runs inside a job: starts the worker and waits for it.

    Slurm signals every process of a job. On SIGTERM (cancelled, requeued or preempted) the worker
    saves and ends by itself, and this waits for it. SIGUSR2 (the time limit is near) is for this
    process alone: submitit calls `checkpoint`, then requeues the job.

    Args:
        argv: the worker's command.
        log: gets all that it prints.
    """

    def __init__(self, argv: Sequence[str], log: Path) -> None:
        self.argv, self.log = list(argv), log
        self._worker: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def __call__(self) -> None:
        """End this process with the worker's exit code: Slurm sees what failed."""
        signal.signal(signal.SIGTERM, self._note)
        # Blocked in the worker for good, which has no handler for it and would die; here only
        # until the worker is known, so that none is lost.
        old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        with workdir.opened(self.log, "ab") as log:
            self._worker = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        code = _wait(self._worker)
        if code == 0:
            return
        if _exit_code(code) != STOPPED:
            self._fail(code)
        if self._stopping:
            _requeue_if_running()
        sys.exit(STOPPED)

    def checkpoint(self) -> "DelayedSubmission":
        """Make the worker save and end; return what to run when the job starts again."""
        from submitit.core.utils import DelayedSubmission

        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        if self._worker is not None:
            if not self._stopping:
                self._worker.terminate()
            code = _wait(self._worker)
            if code == 0:  # it came to its own end first: nothing to requeue
                sys.exit(0)
            if _exit_code(code) != STOPPED:
                self._fail(code)
        return DelayedSubmission(Work(self.argv, self.log))

    def _fail(self, code: int) -> NoReturn:
        status.blame(self.log.parent, code, self.log)
        sys.exit(_exit_code(code))

    def _note(self, signum: int, frame: types.FrameType | None) -> None:
        self._stopping = True


def _wait(worker: subprocess.Popen[bytes]) -> int:
    """The worker's exit code, once it has one; -n where signal n killed it.

    It is not reaped: a signal handler may wait here while `__call__` does, where Popen.wait would
    block for ever.
    """
    # macOS, where no Slurm runs, has no waitid before Python 3.13.
    end = os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # type: ignore[attr-defined, unused-ignore]
    assert end is not None
    code = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
    worker.returncode = code  # else it complains when it is collected
    return code


def _exit_code(code: int) -> int:
    return code if code >= 0 else 128 - code


def _requeue_if_running() -> None:
    """Put this job back that was told to stop while Slurm counts it as running.

    That is a preemption with a GraceTime: Slurm would requeue a job that had to be killed at the
    end of it, but takes one that ends by itself for finished. A cancelled or requeued job is no
    longer running by the time it gets its SIGTERM.
    """
    from submitit import JobEnvironment

    job = JobEnvironment().job_id  # with its place in the array: SLURM_JOB_ID may mean all of it
    if commands.call("squeue", "--noheader", "--format=%T", f"--jobs={job}").strip() == "RUNNING":
        commands.call("scontrol", "requeue", job)
