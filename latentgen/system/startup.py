"""How a command's process begins and ends.

A command that cannot start says so in a line: too little memory, a library that will not load. What
fails while Python imports is no mistake in the code that imports it: a setting that JAX does
not know, a shared object that does not fit into the memory.

At the end Python would set the handlers of signals back and spend a quarter of a second on taking
libraries down, in which a signal kills the process raw. So it leaves before that.
"""

import atexit
import contextlib
import os
import resource
import sys
from types import TracebackType

EXIT_BAD_INPUT = 2
SMALLEST = 2 * 2**30
"""Bytes of address space: with less, libraries end the process from C++, without a word."""

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # of the package


def guard() -> None:
    """From here until `done`, what goes wrong outside of this package is told in a line.

    Ends the process where its address space is too small.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < SMALLEST:
        _end(
            f"the address space is limited to {limit / 2**30:.2f} GiB (ulimit -v); JAX needs at "
            f"least {SMALLEST / 2**30:.0f} GiB of it"
        )
    sys.excepthook = _tell
    atexit.register(_leave)  # the first to be registered is the last to be called


def ends(code: object) -> None:
    """Note what `sys.exit` was called with: with it the process leaves, all being cleared away."""
    global _code
    if code is None or isinstance(code, int):
        _code = code or 0


_code: int | None = None


def _leave() -> None:
    if _code is None:  # by an exception, which Python has printed
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(_code & 0xFF)


def done() -> None:
    """All is imported: what is not expected from here on has a traceback."""
    if sys.excepthook is _tell:
        sys.excepthook = sys.__excepthook__


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    last = trace
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    file = last.tb_frame.f_code.co_filename if last is not None else _HERE
    if isinstance(error, Exception) and not os.path.abspath(file).startswith(_HERE):
        said = " ".join(str(error).split())[:500]
        _end(f"the command cannot start: {kind.__name__}: {said} ({os.path.basename(file)})")
    sys.__excepthook__(kind, error, trace)


def _end(line: str) -> None:
    print(f"error: {line}.", file=sys.stderr, flush=True)
    os._exit(EXIT_BAD_INPUT)
