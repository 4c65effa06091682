"""Start and exit of a command's process.

Start: an error of a library during the imports is a fault of the environment, such as a setting
that JAX does not know or a shared library that does not fit into memory. It is reported in one
line.

Exit: Python's finalization restores the signal handlers and then unloads libraries for a quarter of
a second, in which a signal would kill the process without a message. So the process exits before.
"""

import atexit
import contextlib
import os
import resource
import sys
from types import TracebackType

EXIT_BAD_INPUT = 2
MIN_ADDRESS_SPACE = 2 * 2**30
"""Bytes; with less, libraries end the process from C++ without a message."""

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def guard() -> None:
    """Report errors from outside this package in one line until `restore_excepthook`.

    Also end the process if the address space limit is too small, and let it exit before Python's
    finalization.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < MIN_ADDRESS_SPACE:
        _exit_with_error(
            f"the address space is limited to {limit / 2**30:.2f} GiB (ulimit -v); JAX needs at "
            f"least {MIN_ADDRESS_SPACE / 2**30:.0f} GiB of it"
        )
    sys.excepthook = _report_error
    atexit.register(_exit)  # registered first, called last


def set_exit_code(code: object) -> None:
    """Set the exit code of the process from the argument of `sys.exit`.

    A message as argument is ignored: Python then prints it and exits.
    """
    global _exit_code
    if code is None or isinstance(code, int):
        _exit_code = code or 0


_exit_code: int | None = None


def _exit() -> None:
    if _exit_code is None:  # an exception, which Python has printed
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(_exit_code & 0xFF)


def restore_excepthook() -> None:
    """Print tracebacks of uncaught errors again, once all modules are imported."""
    if sys.excepthook is _report_error:
        sys.excepthook = sys.__excepthook__


def _report_error(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    last = trace
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    file = last.tb_frame.f_code.co_filename if last is not None else _PACKAGE
    if isinstance(error, Exception) and not os.path.abspath(file).startswith(_PACKAGE):
        message = " ".join(str(error).split())[:500]
        _exit_with_error(
            f"the command cannot start: {kind.__name__}: {message} ({os.path.basename(file)})"
        )
    sys.__excepthook__(kind, error, trace)


def _exit_with_error(line: str) -> None:
    print(f"error: {line}.", file=sys.stderr, flush=True)
    os._exit(EXIT_BAD_INPUT)
