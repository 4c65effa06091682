"""Errors with one-line messages for the user, and checks that raise them."""

import difflib
import errno
import signal
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
_TRANSIENT_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class BadInput(ValueError):
    """Invalid input; the message is one line: the key, its value and the valid values.

    Commands print the message without a traceback, write nothing and exit with code 2.
    """


class Stopped(Exception):
    """Raised where a signal ends a command between chunks of steps; run again, it resumes.

    Args:
        signum: number of the signal.
        step: updates done; None where the signal stopped several runs.
    """

    def __init__(self, signum: int, step: int | None):
        after = "" if step is None else f" after step {step}"
        super().__init__(f"stopped by {signal.Signals(signum).name}{after}")
        self.signum, self.step = signum, step


class Diverged(Exception):
    """Raised where a value is not finite.

    If first < last, the value is a metric of one of the steps first+1 .. last, or part of the state
    after step `last`. If first == last, it is a sample drawn from the state after that step; the
    state itself is finite.

    Args:
        first: updates done when the interval begins.
        last: updates done when it ends.
        message: replaces the default message where the cause is known.
    """

    def __init__(self, first: int, last: int, message: str | None = None):
        super().__init__(message or f"diverged between step {first} and step {last}")
        self.first, self.last = first, last


def is_transient(error: BaseException) -> bool:
    """Return whether a full, failing or read-only disk raised the error; a retry may succeed."""
    return isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS


def shortened(text: str, most: int = 200) -> str:
    """Replace the middle of `text` by " ... " if it has more than `most` characters."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-(most // 2) :]}"


def printable(text: str) -> str:
    """Join `text` into one line and escape its control characters."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))


def written(value: Any) -> str:
    """Return repr(value), shortened to fit a line."""
    try:
        return shortened(repr(value))
    except ValueError:  # repr refuses integers of more than 4,300 digits
        return f"a {type(value).__name__} too long to be written"


def nearest(value: str, valid: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the closest valid value, or "." if none is close.

    A key such as 'optimizer.lr' is close to its last part, 'lr'.
    """
    options = list(valid)
    close = difflib.get_close_matches(value, options, n=1)
    close = close or [option for option in options if option.endswith(f".{value}")]
    return f"; did you mean {close[0]!r}?" if close else "."


def choose(key: str, value: str, options: Mapping[str, T]) -> T:
    """Return `options[value]`.

    Args:
        key: name of the config key or flag, for the message.

    Raises:
        BadInput: the value is unknown; the message lists the valid ones.
    """
    if value in options:
        return options[value]
    raise BadInput(
        f"{key}={value!r} is unknown{nearest(value, options)} Valid: {', '.join(sorted(options))}."
    )


def positive(key: str, value: int) -> int:
    """Return `value` if it is at least 1.

    Raises:
        BadInput: it is less.
    """
    if value < 1:
        raise BadInput(f"{key}={value} must be at least 1.")
    return value
