"""Several processes that train one run: start, exchange of results, detection of a lost peer.

Process 0 alone writes and prints. The outcome of an action of process 0, such as opening a folder,
is sent to all processes, so that none waits for a process that has failed.
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

HEARTBEAT, STUCK = 30, 300.0  # default timeouts in seconds
MAX_MESSAGE_BYTES = 2_000  # of a message between processes


class RemoteProcessError(Exception):
    """Error of another process.

    Args:
        kind: name of the error's class there.
        message: the error's message.
    """

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


class PeerLost(Exception):
    """A peer process does not answer; the run continues once all processes are started again."""


class ProcessGroup(NamedTuple):
    """Processes of a run, as set by flags; None if JAX detects them, or for a single process.

    coordinator: HOST:PORT of process 0
    num_processes: number of processes
    process_id: index of this process
    heartbeat: seconds without an answer after which a peer is lost
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    heartbeat: int = HEARTBEAT


def join(group: ProcessGroup) -> None:
    """Initialize jax.distributed if there are several processes.

    Call this before JAX initializes its devices. Under `srun` with more than one task, and on
    several hosts of a TPU pod, JAX detects the processes. JAX then handles SIGTERM, see `signals`.

    Raises:
        BadInput: some of the flags are missing or invalid.
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
        coordinator_bind_address=_bind_address(group.coordinator),
        heartbeat_timeout_seconds=group.heartbeat,
        shutdown_timeout_seconds=group.heartbeat,
    )


def _bind_address(coordinator: str | None) -> str | None:
    """Return the coordinator's address if it is a loopback one; None for JAX's default.

    JAX would bind all interfaces, even if all processes are on this machine.
    """
    host = str(coordinator).rpartition(":")[0].strip("[]")
    try:
        is_loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a host name
        is_loopback = False
    return coordinator if is_loopback else None


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
    """Return whether srun or the launcher of a TPU pod has started several processes."""
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS", "1")  # set by srun, not by sbatch
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
    return (tasks.isdecimal() and int(tasks) > 1) or len(hosts) > 1


def is_multi_process() -> bool:
    """Return whether more than one process trains; does not initialize JAX's devices."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_process_zero() -> bool:
    """Return whether this is the process that writes and prints."""
    return not is_multi_process() or jax.process_index() == 0


def _all_gather_json(value: Any) -> list[Any]:
    """Gather `value` from every process; all must call this.

    Args:
        value: JSON data, at most MAX_MESSAGE_BYTES when encoded.
    """
    encoded = json.dumps(value).encode()
    padded = np.zeros(MAX_MESSAGE_BYTES, np.uint8)
    padded[: len(encoded)] = np.frombuffer(encoded, np.uint8)
    gathered = np.asarray(multihost_utils.process_allgather(padded)).reshape(-1, MAX_MESSAGE_BYTES)
    return [json.loads(row.tobytes().rstrip(b"\0")) for row in gathered]


def _outcome(call: Callable[[], Any]) -> tuple[Any, Exception | None, dict[str, Any]]:
    """Return (result, error, failure), where failure describes the error as JSON data."""
    try:
        return call(), None, {}
    except Exception as error:
        if is_peer_lost(error):
            raise
        kind = "OSError" if isinstance(error, OSError) else type(error).__name__
        failure: dict[str, Any] = {"kind": kind, "message": str(error)[: MAX_MESSAGE_BYTES // 8]}
        if isinstance(error, Diverged):
            failure |= {"first": error.first, "last": error.last}
        return None, error, failure


def _raise(failure: dict[str, Any]) -> None:
    if "first" in failure:
        raise Diverged(failure["first"], failure["last"], failure["message"])
    raise RemoteProcessError(failure["kind"], failure["message"])


def on_process_zero(call: Callable[[], Any]) -> Any:
    """Call `call` in process 0; all processes wait for it.

    Returns:
        Its result in process 0, None in the others.

    Raises:
        RemoteProcessError: in the other processes, if it failed; a Diverged is raised as such.
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
    """Call `call` in each process; return its result if it succeeds in all of them.

    Raises:
        RemoteProcessError: it failed in another process only; a Diverged is raised as such.
    """
    if not is_multi_process():
        return call()
    value, error, failure = _outcome(call)
    failures = _all_gather_json(failure)
    if error is not None:
        raise error
    for failure in failures:
        if failure:
            _raise(failure)
    return value


def broadcast_from_zero(value: Any) -> Any:
    """Return the `value` of process 0, passed as JSON, in all processes."""
    return _all_gather_json(value)[0] if is_multi_process() else value


@contextlib.contextmanager
def signals() -> Iterator[Callable[[], int | None]]:
    """Yield a function to poll between chunks: it returns a signal's number, or None.

    For one process this is `signals.note_signals`. For several, SIGTERM to one process stops all
    at the same step: JAX agrees on the number of a later call of the function. So all processes
    must call it equally often.
    """
    if not is_multi_process():
        with note_signals() as stopped:
            yield stopped
        return
    calls = itertools.count(1)

    def preempted() -> int | None:
        reached = multihost_utils.reached_preemption_sync_point(next(calls))
        return int(signal.SIGTERM) if reached else None

    yield preempted


PEER_LOST_TEXTS = (
    *("gloo", "nccl", "connection", "socket closed", "broken pipe", "unavailable"),
    *("deadline exceeded", "deadline_exceeded", "heartbeat", "coordination service"),
)
"""Parts of the messages of JAX's errors about a lost peer, in lower case."""


def is_peer_lost(error: BaseException) -> bool:
    """Return whether the error means a lost peer; JAX's errors have no class for it, only text."""
    text = str(error).lower()
    is_other = isinstance(error, OSError | BadInput | Diverged | RemoteProcessError)
    return isinstance(error, PeerLost) or (
        not is_other and any(part in text for part in PEER_LOST_TEXTS)
    )


def reason(error: BaseException) -> str:
    """Return the error's message as one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]


_handlers: list[Any] = []  # keeps the handler alive, as ctypes does not


def exit_75_instead_of_abort(line: Callable[[], str]) -> None:
    """Print a line and exit with 75 when JAX aborts because it has lost a peer or the coordinator.

    JAX then calls abort(); its callback for this case fails in jaxlib 0.10. A Python signal handler
    of SIGABRT would not run before the process ends, a C handler does.

    Args:
        line: () -> the line, called at the time of the abort.
    """

    def on_abort(signum: int) -> None:
        watchdog.exit_immediately(line())

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(on_abort)
    _handlers[:] = [handler]
    c = ctypes.CDLL(None)
    c.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    c.signal.restype = ctypes.c_void_p
    c.signal(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
