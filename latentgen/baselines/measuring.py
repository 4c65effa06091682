"""Measures the runs of a sweep, a process for each, and collects what was found."""

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
"""What the protocol says where arms or seeds differ in it: no claim asks for this."""

NOT_FINITE = ("nan", "inf", "-inf")
"""As `workdir.json_safe` writes them."""

Measured = dict[str, dict[str, float | None]]


class Where(NamedTuple):
    """The paths of data sets and weights on this machine.

    data_dir, manual_dir: of data sets
    inception_weights: the file that the features 'inception' need
    """

    data_dir: str | None = None
    manual_dir: str | None = None
    inception_weights: str | None = None


class Found(NamedTuple):
    """The values measured on a baseline's runs, and their circumstances.

    measured: quantity -> seed -> value; None where it is not finite
    protocol: how it was measured; DIFFERENT where runs differ in it
    not_done: the runs that did not end well, in words
    waiting: how many runs have not ended
    began: the command, the commit and the versions with which training began
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
    """Take each measure that the run's evaluations lack, as a process of its own.

    Raises:
        Stopped: a signal came.
    """
    place = sweep.place(member.run)
    done = {(line["metric"], line["command"]) for line in _evaluations(place)}
    for name, words in _words(place, measures, where).items():
        if (name, _command(words)) in done:
            continue
        print(f"{place.name}: {name}", file=sys.stderr, flush=True)
        with costs.spending(sweep.folder):  # each by itself: a kill loses the count of one
            failed = _exit_code([sys.executable, "-m", EVALUATE, *words], stopped)
        if failed:
            raise BadInput(f"{place}: measuring {name!r} failed; its reason stands above.")


def _evaluations(place: Path) -> list[dict[str, Any]]:
    return log.read(place / EVALUATIONS) if (place / EVALUATIONS).exists() else []


def _words(
    place: Path, measures: Mapping[str, Mapping[str, Any]], where: Where
) -> dict[str, list[str]]:
    """The flags with which each measure is taken, by its name."""
    found = {}
    for name, flags in measures.items():
        items = (*flags.items(), *_flags(flags, where))
        words = [f"--workdir={place}", f"--metrics={name}"]
        found[name] = words + [f"--{key}={value}" for key, value in items]
    return found


def _command(words: Sequence[str]) -> str:
    """As an evaluation tells it."""
    return shlex.join(["python", "-m", EVALUATE, *words])


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
    """The flags that say where files are."""
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
    said: dict[str, list[dict[str, Any]]] = {}
    ended = []
    for (arm, seed), member in runs.items():
        place = sweep.place(member.run)
        now = folder.standing(place)
        if now.status != status.DONE:
            ended.append(f"{arm}, seed {seed}: {now.status}, {now.reason}")
            continue
        # A run alone and one in a population differ in the last digits: see tests/README.md.
        together = (setup.summary(place) or {}).get("population", 1)
        said.setdefault("trained", []).append({"runs_in_one_program": together})
        for name, line in _own(place, measures, where).items():
            for key, value in line["values"].items():
                value = value["mean"] if isinstance(value, Mapping) else value
                if isinstance(value, int | float) or value in NOT_FINITE:
                    measured.setdefault(f"{arm}:{name}/{key}", {})[str(seed)] = finite(value)
            said.setdefault(name, []).append({"split": line["split"], **line["protocol"]})
            said.setdefault("data", []).append(line["data"])
    standings = [folder.standing(sweep.place(member.run)).status for member in sweep.members]
    waiting = sum(each not in folder.ENDED for each in standings)
    began = {key: sweep.said.get(key) for key in ("command", "commit", "versions")}
    protocol = {
        f"{name}.{key}": value for name, each in said.items() for key, value in shared(each).items()
    }
    return Found(measured, protocol, ended, waiting, began)


def _own(
    place: Path, measures: Mapping[str, Mapping[str, Any]], where: Where
) -> dict[str, dict[str, Any]]:
    """The recipe's own evaluations of a run by name; of the same one twice, the later."""
    commands = {name: _command(words) for name, words in _words(place, measures, where).items()}
    return {
        line["metric"]: line
        for line in _evaluations(place)
        if commands.get(line["metric"]) == line["command"]
    }


def shared(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Each key's value where all lines have the same, else DIFFERENT."""
    first = lines[0]
    same = {key for key in first if all(line.get(key) == first[key] for line in lines)}
    return {key: first[key] if key in same else DIFFERENT for line in lines for key in line}


def finite(value: Any) -> float | None:
    """The number, or None where it is none."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
