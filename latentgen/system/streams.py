"""What commands print to may be closed, full, a pipe without a reader: no work is lost by it."""

import errno
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO


class Outlet:
    """A text stream that goes on when nobody can be told: what fails once is dropped from then on.

    Characters that its encoding lacks are written as escapes.
    """

    def __init__(self, stream: Any):
        self._stream = stream
        self.failed: OSError | None = None
        stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write, or drop, all of it."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Bring what was written to where it goes."""
        self._try(self._stream.flush)

    def _try(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except OSError as error:
            self.failed = self.failed or error
            nowhere = os.open(os.devnull, os.O_WRONLY)  # for what lies in the buffer, too
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard() -> None:
    """Make stdin, stdout and stderr exist and the last two never fail.

    Else the next file that is opened would get the number of a closed one, and with it all that
    native code prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdout, sys.stderr = _outlet(sys.stdout, 1), _outlet(sys.stderr, 2)


def _outlet(stream: TextIO | None, number: int) -> Any:
    return Outlet(stream or open(number, "w", closefd=False))


def lost() -> OSError | None:
    """Why not all that was printed on stdout has arrived; None where it has, or where its reader
    has gone, as `head` does when it has enough.
    """
    sys.stdout.flush()
    failed = getattr(sys.stdout, "failed", None)
    return None if failed is None or failed.errno == errno.EPIPE else failed
