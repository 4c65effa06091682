"""Handling of SIGTERM and SIGINT in a command.

| state of the command | effect of the first signal |
|---|---|
| starting: imports, flags | the process ends at once: there is nothing to clean up |
| exiting | the process ends at once: all results are on the disk |
| working (`raise_on_signal`) | `Interrupted` is raised in the main thread, which cleans up |
| training (`note_signals`) | recorded; training polls between chunks, saves and stops |
| compiling (`with_grace`) | recorded; the process ends unless training polls in GRACE_SECONDS |

Python runs signal handlers in the main thread, between two bytecode instructions: not while C++
code runs there, such as XLA's compiler. So a second thread reads signal numbers from a pipe, into
which the C part of the handler writes them (`signal.set_wakeup_fd`). This thread ends the process
where the main thread does not react. Restoring SIG_DFL after the first signal would end it too, but
would not distinguish a second signal from a repetition of the first.
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

HANDLED_SIGNALS = (signal.SIGTERM, signal.SIGINT)
REPEAT_SECONDS = 1.0
"""A signal within this time after the first is a repetition and ignored: Slurm sends SIGTERM twice
within 7 ms. A later one ends the process at once."""
GRACE_SECONDS = 5.0
"""Grace period: time that a command has to clean up, or to return from C++ code."""
RESUME_HINT = "the same command continues."


class Interrupted(KeyboardInterrupt):
    """Raised in the main thread by a signal that ends the command."""

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class OnSignal(Enum):
    """Effect of the first signal: end the process, raise `Interrupted`, or only record it."""

    END, RAISE, NOTE = range(3)


def exit_immediately(line: str, signum: int) -> None:
    """Print a line to stderr and end the process with the exit code of a signal.

    No cleanup is done and no other thread is awaited.

    Args:
        line: '' for none.
        signum: number of the signal; the exit code is 128 + signum.
    """
    if line:
        with contextlib.suppress(OSError):
            os.write(2, f"{line}\n".encode())
    os._exit(128 + signum)


def _pipe() -> tuple[int, int]:
    """Open a non-blocking pipe that child processes do not inherit; macOS has no pipe2."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    return ends


class SignalWatcher:
    """Signal handler in the main thread, with a thread that ends the process if this is blocked.

    first: number of the first signal; None before it
    action: effect of the first signal
    may_end: True if the process may end after the grace period although the action is NOTE
    reported: True if the signal has been reported to the user
    """

    def __init__(self) -> None:
        self.first: int | None = None
        self.action, self.may_end, self.reported = OnSignal.END, False, False
        self._first_time, self._first_signum = math.nan, 0  # as seen by the thread
        self._deadline = math.inf
        self._read_fd, self._write_fd = _pipe()
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)

    def start(self) -> None:
        """Install the handlers and start the thread; call this in the main thread."""
        self._old_fd = signal.set_wakeup_fd(self._write_fd, warn_on_full_buffer=False)
        self._old_handlers: dict[int, Any] = {
            signum: signal.signal(signum, self._handle) for signum in HANDLED_SIGNALS
        }
        self._thread.start()

    def stop(self) -> None:
        """Restore the previous handlers and wakeup file descriptor, and end the thread."""
        for signum, handler in self._old_handlers.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._old_fd)
        os.write(self._write_fd, b"\0")
        self._thread.join()
        os.close(self._read_fd)
        os.close(self._write_fd)

    def clear_deadline(self) -> None:
        """Clear the deadline: the main thread polls for signals and may take any time."""
        self._deadline = math.inf

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.first is None:
            self.first = signum
            if self.action is OnSignal.RAISE:
                raise Interrupted(signum)

    def _listen(self) -> None:
        """Read signal numbers from the pipe until a 0; end the process at the deadline."""
        while True:
            left = self._deadline - time.monotonic()
            select.select([self._read_fd], [], [], None if left == math.inf else max(left, 0.0))
            try:
                numbers = os.read(self._read_fd, 64)
            except BlockingIOError:
                numbers = b""
            if 0 in numbers:
                return
            for signum in numbers:
                if signum in HANDLED_SIGNALS:
                    self._receive(signum)
            if time.monotonic() > self._deadline:
                self._deadline = math.inf
                if self.action is not OnSignal.NOTE or self.may_end:  # training may be saving
                    self._exit(str(Interrupted(self._first_signum)), self._first_signum)

    def _receive(self, signum: int) -> None:
        """End the process or set the deadline; runs in the thread."""
        now = time.monotonic()
        if math.isnan(self._first_time):
            self._first_time, self._first_signum = now, signum
            if self.action is OnSignal.END:
                self._exit(str(Interrupted(signum)), signum)
            if self.action is OnSignal.RAISE or self.may_end:
                self._deadline = now + GRACE_SECONDS
        elif now - self._first_time > REPEAT_SECONDS:
            self._exit(f"ended by a second signal, {signal.Signals(signum).name}", signum)

    def _exit(self, line: str, signum: int) -> None:
        exit_immediately("" if self.reported else f"{line}; {RESUME_HINT}", signum)


_watcher: SignalWatcher | None = None


def install() -> None:
    """Handle signals from now until the process ends; the first signal ends the process."""
    global _watcher
    if _watcher is None:
        _watcher = SignalWatcher()
        _watcher.start()


@contextlib.contextmanager
def _with_action(action: OnSignal) -> Iterator[SignalWatcher]:
    """Set the effect of the first signal within the context.

    Yields:
        The installed watcher, or one that is stopped when the context is left.
    """
    global _watcher
    watcher = temporary = None
    if _watcher is None:
        temporary = _watcher = SignalWatcher()
        temporary.action = action
        temporary.start()
    watcher = _watcher
    before, watcher.action = watcher.action, action
    try:
        yield watcher
    finally:
        watcher.action = before
        if temporary is not None:
            temporary.stop()
            _watcher = None


@contextlib.contextmanager
def raise_on_signal() -> Iterator[None]:
    """Raise `Interrupted` in the main thread at the first signal within the context.

    The process ends if it is still running GRACE_SECONDS later. If `Interrupted` was suppressed, as
    Python does in a finalizer, it is raised again when the context is left.
    """
    with _with_action(OnSignal.RAISE) as watcher, _hide_unraisable():
        if watcher.first is not None:
            raise Interrupted(watcher.first)
        yield
        if watcher.first is not None:
            raise Interrupted(watcher.first)


@contextlib.contextmanager
def _hide_unraisable() -> Iterator[None]:
    """Do not print the traceback of an `Interrupted` that a finalizer suppresses."""
    previous = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, Interrupted):
            previous(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        if sys.unraisablehook is hook:
            sys.unraisablehook = previous


@contextlib.contextmanager
def note_signals() -> Iterator[Callable[[], int | None]]:
    """Record signals within the context.

    Yields:
        () -> number of the first signal, or None. Includes a signal from before the context whose
        `Interrupted` was suppressed.
    """
    with _with_action(OnSignal.NOTE) as watcher:
        watcher.clear_deadline()
        yield lambda: watcher.first


@contextlib.contextmanager
def with_grace() -> Iterator[None]:
    """Let a recorded signal end the process after GRACE_SECONDS within the context.

    For work of which nothing is lost that is not on the disk, such as compilation.
    """
    if _watcher is not None:
        _watcher.may_end = True
    try:
        yield
    finally:
        if _watcher is not None:
            _watcher.may_end = False
            if _watcher.action is OnSignal.NOTE:
                _watcher.clear_deadline()


def mark_reported() -> None:
    """Mark the signal as reported to the user: nothing more is printed when the process ends."""
    if _watcher is not None:
        _watcher.reported = True
