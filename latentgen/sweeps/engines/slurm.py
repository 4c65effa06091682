"""Engine that submits members as Slurm jobs and returns; the same command submits missing ones.

A submission has three steps, each of which is written to submissions.jsonl before the next one:
the intent, with a unique job name; the job ids, submitted with --hold; the release. If a launcher
dies in between, its jobs are still held, so that no member runs twice. The next launcher cancels
jobs without recorded ids by name, and releases recorded ones.
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import re
import shlex
import shutil
import sys
import types
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from latentgen.core.errors import BadInput, choose, positive
from latentgen.storage import workdir
from latentgen.sweeps.engines import commands, local
from latentgen.sweeps.engines.job import Work
from latentgen.sweeps.folder import Sweep, modules_of, snapshot
from latentgen.sweeps.plan import Member
from latentgen.training import setup

SUBMISSIONS = "submissions.jsonl"
JOBS = "slurm"
"""Folder in which submitit keeps each job's script, callable and log."""
PROGRAMS = ("sbatch", "srun", "squeue", "scancel", "scontrol")
OURS = (
    *("array", "chdir", "error", "export", "hold", "job-name", "open-mode", "output", "requeue"),
    *("no-requeue", "signal", "time", "partition", "account", "qos", "gpus-per-node"),
    *("cpus-per-task", "mem", "wrap"),
)


class Options(NamedTuple):
    """The Slurm options of a member's job.

    Attributes:
        time: limit in minutes; a member that needs longer is requeued and continues.
        partition: None for the cluster's default.
        account: None for the user's default.
        qos: None for the account's default.
        gpus: number of GPUs of each job.
        cpus: number of cores of each job.
        mem: memory of each job as for sbatch, such as "16G"; None for the partition's default.
        at_once: how many members of one launch run at the same time; None for as many as fit.
        requeues: how often a member may reach its time limit and be requeued.
        lead: seconds before the time limit at which a member gets the signal to save. Slurm may
            send it a minute early.
        extra: further options of sbatch without dashes; True for one without a value.
    """

    time: int
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gpus: int = 0
    cpus: int = 1
    mem: str | None = None
    at_once: int | None = None
    requeues: int = 1000
    lead: int = 120
    extra: Mapping[str, str | int | bool] = types.MappingProxyType({})


def check(options: Options, dry_run: bool = False) -> None:
    """Check that jobs with these options can be submitted from here; write nothing.

    Args:
        dry_run: whether Slurm and submitit may be missing, because nothing will be submitted.

    Raises:
        BadInput: Slurm or submitit is missing, or Slurm would refuse such a job.
    """
    missing_programs = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing_programs and not dry_run:
        raise BadInput(f"There is no Slurm here: {missing_programs[0]} is not on the PATH.")
    if importlib.util.find_spec("submitit") is None and not dry_run:
        raise BadInput("Jobs of Slurm need submitit: pip install 'latentgen[slurm]'.")
    for key in ("time", "cpus", "requeues", "at_once"):
        if (value := getattr(options, key)) is not None:
            positive(key, value)
    if not 1 <= options.lead < 60 * options.time:
        raise BadInput(
            f"lead={options.lead} s must be at least 1 and less than the time limit, "
            f"{60 * options.time} s."
        )
    if clash := sorted(set(options.extra) & set(OURS)):
        raise BadInput(f"extra={clash[0]!r} is set by latentgen itself or has an option here.")
    if missing_programs:
        return
    partitions = _partitions()
    default = next((name for name, of in partitions.items() if of.get("Default") == "YES"), None)
    if (name := options.partition or default) is not None:
        limit = choose("partition", name, partitions).get("MaxTime", "UNLIMITED")
        if (most := _minutes(limit)) is not None and options.time > most:
            raise BadInput(
                f"time={options.time} min exceeds what partition {name!r} allows: {most}."
            )
    flags = [f"--{k}" if v is True else f"--{k}={v}" for k, v in _sbatch_options(options).items()]
    commands.call("sbatch", "--test-only", "--output=/dev/null", *flags, "--wrap=true")


