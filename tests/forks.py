"""Many commands by one process that has imported what they share: a start costs seconds else.

    python forks.py JOBS.json

JOBS.json lists {"door", "flags", "cwd"}; each runs in a fork of its own, as `python -m
latentgen.DOOR` would; prints a JSON list of {"code", "out", "err", "listens"}.
"""

import contextlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import listening

BIND = "socket.bind"


class Job(NamedTuple):
    """A command: a door, its flags, and the folder that it is called in."""

    door: str
    flags: tuple[str, ...]
    cwd: str


class Ended(NamedTuple):
    """How it ended, all that it printed, and the sockets that it bound or was listening on."""

    code: int
    out: str
    err: str
    listens: list[str]


def run(*jobs: Job, **env: str) -> list[Ended]:
    """Runs the commands, one after the other."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([job._asdict() for job in jobs], file)
        file.flush()
        done = subprocess.run(
            [sys.executable, __file__, file.name],
            env={**os.environ, **env},
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    return [Ended(**each) for each in json.loads(done.stdout.splitlines()[-1])]


def _child(job: dict, out: int, err: int, ports: int) -> None:
    os.dup2(out, 1)
    os.dup2(err, 2)
    bound: list[str] = []
    sys.addaudithook(lambda name, given: bound.append(f"{given}") if name == BIND else None)
    os.chdir(job["cwd"])
    sys.argv = [f"latentgen.{job['door']}", *job["flags"]]
    code = 1
    try:
        runpy.run_module(f"latentgen.{job['door']}", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        bound += map(str, listening.sockets(os.getpid()))
        os.write(ports, json.dumps(bound).encode())
        os._exit(code)


def _forked(job: dict) -> dict:
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        if (child := os.fork()) == 0:
            _child(job, *(file.fileno() for file in files))
        _, ended = os.waitpid(child, 0)
        for file in files:
            file.seek(0)
        out, err, ports = (file.read().decode(errors="replace") for file in files)
    code = os.waitstatus_to_exitcode(ended)
    return {"code": code, "out": out, "err": err, "listens": json.loads(ports)}


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    import orbax.checkpoint  # noqa: F401  # what most doors need; no device is asked for yet

    import latentgen.door
    import latentgen.launchers.results
    import latentgen.reporting.page
    import latentgen.solo  # noqa: F401

    print(json.dumps([_forked(job) for job in json.loads(Path(sys.argv[1]).read_text())]))
