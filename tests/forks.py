"""Run commands in forks of one process that has done their imports, which take seconds.

Run as a program it serves: a line of JSON {"command", "flags", "cwd", "env", "timeout"} comes in,
the command runs in a fork of its own as `python -m latentgen.COMMAND` would, and a line of JSON
{"code", "out", "err", "listens"} goes out.
"""

import atexit
import contextlib
import functools
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
BIND = "socket.bind"
READ_AT_IMPORT = ("JAX_", "XLA_", "PYTHON", "LD_", "TFDS_")  # a fork comes too late to set these


class Job(NamedTuple):
    """A command, its flags, and the folder that it is called in."""

    command: str
    flags: tuple[str, ...]
    cwd: str


class Ended(NamedTuple):
    """Exit code and output of a command, and the sockets that it bound or listened on."""

    code: int
    out: str
    err: str
    listens: list[str]


def environment() -> dict[str, str]:
    """This process's environment without the tests' cheap compilation, as users have it."""
    kept = {k: v for k, v in os.environ.items() if k != "JAX_DISABLE_MOST_OPTIMIZATIONS"}
    return kept | {"JAX_PLATFORMS": "cpu"}


def early(env: dict[str, str]) -> dict[str, str]:
    """Select the variables that a fork of the server cannot change."""
    return {k: v for k, v in env.items() if k.startswith(READ_AT_IMPORT)}


class Server:
    """A process that forks, started with this environment."""

    def __init__(self, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            **dict(env=env, cwd=ROOT, text=True),
            **dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE),
        )
        atexit.register(self.close)

    def run(self, job: Job, env: dict[str, str], timeout: float) -> Ended:
        """Run a command to its end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = json.dumps(job._asdict() | {"env": env, "timeout": timeout})
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        return Ended(**json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        """End the process by closing its input."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self.process.stdin, self.process.stdout:
            pass
        self.process.kill()
        self.process.wait()


@functools.cache
def server() -> Server:
    """The server that runs most commands."""
    return Server(environment())


EARLY = early(environment())


def can(env: dict[str, str]) -> bool:
    """True if a fork of the server can have this environment."""
    return early(env) == EARLY


def run(*jobs: Job, timeout: float = 240, **env: str) -> list[Ended]:
    """Run the commands, one after the other."""
    every = environment() | env
    mine = server() if can(every) else Server(every)
    return [mine.run(job, every, timeout) for job in jobs]


def _child(job: dict, out: int, err: int, ports: int) -> None:
    import listening

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.environ.clear()
    os.environ.update(job["env"])
    bound: list[str] = []
    sys.addaudithook(lambda name, given: bound.append(f"{given}") if name == BIND else None)
    os.chdir(job["cwd"])
    sys.path.append(job["cwd"])  # the last one, as latentgen has it for `python -m`
    sys.argv = [f"latentgen.{job['command']}", *job["flags"]]
    code = 1
    try:
        runpy.run_module(f"latentgen.{job['command']}", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError):  # a test may have taken them away
            sys.stdout.flush()
            sys.stderr.flush()
        with contextlib.suppress(OSError):
            bound += map(str, listening.sockets(os.getpid()))
        os.write(ports, json.dumps(bound).encode())
        os._exit(code)


def _waited(child: int, timeout: float) -> int:
    until = time.monotonic() + timeout
    while True:
        done, ended = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(ended)
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)


def _forked(job: dict) -> dict:
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        if (child := os.fork()) == 0:
            _child(job, *(file.fileno() for file in files))
        code = _waited(child, job["timeout"])
        for file in files:
            file.seek(0)
        out, err, ports = (file.read().decode(errors="replace") for file in files)
    return {"code": code, "out": out, "err": err, "listens": json.loads(ports or "[]")}


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    import orbax.checkpoint  # noqa: F401  # most commands need it; no device is asked for yet

    import latentgen.cli.app
    import latentgen.reporting.page
    import latentgen.sweeps.results
    import latentgen.training.trainer  # noqa: F401

    for line in sys.stdin:
        print(json.dumps(_forked(json.loads(line))), flush=True)
