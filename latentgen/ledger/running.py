"""Trains and measures a baseline through a sweep's folder, or computes what is exact."""

import contextlib
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from latentgen import signals
from latentgen.errors import BadInput
from latentgen.launchers import automatic, folder, local, plan, slurm, vmap
from latentgen.launchers import results as tables
from latentgen.launchers.folder import Sweep
from latentgen.launchers.options import Options
from latentgen.launchers.plan import Member
from latentgen.ledger import accounts, books
from latentgen.ledger.types import Baseline, Exact, Recipe
from latentgen.measures.results import EVALUATIONS
from latentgen.training import log, loop, provenance, status, workdir

SPENT = "spent.jsonl"
ENGINES = ("auto", "local", "slurm", "vmap")
EVALUATE = "latentgen.evaluate"

Measured = dict[str, dict[str, float | None]]


class How(NamedTuple):
    """How a baseline is run; no part of what it is.

    engine: one of ENGINES
    inception_weights: the file that the features 'inception' need
    job: what a job asks of Slurm
    """

    options: Options = Options()
    engine: str = "auto"
    inception_weights: str | None = None
    job: slurm.Options | None = None


class Found(NamedTuple):
    """What was found.

    measured: quantity -> seed -> value
    protocol: how it was measured
    not_done: the runs that did not end well, in words
    waiting: how many runs have not ended
    """

    measured: Measured
    protocol: dict[str, Any]
    not_done: list[str]
    waiting: int = 0


def members(recipe: Recipe, budget: str, seeds: int) -> dict[tuple[str, int], Member]:
    """The runs of a recipe by arm and seed, in order."""
    config = recipe.config(budget)
    config.seed = 0
    rows = {
        (arm, seed): {f"config.{key}": value for key, value in changes.items()}
        | {"config.seed": seed}
        for arm, changes in recipe.arms.items()
        for seed in range(seeds)
    }
    made = plan.members(config, rows.values())
    if len(made) != len(rows):
        raise BadInput("two arms of this baseline have the same config.")
    return dict(zip(rows, made, strict=True))


def trained(recipe: Recipe, budget: str, seeds: int, place: Path, how: How) -> Found:
    """Trains what is not yet trained and measures what is not yet measured.

    Raises:
        Stopped: a signal came; the same command continues.
    """
    runs = members(recipe, budget, seeds)
    base = recipe.config(budget)
    base.seed = 0
    command = provenance.command("latentgen.reproduce")
    with folder.held(place), signals.noted() as stopped:
        sweep = folder.open_(place, plan.changed(base, {}), list(runs.values()), command)
        todo = folder.unfinished(sweep, ())
        try:
            if todo:
                with spending(place):
                    _train(sweep, todo, how, stopped)
            for member in sweep.members:
                if _standing(sweep, member) == status.DONE:
                    _measure(sweep, member, recipe.measures(budget), how, stopped)
        finally:
            tables.write(sweep)
    return _collected(sweep, runs)


def _train(
    sweep: Sweep, todo: Sequence[Member], how: How, stopped: Callable[[], int | None]
) -> None:
    engine, options = automatic.settled(how.engine, how.options, todo)
    print(f"{len(sweep.members)} runs, {len(todo)} to train: {engine}", file=sys.stderr)
    if engine == "slurm" and how.job is not None:
        slurm.train(sweep, todo, options, how.job)
    elif engine == "local":
        local.train(sweep, todo, options, stopped)
    else:
        vmap.train(sweep, todo, options, stopped)


def _standing(sweep: Sweep, member: Member) -> str:
    return folder.standing(sweep.place(member.run)).status


@contextlib.contextmanager
def spending(place: Path) -> Iterator[None]:
    """Adds the CPU seconds spent inside, of this process and its children, to the folder's."""
    began, before = time.perf_counter(), _cpu_seconds()
    try:
        yield
    finally:
        line = {
            "cpu_seconds": round(_cpu_seconds() - before, 1),
            "seconds": round(time.perf_counter() - began, 1),
        }
        workdir.append_json(place / SPENT, line)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def spent(place: Path) -> dict[str, float]:
    """CPU seconds and seconds of all commands that worked in this folder."""
    lines = log.read(place / SPENT)
    return {key: round(sum(line[key] for line in lines), 1) for key in ("cpu_seconds", "seconds")}


