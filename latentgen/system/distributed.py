"""Processes that train one run together: how they find each other, agree, and miss a dead one.

The first process is the one that writes and prints. What it does alone, such as opening a folder,
all learn the outcome of: none may wait for a peer that has given up.
"""

import contextlib
import ctypes
import ipaddress
import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from latentgen.core.errors import BadInput, Diverged
from latentgen.system import watchdog
from latentgen.system.signals import note_signals

HEARTBEAT, STUCK = 30, 300.0  # seconds
LONGEST = 2_000  # bytes of what processes tell each other at a time


class RemoteProcessError(Exception):
    """Another process has failed, and says why; this one ends with it.

    kind: the name of the error's class.
    """

    def __init__(self, kind: str, said: str):
        super().__init__(said)
        self.kind = kind


class PeerLost(Exception):
    """A peer does not answer any more; a start of all of them continues."""


class ProcessGroup(NamedTuple):
    """The processes of a run, as set by the user; None: detected by JAX, or a single process."""

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    heartbeat: int = HEARTBEAT


def join(group: ProcessGroup) -> None:
    """Meet the other processes, where there are any; before anything asks JAX for its devices.

    Under `srun` with more than one task, and on several hosts of a TPU pod, JAX knows where the
    others are. From here on SIGTERM is JAX's, see `signals`.

    Raises:
        BadInput: some of the flags are missing, or do not fit each other.
    """
    given_flags = {
        "--coordinator": group.coordinator,
        "--num_processes": group.num_processes,
        "--process_id": group.process_id,
    }
    missing = [name for name, value in given_flags.items() if value is None]
    if len(missing) == len(given_flags) and not _launched():
        return
    if missing and len(missing) < len(given_flags):
        given = ", ".join(name for name in given_flags if name not in missing)
        raise BadInput(f"{given} needs {' and '.join(missing)}: name all three, or none.")
    if not missing:
        _check(group)
        if group.num_processes == 1:
            return
    exit_75_instead_of_abort(lambda: "a peer does not answer; the same command tries again.")
    jax.distributed.initialize(
        group.coordinator,
        group.num_processes,
        group.process_id,
        coordinator_bind_address=_listens(group.coordinator),
        heartbeat_timeout_seconds=group.heartbeat,
        shutdown_timeout_seconds=group.heartbeat,
    )


def _listens(coordinator: str | None) -> str | None:
    """Return the address to bind where only this machine need reach it; None for JAX's default.

    JAX's default is every interface, also for processes that are all on this machine.
    """
    host = str(coordinator).rpartition(":")[0].strip("[]")
    try:
        near = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        near = False
    return coordinator if near else None


def _check(group: ProcessGroup) -> None:
    host, _, port = str(group.coordinator).rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise BadInput(f"--coordinator={group.coordinator!r} must be HOST:PORT.")
    assert group.num_processes is not None
    assert group.process_id is not None
    if group.num_processes < 1:
        raise BadInput(f"--num_processes={group.num_processes} must be at least 1.")
    if not 0 <= group.process_id < group.num_processes:
        raise BadInput(
            f"--process_id={group.process_id} must be from 0 to {group.num_processes - 1}, below "
            f"--num_processes={group.num_processes}."
        )


def _launched() -> bool:
    """Return whether a launcher has started several processes: srun, or a TPU pod's."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")  # srun sets it, a batch script has none
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
    return (tasks.isdecimal() and int(tasks) > 1) or len(hosts) > 1


def is_multi_process() -> bool:
    """Return whether more than one process trains; with a single one, touch no device."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_process_zero() -> bool:
    """Return whether this is the process that writes and prints."""
    return not is_multi_process() or jax.process_index() == 0


def _all_gather_json(word: Any) -> list[Any]:
    """Gather `word` from every process, in their order; all must call this."""
    said = json.dumps(word).encode()
    padded = np.zeros(LONGEST, np.uint8)
    padded[: len(said)] = np.frombuffer(said, np.uint8)
    every = np.asarray(multihost_utils.process_allgather(padded)).reshape(-1, LONGEST)
    return [json.loads(row.tobytes().rstrip(b"\0")) for row in every]