def submit(
    folder: Path,
    runs: Sequence[str],
    command: Callable[[str], list[str]],
    source: Path,
    options: Options,
) -> list[tuple[str, str]]:
    """Submit the members that are neither finished nor queued, as job arrays; do not wait for them.

    It first recovers from interrupted submissions, even if `runs` is empty. Other launchers wait
    until it returns.

    Args:
        folder: the sweep's folder.
        runs: run ids; each run has its folder in runs/.
        command: run id -> the worker's command.
        source: a snapshot of this package, in which workers run and from which they import it.
        options: options that `check` accepts.

    Returns:
        (run id, job id) of each submitted job.

    Raises:
        BadInput: Slurm refuses a job or does not answer; jobs submitted before are recorded.
    """
    folder, source = folder.absolute(), source.absolute()
    with _submit_lock(folder):
        _recover(folder)
        in_queue = queued(folder)
        missing = [run for run in dict.fromkeys(runs) if run not in in_queue]
        missing = [r for r in missing if not setup.is_done(folder / "runs" / r)]
        size = _largest_array() if missing else 1
        submitted: list[tuple[str, str]] = []
        after = None
        for first in range(0, len(missing), size):
            batch = missing[first : first + size]
            jobs = _submit_array(folder, batch, command, source, options, after)
            submitted += zip(batch, jobs, strict=True)
            if options.at_once is not None:
                after = jobs[0].partition("_")[0]
        return submitted


def train(sweep: Sweep, todo: Sequence[Member], options: local.Options) -> None:
    """Submit these members with a snapshot of the present source; print what was submitted.

    Raises:
        BadInput: as for `submit`.
    """
    source = snapshot(sweep.folder, modules_of(sweep))
    command = lambda run: local.command(sweep, run, options)  # noqa: E731
    runs = [member.run for member in todo]
    jobs = submit(sweep.folder, runs, command, source, options.job)
    waiting = queued(sweep.folder)
    arrays = ", ".join(dict.fromkeys(job.partition("_")[0] for _, job in jobs))
    print(
        f"{len(jobs)} runs submitted{f' as {arrays}' if arrays else ''}, {len(waiting)} in Slurm's "
        "queue; they need this launcher no more.",
        file=sys.stderr,
    )


def queued(folder: Path) -> dict[str, tuple[str, str]]:
    """Return run id -> (job id, Slurm's state) of members that wait or run in Slurm.

    Raises:
        BadInput: Slurm does not answer.
    """
    submissions = [each for each in _submissions(folder).values() if each.jobs]
    queue = _queue(each.name for each in submissions)
    return {
        run: (job, queue[job].state)
        for each in submissions
        for run, job in zip(each.runs, each.jobs, strict=True)
        if job in queue
    }


class _Submission(NamedTuple):
    """A call of sbatch; `jobs` is empty until the call has succeeded."""

    name: str
    runs: list[str]
    jobs: list[str]
    released: bool


def _submissions(folder: Path) -> dict[str, _Submission]:
    """Read submissions.jsonl by job name; ignore an incomplete last line."""
    found: dict[str, _Submission] = {}
    path = folder / SUBMISSIONS
    text = workdir.read_text(path) if path.exists() else ""
    for line in text.splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        record = json.loads(line)
        name, event = record["name"], record["event"]
        if event == "intent":
            found[name] = _Submission(name, record["runs"], [], False)
        elif event == "submitted":
            found[name] = found[name]._replace(jobs=record["jobs"])
        elif event == "released":
            found[name] = found[name]._replace(released=True)
    return found


def _append_event(folder: Path, event: str, name: str, **fields: Any) -> None:
    workdir.append_json(folder / SUBMISSIONS, {"event": event, "name": name, **fields})


