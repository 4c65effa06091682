"""Measurement of a sweep's runs, each in a process, and collection of the results."""

import contextlib
import math
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from latentgen.baselines import costs
from latentgen.core.errors import BadInput, Stopped
from latentgen.evaluation.measures.results import EVALUATIONS
from latentgen.storage import log, status
from latentgen.sweeps import folder
from latentgen.sweeps.engines import local
from latentgen.sweeps.folder import Sweep
from latentgen.sweeps.plan import Member
from latentgen.training import setup

EVALUATE = "latentgen.evaluate"
DIFFERENT = "not the same for all runs"
"""Value of an entry of the protocol that differs between runs; it matches no claim."""

NOT_FINITE = ("nan", "inf", "-inf")
"""Values that are not finite, as `workdir.json_safe` writes them."""

Measured = dict[str, dict[str, float | None]]


class Where(NamedTuple):
    """The paths of data sets and weights on this machine.

    data_dir, manual_dir: folders of data sets
    inception_weights: file with the weights of the features 'inception'
    """

    data_dir: str | None = None
    manual_dir: str | None = None
    inception_weights: str | None = None


class Found(NamedTuple):
    """The values measured on a baseline's runs, with their protocol.

    measured: quantity -> seed -> value; None if it is not finite
    protocol: the protocol of the measures; DIFFERENT for entries in which runs differ
    not_done: descriptions of the runs that failed or did not end
    waiting: number of runs that have not ended
    began: command, commit and versions at the start of training
    """

    measured: Measured
    protocol: dict[str, Any]
    not_done: list[str]
    waiting: int = 0
    began: dict[str, Any] | None = None


def measure(
    sweep: Sweep,
    member: Member,
    measures: Mapping[str, Mapping[str, Any]],
    where: Where,
    stopped: Callable[[], int | None],
) -> None:
    """Take the measures that a run's evaluations lack, each in a subprocess.

    Raises:
        Stopped: after a signal.
    """
    run_folder = sweep.run_folder(member.run)
    done = {(line["metric"], line["command"]) for line in _evaluations(run_folder)}
    for name, arguments in _arguments(run_folder, measures, where).items():
        if (name, _command(arguments)) in done:
            continue
        print(f"{run_folder.name}: {name}", file=sys.stderr, flush=True)
        with costs.spending(sweep.folder):  # one by one, so that a kill loses at most one
            exit_code = _exit_code([sys.executable, "-m", EVALUATE, *arguments], stopped)
        if exit_code:
            raise BadInput(f"{run_folder}: measuring {name!r} failed; its reason stands above.")


def _evaluations(run_folder: Path) -> list[dict[str, Any]]:
    return log.read(run_folder / EVALUATIONS) if (run_folder / EVALUATIONS).exists() else []


def _arguments(
    run_folder: Path, measures: Mapping[str, Mapping[str, Any]], where: Where
) -> dict[str, list[str]]:
    """Return the flags of latentgen.evaluate for each measure, by name."""
    found = {}
    for name, flags in measures.items():
        items = (*flags.items(), *_flags(flags, where))
        arguments = [f"--workdir={run_folder}", f"--metrics={name}"]
        found[name] = arguments + [f"--{key}={value}" for key, value in items]
    return found


def _command(arguments: Sequence[str]) -> str:
    """Format the command as evaluations record it."""
    return shlex.join(["python", "-m", EVALUATE, *arguments])


def _exit_code(command: Sequence[str], stopped: Callable[[], int | None]) -> int:
    """Run the command and return its exit code; on a signal, terminate it and raise `Stopped`."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while True:
            if signum := stopped():
                process.terminate()
                process.wait()
                raise Stopped(signum, None)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(local.POLL)


def _flags(flags: Mapping[str, Any], where: Where) -> Iterator[tuple[str, str]]:
    """Yield the flags for paths of this machine."""
    for name in ("data_dir", "manual_dir"):
        if value := getattr(where, name):
            yield name, value
    if where.inception_weights and flags.get("features") == "inception":
        yield "inception_weights", where.inception_weights


def collected(
    sweep: Sweep,
    runs: Mapping[tuple[str, int], Member],
    measures: Mapping[str, Mapping[str, Any]],
    where: Where,
) -> Found:
    """Collect the values of these measures; skip evaluations made by hand or by old recipes."""
    measured: Measured = {}
    protocols: dict[str, list[dict[str, Any]]] = {}
    not_done = []
    for (arm, seed), member in runs.items():
        run_folder = sweep.run_folder(member.run)
        current = folder.standing(run_folder)
        if current.status != status.DONE:
            not_done.append(f"{arm}, seed {seed}: {current.status}, {current.reason}")
            continue
        # A single run and a member of a population differ in the last digits: see tests/README.md.
        population = (setup.summary(run_folder) or {}).get("population", 1)
        protocols.setdefault("trained", []).append({"runs_in_one_program": population})
        for name, line in _own(run_folder, measures, where).items():
            for key, value in line["values"].items():
                value = value["mean"] if isinstance(value, Mapping) else value
                if isinstance(value, int | float) or value in NOT_FINITE:
                    measured.setdefault(f"{arm}:{name}/{key}", {})[str(seed)] = finite(value)
            protocols.setdefault(name, []).append({"split": line["split"], **line["protocol"]})
            protocols.setdefault("data", []).append(line["data"])
    standings = [folder.standing(sweep.run_folder(member.run)).status for member in sweep.members]
    waiting = sum(each not in folder.ENDED for each in standings)
    began = {key: sweep.record.get(key) for key in ("command", "commit", "versions")}
    protocol = {
        f"{name}.{key}": value
        for name, each in protocols.items()
        for key, value in shared(each).items()
    }
    return Found(measured, protocol, not_done, waiting, began)


def _own(
    run_folder: Path, measures: Mapping[str, Mapping[str, Any]], where: Where
) -> dict[str, dict[str, Any]]:
    """Return a run's evaluations by the recipe's own commands, by name; the newest of each."""
    commands = {
        name: _command(arguments)
        for name, arguments in _arguments(run_folder, measures, where).items()
    }
    return {
        line["metric"]: line
        for line in _evaluations(run_folder)
        if commands.get(line["metric"]) == line["command"]
    }


def shared(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return each key's value if all lines agree in it, else DIFFERENT."""
    first = lines[0]
    same = {key for key in first if all(line.get(key) == first[key] for line in lines)}
    return {key: first[key] if key in same else DIFFERENT for line in lines for key in line}


def finite(value: Any) -> float | None:
    """Return a finite number as a float, or None."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