def _outcome(call: Callable[[], Any]) -> tuple[Any, Exception | None, dict[str, Any]]:
    try:
        return call(), None, {}
    except Exception as error:
        if is_peer_lost(error):
            raise
        kind = "OSError" if isinstance(error, OSError) else type(error).__name__
        failure: dict[str, Any] = {"kind": kind, "said": str(error)[: LONGEST // 8]}
        if isinstance(error, Diverged):
            failure |= {"first": error.first, "last": error.last}
        return None, error, failure


def _raise(failure: dict[str, Any]) -> None:
    if "first" in failure:
        raise Diverged(failure["first"], failure["last"], failure["said"])
    raise RemoteProcessError(failure["kind"], failure["said"])


def on_process_zero(call: Callable[[], Any]) -> Any:
    """call() by the first process; all wait for it. Its error is everyone's.

    Returns:
        What it returned, None in the other processes.

    Raises:
        Elsewhere: it failed, and this is another process; a Diverged stays one.
    """
    if not is_multi_process():
        return call()
    value, error, failure = _outcome(call) if is_process_zero() else (None, None, {})
    if error is None and (failure := _all_gather_json(failure)[0]):
        _raise(failure)
    if error is not None:
        _all_gather_json(failure)
        raise error
    return value


def on_all_processes(call: Callable[[], Any]) -> Any:
    """call() by each process, which returns where it succeeds in all of them.

    Raises:
        Elsewhere: it failed in another process only.
    """
    if not is_multi_process():
        return call()
    value, error, failure = _outcome(call)
    every = _all_gather_json(failure)
    if error is not None:
        raise error
    for failure in every:
        if failure:
            _raise(failure)
    return value


def broadcast_from_zero(word: Any) -> Any:
    """Return the first process's `word`, passed as JSON, in all processes."""
    return _all_gather_json(word)[0] if is_multi_process() else word


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], int | None]]:
    """`signals.note_signals`; for several processes, SIGTERM to one stops all at the same step.

    JAX then catches SIGTERM, and agrees with the others on a call to come, counted from the
    first: so all must call what this yields equally often.
    """
    if not is_multi_process():
        with note_signals() as stopped:
            yield stopped
        return
    calls = itertools.count(1)

    def reached() -> int | None:
        stop = multihost_utils.reached_preemption_sync_point(next(calls))
        return int(signal.SIGTERM) if stop else None

    yield reached


LOST = (
    *("gloo", "nccl", "connection", "socket closed", "broken pipe", "unavailable"),
    *("deadline exceeded", "deadline_exceeded", "heartbeat", "coordination service"),
)


def is_peer_lost(error: BaseException) -> bool:
    """Return whether the error means a lost peer; JAX's errors show it only in their text."""
    text = str(error).lower()
    ours = isinstance(error, OSError | BadInput | Diverged | RemoteProcessError)
    return isinstance(error, PeerLost) or (not ours and any(word in text for word in LOST))


def reason(error: BaseException) -> str:
    """Return the error of a lost peer in one line."""
    return " ".join(str(error).split())[:200]


_handlers: list[Any] = []  # ctypes keeps no reference to a handler that C holds


def exit_75_instead_of_abort(line: Callable[[], str]) -> None:
    """Print a line and exit with 75 where JAX aborts because a peer or the coordinator is gone.

    JAX knows no other way than abort() (its callback for the purpose fails in jaxlib 0.10), and a
    Python handler of SIGABRT would run when it is too late; one called from C runs in time.
    """

    def end(signum: int) -> None:
        watchdog.leave(line())

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(end)
    _handlers[:] = [handler]
    c = ctypes.CDLL(None)
    c.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    c.signal.restype = ctypes.c_void_p
    c.signal(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