@contextlib.contextmanager
def _submit_lock(folder: Path) -> Iterator[None]:
    """Lock submissions; other launchers wait."""
    with workdir.opened(folder / "submit.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _recover(folder: Path) -> None:
    """Recover from a killed launcher: cancel jobs without recorded ids, release recorded ones.

    Names without recorded ids are looked up at each launch, because a slow sbatch may outlive its
    launcher. Their jobs are held, so none has run.
    """
    submissions = _submissions(folder).values()
    lost = _queue(each.name for each in submissions if not each.jobs)
    if lost:
        commands.call("scancel", *{job.partition("_")[0] for job in lost})
    for each in submissions:
        if each.jobs and not each.released:
            _release(folder, each.name, each.jobs)


def _release(folder: Path, name: str, jobs: Sequence[str]) -> None:
    if _is_held(name):
        try:
            commands.call("scontrol", "release", jobs[0].partition("_")[0])
        except BadInput:  # also if the job is released but no node is available
            if _is_held(name):
                raise
    _append_event(folder, "released", name)


def _submit_array(
    folder: Path,
    runs: Sequence[str],
    command: Callable[[str], list[str]],
    source: Path,
    options: Options,
    after: str | None,
) -> list[str]:
    """Submit one array, record and release it; return its job ids.

    Args:
        after: a job that must have ended before this array starts.
    """
    from submitit.core.utils import FailedJobError
    from submitit.slurm.slurm import SlurmExecutor

    name = f"{re.sub(r'[^A-Za-z0-9.-]+', '_', folder.name)}-{uuid.uuid4().hex[:12]}"
    sbatch_options = _sbatch_options(options)
    if after is not None:
        sbatch_options["dependency"] = ",".join(
            filter(None, (sbatch_options.get("dependency"), f"afterany:{after}"))
        )
    callables = [Work(command(run), folder / "runs" / run / "log.txt") for run in runs]
    for run in runs:
        (folder / "runs" / run).mkdir(parents=True, exist_ok=True)
    _append_event(folder, "intent", name, runs=list(runs))
    with _clean_environment():
        executor = SlurmExecutor(folder / JOBS, max_num_timeout=options.requeues)
        executor.update_parameters(
            job_name=name,
            time=options.time,
            array_parallelism=options.at_once or len(runs),
            wckey=None,
            setup=_setup(source),
            # Since Slurm 22.05, srun does not inherit it from the job.
            srun_args=[f"--cpus-per-task={options.cpus}", "--export=ALL"],
            additional_parameters={
                **sbatch_options,
                "chdir": str(source),
                "hold": True,
                "requeue": True,
                "signal": f"USR2@{options.lead}",
            },
        )
        try:
            with executor.batch():
                submitted = [executor.submit(work) for work in callables]
        except FailedJobError as error:
            raise BadInput(f"sbatch refuses: {commands.reason(str(error))}") from None
    jobs = [job.job_id for job in submitted]
    _append_event(folder, "submitted", name, jobs=jobs)
    _release(folder, name, jobs)
    return jobs


def _setup(source: Path) -> list[str]:
    """Return shell lines before the job's command, which import the package from the snapshot."""
    path = f"{shlex.quote(str(source))}${{PYTHONPATH:+:$PYTHONPATH}}"
    return [f"export PYTHONPATH={path}", "export SUBMITIT_PREEMPT_SIGNAL=USR2"]


def _sbatch_options(options: Options) -> dict[str, Any]:
    """Return the user's options, by sbatch's long names."""
    sbatch_options = {
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "time": options.time,
        "gpus-per-node": options.gpus or None,
        "cpus-per-task": options.cpus,
        "mem": options.mem,
        **options.extra,
    }
    return {
        key: value
        for key, value in sbatch_options.items()
        if value is not None and value is not False
    }


class _Waiting(NamedTuple):
    """A job that waits or runs: Slurm's names of its state and of the reason why it waits."""

    state: str
    reason: str


def _queue(names: Iterable[str]) -> dict[str, _Waiting]:
    """Return job id -> state of all jobs with these names that wait or run."""
    if not (names := ",".join(names)):
        return {}
    lines = commands.call("squeue", "--noheader", "--array", "--format=%i|%T|%r", f"--name={names}")
    fields = [line.split("|", 2) for line in lines.splitlines()]
    return {job: _Waiting(state, reason) for job, state, reason in fields}


def _is_held(name: str) -> bool:
    """Return whether a user holds a job of this name."""
    return any(job.reason == "JobHeldUser" for job in _queue([name]).values())


def _partitions() -> dict[str, dict[str, str]]:
    """Return name -> settings of each of Slurm's partitions."""
    lines = commands.call("scontrol", "--oneliner", "show", "partition").splitlines()
    fields = [dict(item.split("=", 1) for item in line.split() if "=" in item) for line in lines]
    return {each["PartitionName"]: each for each in fields if "PartitionName" in each}


def _minutes(limit: str) -> int | None:
    """Parse Slurm's time limit, such as "2-03:00:00", as minutes; None: no limit."""
    if limit in ("UNLIMITED", "INFINITE", "NONE"):
        return None
    days, _, clock = limit.rpartition("-")
    hours, minutes, _ = clock.split(":")
    return (int(days or 0) * 24 + int(hours)) * 60 + int(minutes)


def _largest_array() -> int:
    """Return the maximum number of jobs in an array, whose indices are below MaxArraySize."""
    shown = commands.call("scontrol", "show", "config")
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", shown, re.MULTILINE)
    return max(1, int(found[1])) if found else 1


@contextlib.contextmanager
def _clean_environment() -> Iterator[None]:
    """Remove Slurm's variables from os.environ, with which submitit starts sbatch."""
    old, new = dict(os.environ), commands.environment()
    for key in old.keys() - new.keys():
        del os.environ[key]
    try:
        yield
    finally:
        os.environ.update(old)
