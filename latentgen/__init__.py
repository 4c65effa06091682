"""Variational autoencoders and generative adversarial networks as games of pure functions."""

import os
import sys

__version__ = "0.1.0"


NOT_HERE = "latentgen runs on Linux and macOS; on Windows, use it inside WSL2."


def _refuse_windows(platform: str) -> None:
    """Refuse Windows in one line, where no module named 'fcntl' would be all that is said.

    Raises:
        ImportError: this is Windows. A command ends with exit code 2 instead.
    """
    if platform != "win32":
        return
    if sys.argv[:1] != ["-m"]:
        raise ImportError(NOT_HERE)
    print(f"error: {NOT_HERE}", file=sys.stderr)
    sys.exit(2)


def _current_folder_last() -> None:
    """`python -m` looks for modules in the current folder first, which may be anybody's workdir: a
    jax.py in it would be run. So it comes last, unless this package itself lies there.
    """
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        current = os.getcwd()
    except FileNotFoundError:  # somebody has removed it
        return
    if sys.argv[:1] == ["-m"] and sys.path[:1] == [current] and sys.path[0] != here:
        sys.path.append(sys.path.pop(0))


_refuse_windows(sys.platform)
_current_folder_last()


def watch_process() -> None:
    """Have a signal end this process in a line from here on, while its command is imported too."""
    from latentgen.system import signals, startup, streams

    streams.guard()
    signals.install()
    startup.guard()


if sys.argv[:1] == ["-m"]:  # a command is about to be imported
    watch_process()
