"""What a user can get wrong, said in one line."""

import difflib
import errno
import signal
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


class BadInput(ValueError):
    """The user's mistake: one line naming the key, the value and what would be valid.

    Commands print it and exit with code 2; no traceback, nothing written.
    """


class Stopped(Exception):
    """A signal ended the run at a chunk's end, after a checkpoint; or many, at no one step."""

    def __init__(self, signum: int, step: int | None):
        after = "" if step is None else f" after step {step}"
        super().__init__(f"stopped by {signal.Signals(signum).name}{after}")
        self.signum, self.step = signum, step


class Diverged(Exception):
    """A metric of the steps first+1 .. last, or the state after them, is not finite.

    With first == last it is what the finite state after that step generates. `said` is what to
    tell the user, once more is known.
    """

    def __init__(self, first: int, last: int, said: str | None = None):
        super().__init__(said or f"diverged between step {first} and step {last}")
        self.first, self.last = first, last


def is_transient(error: BaseException) -> bool:
    """Return whether a full, failing or read-only disk raised the error, rather than the run."""
    return isinstance(error, OSError) and error.errno in _PASSING


def shortened(text: str, most: int = 200) -> str:
    """`text`, its middle left out where it is longer than `most`."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-(most // 2) :]}"


def printable(text: str) -> str:
    """`text` as one line that a terminal shows and does not obey."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))


def written(value: Any) -> str:
    """`value` as a line shows it."""
    try:
        return shortened(repr(value))
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return f"a {type(value).__name__} too long to be written"


def nearest(word: str, valid: Iterable[str]) -> str:
    """`; did you mean ...?` where a valid word is close, else "."."""
    close = difflib.get_close_matches(word, list(valid), n=1)
    return f"; did you mean {close[0]!r}?" if close else "."


def choose(key: str, value: str, options: Mapping[str, T]) -> T:
    """`options[value]`.

    Raises:
        BadInput: the value is unknown; names the nearest and lists the valid ones.
    """
    if value in options:
        return options[value]
    raise BadInput(
        f"{key}={value!r} is unknown{nearest(value, options)} Valid: {', '.join(sorted(options))}."
    )


def positive(key: str, value: int) -> int:
    """`value`, if it is at least 1.

    Raises:
        BadInput: it is not.
    """
    if value < 1:
        raise BadInput(f"{key}={value} must be at least 1.")
    return value
