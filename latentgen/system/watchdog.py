"""Watchdog: a thread that ends the process when it waits for a dead peer, disk or device."""

import contextlib
import faulthandler
import os
import statistics
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any

EXIT_STUCK = 75  # EX_TEMPFAIL: the command may succeed when it is started again
MEDIAN_FACTOR = 10.0  # time limit of an action, as a multiple of its median duration
FIRST_FACTOR = 15.0  # first time limit, as a multiple of the floor: the action may compile
HISTORY = 100  # durations of an action that are kept
REPORT_TIMEOUT = 5.0
"""Seconds that a report may take before the process ends: the disk may be what is stuck."""


def exit_immediately(line: str) -> None:
    """Print an error to stderr and end the process with EXIT_STUCK.

    No cleanup is done and no other thread is awaited.
    """
    with contextlib.suppress(OSError):
        os.write(2, f"error: {' '.join(line.split())}\n".encode())
    os._exit(EXIT_STUCK)


def call_with_timeout(call: Callable[[], Any]) -> Any:
    """Return the result of `call`; None if it fails or takes longer than REPORT_TIMEOUT."""
    results: list[Any] = []

    def run() -> None:
        with contextlib.suppress(Exception):
            results.append(call())

    thread = threading.Thread(target=run, name="report", daemon=True)
    thread.start()
    thread.join(REPORT_TIMEOUT)
    return results[0] if results else None


class Watchdog:
    """Watchdog of one process: ends it when an action takes far longer than before.

    Time limit: max(floor, MEDIAN_FACTOR x median duration of the action); FIRST_FACTOR x floor if
    the action has no duration yet. Time in which this process was stopped does not count. Use as
    a context manager; no time counts outside it.
    """

    def __init__(
        self,
        floor: float,
        message: Callable[[str, float], str],
        on_timeout: Callable[[str], None] = exit_immediately,
    ):
        """Set the time limits.

        Args:
            floor: lower bound of the time limits, in seconds; inf for no limit.
            message: (action, seconds elapsed) -> message to the user.
            on_timeout: called with the message, after the stacks of all threads were written to
                stderr.
        """
        self._floor, self._message, self._on_timeout = floor, message, on_timeout
        self._durations: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=HISTORY))
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._action, self._elapsed = "", 0.0
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def begin(self, action: str) -> None:
        """End the current action and begin another one; '' for one without a time limit."""
        with self._lock:
            if self._action:
                self._durations[self._action].append(self._elapsed)
            self._action, self._elapsed = action, 0.0

    @contextlib.contextmanager
    def within(self, action: str) -> Iterator[None]:
        """Time a nested action within the context; its time does not count for the outer one.

        With `begin`, the parts of a long chunk between short hooks would count as whole chunks, and
        the time limit of a chunk would be too small.
        """
        with self._lock:
            outer, self._action, self._elapsed = (self._action, self._elapsed), action, 0.0
        yield
        with self._lock:
            self._durations[action].append(self._elapsed)
            self._action, self._elapsed = outer

    @property
    def time_limit(self) -> float:
        """Time limit of the current action in seconds."""
        durations = self._durations.get(self._action)
        if not durations:
            return FIRST_FACTOR * self._floor
        return max(self._floor, MEDIAN_FACTOR * statistics.median(durations))

    def _watch(self) -> None:
        tick = min(0.5, self._floor / 10)
        last = time.monotonic()
        while not self._stopped.wait(tick):
            now = time.monotonic()
            with self._lock:
                # Longer intervals are cut: this process was stopped, or got no CPU time.
                self._elapsed += min(now - last, 4 * tick)
                action, elapsed = self._action, self._elapsed
                is_late = bool(action) and elapsed > self.time_limit
            last = now
            if is_late:
                faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
                line = call_with_timeout(partial(self._message, action, elapsed))
                self._on_timeout(line or f"stuck: {action} has not ended for {elapsed:.0f} s.")
                return
