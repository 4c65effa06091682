"""What waits for a dead peer, disk or device would wait for ever: a thread ends it instead."""

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

EXIT_STUCK = 75  # EX_TEMPFAIL: what it was about can be tried again
TIMES = 10.0  # as long as usual: nothing regular takes so long
FIRST = 15.0  # times the floor: what has not been done before may have to be compiled
REMEMBERED = 100
LAST_WORDS = 5.0
"""Seconds that telling why may take: it may be the disk that is stuck."""


def leave(line: str) -> None:
    """End the process now, with a line: nothing is waited for, no other thread is asked."""
    with contextlib.suppress(OSError):
        os.write(2, f"error: {' '.join(line.split())}\n".encode())
    os._exit(EXIT_STUCK)


def soon(call: Callable[[], Any]) -> Any:
    """call(), within LAST_WORDS seconds; None where it takes longer or fails."""
    said: list[Any] = []

    def quietly() -> None:
        with contextlib.suppress(Exception):
            said.append(call())

    teller = threading.Thread(target=quietly, name="last words", daemon=True)
    teller.start()
    teller.join(LAST_WORDS)
    return said[0] if said else None


class Watchdog:
    """Ends the process when what it does takes far longer than it has before.

    Bound: max(floor, TIMES x the median of what took the same name), FIRST x floor for the first
    of a name. Time in which this process itself was stopped does not count. Use as a context
    manager; not before it is entered does time count.
    """

    def __init__(
        self, floor: float, say: Callable[[str, float], str], end: Callable[[str], None] = leave
    ):
        """Set the bounds.

        Args:
            floor: seconds; inf: whatever takes time may take all of it.
            say: (what took too long, seconds waited) -> what to tell the user.
            end: called with that, after the threads' stacks were written to stderr.
        """
        self._floor, self._say, self._end = floor, say, end
        self._took: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._lock, self._over = threading.Lock(), threading.Event()
        self._what, self._waited = "", 0.0
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
        self._over.set()
        self._thread.join()

    def begin(self, what: str) -> None:
        """From here on it is `what` that takes time, '' for as long as it likes."""
        with self._lock:
            if self._what:
                self._took[self._what].append(self._waited)
            self._what, self._waited = what, 0.0

    @contextlib.contextmanager
    def within(self, what: str) -> Iterator[None]:
        """Inside, `what` takes time; then what was begun before goes on, as long as it was.

        Two `begin` instead would count the shreds of a long chunk between short pictures as
        chunks, and its bound would be theirs.
        """
        with self._lock:
            outer, self._what, self._waited = (self._what, self._waited), what, 0.0
        yield
        with self._lock:
            self._took[what].append(self._waited)
            self._what, self._waited = outer

    @property
    def bound(self) -> float:
        """Seconds that what was begun may take."""
        took = self._took.get(self._what)
        if not took:
            return FIRST * self._floor
        return max(self._floor, TIMES * statistics.median(took))

    def _watch(self) -> None:
        tick = min(0.5, self._floor / 10)
        last = time.monotonic()
        while not self._over.wait(tick):
            now = time.monotonic()
            with self._lock:
                # A longer pause is not the peer's: this process was stopped, or starved.
                self._waited += min(now - last, 4 * tick)
                what, waited = self._what, self._waited
                late = bool(what) and waited > self.bound
            last = now
            if late:
                faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
                line = soon(partial(self._say, what, waited))
                self._end(line or f"stuck: {what} has not ended for {waited:.0f} s.")
                return
