"""Processes that convert the pieces of a work folder; one that dies is replaced."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import latentgen
from latentgen.data.pictures import pieces
from latentgen.data.pictures.entries import Reader
from latentgen.data.pictures.worker import EXIT_IO, note_file

POLL = 0.05
"""Seconds between two looks at the processes."""
CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT} | {
    signal.SIGKILL  # by a system that has run out of memory
}


def here(work: Path, missing: list[int], progress: Callable[[int], None]) -> None:
    """Make the missing pieces in this process.

    Args:
        progress: called with the number of finished pieces among them.
    """
    job = pieces.read_job(work)
    with Reader(job.where, job.kind) as reader:
        for done, number in enumerate(missing):
            progress(done)
            pieces.make(work, number, reader, job.options, lambda position: None)
    progress(len(missing))


def elsewhere(
    work: Path, missing: list[int], workers: int, progress: Callable[[int], None]
) -> None:
    """Make the missing pieces in `workers` processes.

    Raises:
        OSError: one of them cannot read or write a file.
        RuntimeError: one of them fails otherwise.
    """
    left = set(missing)
    running = {w: _start(work, w) for w in range(workers)}
    try:
        while running:
            time.sleep(POLL)
            for w, process in list(running.items()):
                if (code := process.poll()) is None:
                    continue
                del running[w]
                if code != 0:
                    _check(work, w, code, process)
                    running[w] = _start(work, w, "careful")
            left -= {number for number in left if pieces.is_done(work, number)}
            progress(len(missing) - len(left))
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    if left:
        raise RuntimeError(f"workers ended without {len(left)} pieces in {work}")


def _start(work: Path, worker: int, *how: str) -> subprocess.Popen:
    note_file(work, worker).unlink(missing_ok=True)
    package = str(Path(latentgen.__file__).parents[1])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    # -P: modules in the current folder are not imported.
    command = [sys.executable, "-P", "-m", "latentgen.data.pictures.worker"]
    with open(_errors(work, worker), "wb") as errors:
        return subprocess.Popen(
            [*command, str(work / pieces.JOB), str(worker), *how],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        )


def _errors(work: Path, worker: int) -> Path:
    return work / f"worker_{worker}.txt"


def _check(work: Path, worker: int, code: int, process: subprocess.Popen) -> None:
    """Note the entry that ended a worker; raise if the worker ended for another reason."""
    note = note_file(work, worker)
    if -code in CRASHES and note.exists():
        number, position = pieces.read_json(note)
        reason = f"the decoder ended with signal {-code}"
        pieces.add_fatal(work, number, position, reason)
        return
    careful = isinstance(process.args, list) and process.args[-1] == "careful"
    if -code in CRASHES and not careful:
        return
    lines = _errors(work, worker).read_text(errors="replace").splitlines()
    if code == EXIT_IO and len(lines) >= 2:
        raise OSError(int(lines[-2]), os.strerror(int(lines[-2])), lines[-1])
    raise RuntimeError(f"a worker ended with code {code}: {lines[-1] if lines else ''}")
