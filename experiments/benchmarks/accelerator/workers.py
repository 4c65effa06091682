"""A process that builds and times things when asked, and frees all memory when it is ended.

latentgen and PyTorch each work in one of their own, so that no library's threads and allocations
are in the other's way; as they are asked in turns, only one of them is busy at a time.
"""

import contextlib
import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class Failed(Exception):
    """The worker raised: the message is its traceback."""


def _serve(connection: Connection) -> None:
    with contextlib.suppress(EOFError, KeyboardInterrupt):  # the other process has ended
        while True:
            function, args = connection.recv()
            try:
                answer = (True, function(*args))
            except Exception:
                answer = (False, traceback.format_exc())
            connection.send(answer)


class Worker:
    """One process, which keeps what the functions that it calls keep in their modules."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there,), daemon=True)
        self._process.start()
        there.close()

    def ask(self, function: Callable[..., Any], *args: Any) -> Any:
        """`function(*args)`, called there.

        Raises:
            Failed: it raised, or its process has ended.
        """
        try:
            self._here.send((function, args))
            fine, answer = self._here.recv()
        except (EOFError, OSError) as error:
            raise Failed(f"the process of {function.__name__} has ended") from error
        if not fine:
            raise Failed(answer)
        return answer

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def end(self) -> None:
        """End the process; what it held is free."""
        self._here.close()
        self._process.kill()
        self._process.join()