def _measure(
    sweep: Sweep,
    member: Member,
    measures: Mapping[str, Mapping[str, Any]],
    how: How,
    stopped: Callable[[], int | None],
) -> None:
    """Takes each measure that the run's evaluations lack, as a process of its own.

    Raises:
        Stopped: a signal came.
    """
    place = sweep.place(member.run)
    known = log.read(place / EVALUATIONS) if (place / EVALUATIONS).exists() else []
    done = {(line["metric"], line["command"]) for line in known}
    for name, flags in measures.items():
        words = [f"--workdir={place}", f"--metrics={name}"]
        words += [f"--{key}={value}" for key, value in (*flags.items(), *_where(flags, how))]
        if (name, shlex.join(["python", "-m", EVALUATE, *words])) in done:
            continue
        print(f"{place.name}: {name}", file=sys.stderr, flush=True)
        with spending(sweep.folder):  # each by itself: a kill loses the count of one
            failed = _exit_code([sys.executable, "-m", EVALUATE, *words], stopped)
        if failed:
            raise BadInput(f"{place}: measuring {name!r} failed; its reason stands above.")


def _exit_code(command: Sequence[str], stopped: Callable[[], int | None]) -> int:
    """Of the command, once it has ended; a signal ends it."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while True:
            if signum := stopped():
                process.terminate()
                process.wait()
                raise loop.Stopped(signum, None)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(local.POLL)


def _where(flags: Mapping[str, Any], how: How) -> Iterator[tuple[str, str]]:
    """The flags that say where files are."""
    for name in ("data_dir", "manual_dir"):
        if value := getattr(how.options, name):
            yield name, value
    if how.inception_weights and flags.get("features") == "inception":
        yield "inception_weights", how.inception_weights


def _collected(sweep: Sweep, runs: Mapping[tuple[str, int], Member]) -> Found:
    measured: Measured = {}
    protocol: dict[str, Any] = {}
    ended = []
    for (arm, seed), member in runs.items():
        now = folder.standing(sweep.place(member.run))
        if now.status != status.DONE:
            ended.append(f"{arm}, seed {seed}: {now.status}, {now.reason}")
            continue
        for line in log.read(sweep.place(member.run) / EVALUATIONS):
            name = line["metric"]
            for key, value in line["values"].items():
                value = value["mean"] if isinstance(value, Mapping) else value
                if isinstance(value, int | float):
                    of = f"{arm}:{name}/{key}"
                    measured.setdefault(of, {})[str(seed)] = float(value)
            said = {"split": line["split"], **line["protocol"]}
            protocol |= {f"{name}.{key}": value for key, value in said.items()}
            protocol |= {f"data.{key}": value for key, value in line["data"].items()}
    standings = [folder.standing(sweep.place(member.run)).status for member in sweep.members]
    waiting = sum(each not in folder.ENDED for each in standings)
    return Found(measured, protocol, ended, waiting)


def computed(exact: Exact, budget: str, seeds: int, place: Path) -> Found:
    """What an exact baseline computes, a seed at a time."""
    workdir.prepare(place)
    settings = exact.settings(budget)
    measured: Measured = {}
    with spending(place):
        for seed in range(seeds):
            for of, value in exact.compute(settings, seed).items():
                measured.setdefault(of, {})[str(seed)] = value
    return Found(measured, {f"settings.{key}": value for key, value in settings.items()}, [])


def result(
    name: str,
    found: Baseline,
    budget: str,
    seeds: int,
    place: Path,
    how: How,
) -> dict[str, Any]:
    """Runs a baseline, or goes on with it; what its file shall hold."""
    recipe = found.recipe
    if isinstance(recipe, Exact):
        (place / SPENT).unlink(missing_ok=True)  # it begins anew
        done = computed(recipe, budget, seeds, place)
    else:
        done = trained(recipe, budget, seeds, place, how)
    return {
        "name": name,
        "budget": budget,
        "command": provenance.command("latentgen.reproduce"),
        "commit": folder.commit(),
        "config_sha256": books.config_hash(found, budget),
        "versions": provenance.versions(),
        "device": provenance.device(),
        **spent(place),
        "seeds": list(range(seeds)),
        "not_done": done.not_done,
        "waiting": done.waiting,
        "protocol": done.protocol,
        "measured": done.measured,
        "claims": accounts.claims(found, budget, done.measured, done.protocol),
    }
