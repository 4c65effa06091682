"""What SIGTERM and SIGINT do to a command, whatever it is busy with.

| it is | a signal |
|---|---|
| starting, reading its flags | ends the process at once: there is nothing to clear away |
| done, and leaving | the same: what it made is on the disk |
| at work (`raise_on_signal`) | raises `Interrupted` in the main thread, which clears away |
| training (`note_signals`) | is noted; training asks between chunks, saves and stops |
| there, before its first step (`with_grace`) | is noted; it has GRACE seconds to come to it |

Python runs a handler in the main thread between two of its own instructions: not while C++, such as
XLA's compiler, is busy there. So a thread listens too. C's part of the handler tells it of each
signal through a pipe, whatever the main thread does (signal.set_wakeup_fd), and where the process
has to end at once it ends it. SIG_DFL after the first signal would do so as well, but not know a
second one from the same one said twice.
"""

import contextlib
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from enum import Enum
from types import FrameType
from typing import Any

HEEDED = (signal.SIGTERM, signal.SIGINT)
TWICE = 1.0
"""Seconds within which a second signal says nothing new: Slurm sends SIGTERM twice in 7 ms. A later
one ends the process at once, whatever it is doing."""
GRACE = 5.0
"""Seconds that a command has to clear away, or to come back from C++."""


class Interrupted(KeyboardInterrupt):
    """A signal ends the command."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class OnSignal(Enum):
    """The effect of the first signal: end the process, raise `Interrupted`, or only note it."""

    END, RAISE, NOTE = range(3)


def leave(line: str, signum: int) -> None:
    """End the process now, with a line, as after this signal: nothing is waited for."""
    if line:
        with contextlib.suppress(OSError):
            os.write(2, f"{line}\n".encode())
    os._exit(128 + signum)


def _pipe() -> tuple[int, int]:
    """Both ends of a pipe that no child inherits and that never blocks; macOS has no pipe2."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


class Watch:
    """Hears of signals in two ways: the main thread's handler, and a thread of its own.

    first: the first that came
    then: what it does, or would do
    brief: what is going on may be ended after GRACE seconds, though signals are only noted
    reported: the user knows of it
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self.then, self.brief, self.reported = OnSignal.END, False, False
        self._heard, self._last = math.nan, 0
        self._deadline = math.inf
        self._out, self._in = _pipe()
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)

    def start(self) -> None:
        """From here on signals are heard; to be called by the main thread."""
        self._fd = signal.set_wakeup_fd(self._in, warn_on_full_buffer=False)
        self._old: dict[int, Any] = {s: signal.signal(s, self._handle) for s in HEEDED}
        self._thread.start()

    def stop(self) -> None:
        """Everything is as it was before `start`."""
        for signum, handler in self._old.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._fd)
        os.write(self._in, b"\0")
        self._thread.join()
        os.close(self._out)
        os.close(self._in)

    def patient(self) -> None:
        """Clear the deadline: the work in progress polls for signals and may take any time."""
        self._deadline = math.inf

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.first is None:
            self.first = signum
            if self.then is OnSignal.RAISE:
                raise Interrupted(signum)

    def _listen(self) -> None:
        while True:
            left = self._deadline - time.monotonic()
            select.select([self._out], [], [], None if left == math.inf else max(left, 0.0))
            try:
                numbers = os.read(self._out, 64)
            except BlockingIOError:
                numbers = b""
            if 0 in numbers:
                return
            for signum in numbers:
                if signum in HEEDED:
                    self._hear(signum)
            if time.monotonic() > self._deadline:
                self._deadline = math.inf
                if self.then is not OnSignal.NOTE or self.brief:  # never what training saves
                    self._leave(str(Interrupted(self._last)), self._last)

    def _hear(self, signum: int) -> None:
        now = time.monotonic()
        if math.isnan(self._heard):
            self._heard, self._last = now, signum
            if self.then is OnSignal.END:
                self._leave(str(Interrupted(signum)), signum)
            if self.then is OnSignal.RAISE or self.brief:
                self._deadline = now + GRACE
        elif now - self._heard > TWICE:
            self._leave(f"ended by a second signal, {signal.Signals(signum).name}", signum)

    def _leave(self, line: str, signum: int) -> None:
        leave("" if self.reported else f"{line}; {AGAIN}", signum)


AGAIN = "the same command continues."
_watch: Watch | None = None


def install() -> None:
    """Watch the process from here on, for good."""
    global _watch
    if _watch is None:
        _watch = Watch()
        _watch.start()


@contextlib.contextmanager
def _watched(then: OnSignal) -> Iterator[Watch]:
    """The process's watch, or one for as long as this lasts; meanwhile the first signal does so."""
    global _watch
    watch = own = None
    if _watch is None:
        own = _watch = Watch()
        own.then = then
        own.start()
    watch = _watch
    before, watch.then = watch.then, then
    try:
        yield watch
    finally:
        watch.then = before
        if own is not None:
            own.stop()
            _watch = None


@contextlib.contextmanager
def raise_on_signal() -> Iterator[None]:
    """Inside, the first signal raises `Interrupted` in the main thread.

    Where that has not ended the process after GRACE seconds, it ends nonetheless. Where something
    has swallowed it, as Python does in a finalizer, it is raised again at the end.
    """
    with _watched(OnSignal.RAISE) as watch, _unsaid():
        if watch.first is not None:
            raise Interrupted(watch.first)
        yield
        if watch.first is not None:
            raise Interrupted(watch.first)


@contextlib.contextmanager
def _unsaid() -> Iterator[None]:
    """Inside, an `Interrupted` that Python cannot raise is not printed with its traceback."""
    tell = sys.unraisablehook

    def hook(found: Any) -> None:
        if not isinstance(found.exc_value, Interrupted):
            tell(found)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        if sys.unraisablehook is hook:
            sys.unraisablehook = tell


@contextlib.contextmanager
def note_signals() -> Iterator[Callable[[], int | None]]:
    """Inside, signals are noted; yields a function that tells the first one, if any came.

    One that came before, and that something has swallowed, counts.
    """
    with _watched(OnSignal.NOTE) as watch:
        watch.patient()
        yield lambda: watch.first


@contextlib.contextmanager
def with_grace() -> Iterator[None]:
    """Give a signal noted inside, while a program is compiled for example, GRACE seconds.

    An end there costs nothing that is not on the disk.
    """
    if _watch is not None:
        _watch.brief = True
    try:
        yield
    finally:
        if _watch is not None:
            _watch.brief = False
            if _watch.then is OnSignal.NOTE:
                _watch.patient()


def mark_reported() -> None:
    """The user has been told of the signal that ends the process."""
    if _watch is not None:
        _watch.reported = True
