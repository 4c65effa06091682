"""Standard streams that may be closed, on a full disk, or a pipe without a reader.

A failed write to stdout or stderr does not end the command, so that no work is lost.
"""

import errno
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO


class FaultTolerantStream:
    """Text stream whose writes never fail: after the first error, all output is discarded.

    Characters that the encoding lacks are written as escapes.

    error: first error of a write; None before it
    """

    def __init__(self, stream: Any):
        self._stream = stream
        self.error: OSError | None = None
        stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write the text, or discard it; return its length."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream's buffer, or discard it."""
        self._try(self._stream.flush)

    def _try(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except OSError as error:
            self.error = self.error or error
            null = os.open(os.devnull, os.O_WRONLY)  # also receives the rest of the buffer
            os.dup2(null, self._stream.fileno())
            os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard() -> None:
    """Open closed standard streams on the null device; make stdout and stderr fault-tolerant.

    The next file to be opened would otherwise get the file descriptor of a closed stream, and
    receive the output of native code.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free descriptor
    sys.stdout, sys.stderr = _wrap(sys.stdout, 1), _wrap(sys.stderr, 2)


def _wrap(stream: TextIO | None, descriptor: int) -> Any:
    return FaultTolerantStream(stream or open(descriptor, "w", closefd=False))


def stdout_error() -> OSError | None:
    """Flush stdout; return the first error of writing to it, or None.

    A broken pipe is no error: `head` closes its input when it has read enough.
    """
    sys.stdout.flush()
    error = getattr(sys.stdout, "error", None)
    return None if error is None or error.errno == errno.EPIPE else error
