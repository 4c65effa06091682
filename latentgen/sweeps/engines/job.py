"""The process of a Slurm job, which starts the worker and waits for it; it imports little."""

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
"""The exit code of a worker that was terminated, whether or not it has saved a checkpoint."""


class Work:
    """The callable of a job, which starts the worker and waits for it.

    Slurm signals every process of a job. On SIGTERM (cancelled, requeued or preempted) the worker
    saves and ends by itself. SIGUSR2 (close to the time limit) is handled by this process only:
    submitit calls `checkpoint`, then requeues the job.

    Args:
        argv: the worker's command.
        log: file for the output of the worker.
    """

    def __init__(self, argv: Sequence[str], log: Path) -> None:
        self.argv, self.log = list(argv), log
        self._worker: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def __call__(self) -> None:
        """Run the worker, and end this process with its exit code, which Slurm records."""
        signal.signal(signal.SIGTERM, self._note)
        # The worker inherits the blocked signal, for which it has no handler. This process blocks
        # it only until the worker has started, so that no signal is lost.
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
        """Make the worker save and end; return the callable of the requeued job."""
        from submitit.core.utils import DelayedSubmission

        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        if self._worker is not None:
            if not self._stopping:
                self._worker.terminate()
            code = _wait(self._worker)
            if code == 0:  # it has finished: nothing to requeue
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
    """Wait for the worker; return its exit code, or -n if signal n killed it.

    The worker is not reaped, because a signal handler may call this while `__call__` waits as
    well, in which case Popen.wait would block forever.
    """
    # macOS, where no Slurm runs, has no waitid before Python 3.13.
    result = os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)  # type: ignore[attr-defined, unused-ignore]
    assert result is not None
    code = result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
    worker.returncode = code  # otherwise Popen warns when it is deleted
    return code


def _exit_code(code: int) -> int:
    return code if code >= 0 else 128 - code


def _requeue_if_running() -> None:
    """Requeue this job if it got SIGTERM while Slurm counts it as running.

    This happens at a preemption with GraceTime. Slurm requeues a job that it kills at the end of
    that time, but takes a job that ends by itself for completed. A cancelled or requeued job is
    not counted as running any more when it gets SIGTERM.
    """
    from submitit import JobEnvironment

    job = JobEnvironment().job_id  # with its array index: SLURM_JOB_ID may name the whole array
    if commands.call("squeue", "--noheader", "--format=%T", f"--jobs={job}").strip() == "RUNNING":
        commands.call("scontrol", "requeue", job)
