"""The launcher on a real Slurm of one node; a small program stands in for the worker."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cluster
import pytest

import latentgen
from latentgen.core.errors import BadInput
from latentgen.storage import status
from latentgen.sweeps import folder, plan
from latentgen.sweeps.engines import local, slurm
from latentgen.sweeps.engines.slurm import Options

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).with_name("stand_in.py")
STEPS = 4
SHORT = Options(time=1, lead=20)  # Slurm checks every half minute: the signal comes after one
LONG = Options(time=20)
# FOLDER SOURCE STAGE RUN...: submits, and at that stage kills itself.
LAUNCH = f"""
import os, signal, sys
from pathlib import Path
from latentgen.sweeps.engines import slurm

folder, source, stage, *runs = sys.argv[1:]
record, release = slurm._append_event, slurm._release

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

def record_until(folder, event, name, **what):
    if event == "submitted" and stage == "before the record":
        die()
    record(folder, event, name, **what)
    if event == "intent" and stage == "before sbatch":
        die()

slurm._append_event = record_until
if stage == "before the release":
    slurm._release = die
stand_in = [sys.executable, {str(STAND_IN)!r}]
command = lambda run: [*stand_in, f"{{folder}}/runs/{{run}}", "{STEPS}", "0"]
options = slurm.Options(time=20, extra={{"begin": "now+3"}} if stage == "later" else {{}})
for run, _ in slurm.submit(Path(folder), runs, command, Path(source), options):
    print(run)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of the package."""
    return snapshot(tmp_path_factory.mktemp("source"), "snapshot")


def snapshot(place: Path, version: str) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(latentgen.__file__).parent, place / "latentgen", ignore=ignored)
    (place / "version.txt").write_text(version)
    return place


def stand_in(sweep: Path, interruptions: Mapping[str, int] | None = None) -> Callable[[str], Any]:
    """The command of each member, which ends after its number of interruptions."""

    def command(run: str) -> list[str]:
        count = (interruptions or {}).get(run, 0)
        return [sys.executable, str(STAND_IN), str(sweep / "runs" / run), str(STEPS), str(count)]

    return command


def attempts(sweep: Path, run: str) -> list[str]:
    """The version of the source that each attempt saw."""
    path = sweep / "runs" / run / "attempts.txt"
    return path.read_text().splitlines() if path.exists() else []


def steps(sweep: Path, run: str) -> list[int]:
    """The steps that were taken, over all attempts."""
    lines = (sweep / "runs" / run / "steps.txt").read_text().splitlines()
    return [int(line.split()[1]) for line in lines]


def finished(sweep: Path, run: str) -> bool:
    return (sweep / "runs" / run / "summary.json").exists()


def wait_for_all(sweep: Path, *runs: str, seconds: float = 120) -> None:
    cluster.wait(lambda: all(finished(sweep, run) for run in runs), seconds, f"the end of {runs}")
    cluster.wait(lambda: not slurm.queued(sweep), 30, "an empty queue")


def state(running: cluster.Cluster, job: str) -> str:
    words = cluster.call(running, "scontrol", "--oneliner", "show", "job", job).split()
    return " ".join(w for w in words if w.startswith(("JobState=", "ExitCode=")))


def launch(sweep: Path, source: Path, stage: str, *runs: str, **how: Any) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": str(Path(latentgen.__file__).parents[1])} | how.pop("env", {})
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(sweep), str(source), stage, *runs],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        **how,
    )


def end(process: subprocess.Popen[str]) -> list[str]:
    """The runs that a launcher submitted."""
    out, err = process.communicate(timeout=120)
    assert process.returncode in (0, -9), err
    return out.split()


def test_an_array_ends_and_a_second_launch_submits_what_is_missing(in_cluster, sweep, source):
    runs = [f"lr={i},s=0" for i in range(12)]
    options = LONG._replace(at_once=5)
    slurm.check(options)
    ordinary = stand_in(sweep)

    def command(run: str) -> list[str]:
        return ["sh", "-c", "echo no good; exit 5"] if run == runs[0] else ordinary(run)

    jobs = slurm.submit(sweep, runs, command, source, options)
    assert [run for run, _ in jobs] == runs
    assert len({job.partition("_")[0] for _, job in jobs}) == 2  # 12 > MaxArraySize
    assert slurm.queued(sweep).keys() == set(runs)
    assert slurm.submit(sweep, runs, command, source, options) == []
    most = 0
    while queue := slurm.queued(sweep):
        most = max(most, sum(state == "RUNNING" for _, state in queue.values()))
    assert 1 <= most <= 5
    assert all(steps(sweep, run) == list(range(STEPS)) for run in runs[1:])
    assert state(in_cluster, jobs[0][1]) == "JobState=FAILED ExitCode=5:0"
    assert state(in_cluster, jobs[1][1]) == "JobState=COMPLETED ExitCode=0:0"
    assert (sweep / "runs" / runs[0] / "log.txt").read_text() == "no good\n"
    told = status.read(sweep / "runs" / runs[0])
    assert told is not None
    assert (told.status, told.reason) == ("failed", "exit code 5: no good")

    assert [run for run, _ in slurm.submit(sweep, runs, ordinary, source, options)] == runs[:1]
    wait_for_all(sweep, *runs)
    assert all(len(attempts(sweep, run)) == 1 for run in runs)


INTERRUPTIONS = {"limit": 1, "usr2": 4, "requeue": 2, "term then usr2": 1, "term": 1}


@pytest.fixture(scope="module")
def interrupted(
    slurm_cluster: cluster.Cluster, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A sweep whose members have ended, each after interruptions of its kind."""
    sweep = tmp_path_factory.mktemp("sweep")

    def ready(run: str) -> bool:
        """True once if the member's next interruption is due."""
        path = sweep / "runs" / run / "ready"
        due = path.exists()
        path.unlink(missing_ok=True)
        return due

    with pytest.MonkeyPatch.context() as patch:
        for key, value in slurm_cluster.env.items():
            patch.setenv(key, value)
        command = stand_in(sweep, INTERRUPTIONS)
        jobs = dict(slurm.submit(sweep, list(INTERRUPTIONS), command, source, SHORT))

        def interrupt() -> bool:
            if ready("usr2"):
                cluster.call(slurm_cluster, "scancel", "--signal=USR2", jobs["usr2"])
            if ready("requeue"):
                cluster.call(slurm_cluster, "scontrol", "requeue", jobs["requeue"])
            if ready("term"):
                cluster.call(slurm_cluster, "scancel", "--signal=TERM", jobs["term"])
            if ready("term then usr2"):
                for name in ("TERM", "USR2", "USR2"):
                    cluster.call(
                        slurm_cluster, "scancel", f"--signal={name}", jobs["term then usr2"]
                    )
            return all(finished(sweep, run) for run in INTERRUPTIONS)

        cluster.wait(interrupt, 150, "interruptions")
    return sweep


@pytest.mark.parametrize("run", INTERRUPTIONS)
def test_an_interrupted_member_continues(interrupted, run):
    assert len(attempts(interrupted, run)) == 1 + INTERRUPTIONS[run]
    assert steps(interrupted, run) == list(range(STEPS))
    log = (interrupted / "runs" / run / "log.txt").read_text()
    assert log.count("saved") == INTERRUPTIONS[run]


def test_preempted_members_continue(in_cluster, sweep, source):
    """Preempt at once, with two SIGTERM within milliseconds, and with a grace time."""
    runs = {"a": "long", "b": "graced", "c": "graced"}
    command = stand_in(sweep, dict.fromkeys(runs, 1))
    for partition in ("long", "graced"):
        members = [run for run, where in runs.items() if where == partition]
        slurm.submit(sweep, members, command, source, LONG._replace(partition=partition))
    ready = [sweep / "runs" / run / "ready" for run in runs]
    cluster.wait(lambda: all(path.exists() for path in ready), 60, "members that can be preempted")
    everything = f"--ntasks={in_cluster.cpus}"
    cluster.call(
        in_cluster, "sbatch", "--partition=urgent", everything, "--output=/dev/null", "--wrap=:"
    )
    wait_for_all(sweep, *runs)
    for run in runs:
        assert len(attempts(sweep, run)) == 2
        assert steps(sweep, run) == list(range(STEPS))


def test_a_run_requeued_in_training_continues(in_cluster, sweep, source, tmp_path, monkeypatch):
    """The real worker, which compiles, trains and saves."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "false")
    config = runpy.run_path(str(ROOT / "experiments" / "vae.py"))["get_config"]()
    for net in ("encoder", "decoder"):
        config[net].hidden = (64,)
    config.steps, config.every.log, config.batch_size = 20_000, 100, 32
    config.every.validate = config.every.sample = config.every.checkpoint = config.steps
    [member] = plan.members(config, [{"config.seed": 3}])
    there = folder.open_(sweep, json.loads(config.to_json()), [member], "")
    train = lambda run: local.command(there, run, local.Options())  # noqa: E731
    [(run, job)] = slurm.submit(sweep, [member.run], train, source, LONG)
    place = there.run_folder(run)

    def said() -> str:
        path = place / "metrics.jsonl"
        return path.read_text() if path.exists() else ""

    cluster.wait(lambda: '"train"' in said(), 120, "training")
    cluster.call(in_cluster, "scontrol", "requeue", job)
    wait_for_all(sweep, run)
    rows = [json.loads(line) for line in said().splitlines()]
    trained = [row["step"] for row in rows if row["split"] == "train"]
    assert trained == list(range(100, config.steps + 1, 100))
    told = status.read(place)
    assert told is not None
    assert (told.status, told.attempts, told.job) == ("done", 2, job)
    log = (place / "log.txt").read_text()
    assert "stopped by SIGTERM after step" in log
    assert "continuing after step" in log


def test_a_cancelled_member_ends_until_it_is_launched_again(in_cluster, sweep, source):
    command = stand_in(sweep, {"a": 1})
    [(_, job)] = slurm.submit(sweep, ["a"], command, source, LONG)
    cluster.wait((sweep / "runs" / "a" / "ready").exists, 60, "a member")
    cluster.call(in_cluster, "scancel", job)
    cluster.wait(lambda: not slurm.queued(sweep), 30, "an empty queue")
    assert state(in_cluster, job).startswith("JobState=CANCELLED")
    assert (sweep / "runs" / "a" / "log.txt").read_text() == "attempt 1\nsaved\n"
    slurm.submit(sweep, ["a"], command, source, LONG)
    wait_for_all(sweep, "a")
    assert steps(sweep, "a") == list(range(STEPS))


def test_two_launchers_at_once_submit_each_member_once(in_cluster, sweep, source):
    runs = [f"s={i}" for i in range(25)]
    assert len(runs) > 2 * in_cluster.array
    launchers = [launch(sweep, source, "none", *runs) for _ in range(2)]
    first, second = (end(launcher) for launcher in launchers)
    assert sorted(first + second) == sorted(runs)
    wait_for_all(sweep, *runs)
    for run in runs:
        assert len(attempts(sweep, run)) == 1
        assert steps(sweep, run) == list(range(STEPS))


@pytest.mark.parametrize("stage", ["before sbatch", "before the record", "before the release"])
def test_after_a_killed_launcher_each_member_runs_once(in_cluster, sweep, source, stage):
    runs = ["s=0", "s=1", "s=2"]
    killed = launch(sweep, source, stage, *runs)
    assert (end(killed), killed.returncode) == ([], -9)
    assert set(slurm.queued(sweep)) == (set(runs) if stage == "before the release" else set())
    # Its jobs are on hold: only the next launcher releases them.
    ended = end(launch(sweep, source, "none", *runs))
    assert ended == ([] if stage == "before the release" else runs)
    wait_for_all(sweep, *runs)
    assert [len(attempts(sweep, run)) for run in runs] == [1, 1, 1]
    assert cluster.call(in_cluster, "squeue", "--noheader") == ""


def test_a_slow_sbatch_that_outlives_its_launcher_changes_nothing(
    in_cluster, sweep, source, tmp_path
):
    slow = tmp_path / "bin" / "sbatch"
    slow.parent.mkdir()
    slow.write_text(
        f'#!/bin/sh\ntouch "{tmp_path}/in"\nsleep 3\nexec {shutil.which("sbatch")} "$@"\n'
    )
    slow.chmod(0o755)
    path = f"{slow.parent}:{os.environ['PATH']}"
    with launch(sweep, source, "none", "a", "b", env={"PATH": path}) as killed:
        cluster.wait((tmp_path / "in").exists, 60, "sbatch")
        killed.kill()
        assert end(launch(sweep, source, "none", "a", "b")) == ["a", "b"]
        wait_for_all(sweep, "a", "b")
        in_queue = lambda: cluster.call(in_cluster, "squeue", "--noheader", "--format=%r").split()  # noqa: E731
        cluster.wait(lambda: bool(in_queue()), 30, "the late job")
    assert in_queue() == ["JobHeldUser"]
    assert slurm.submit(sweep, ["a", "b"], stand_in(sweep), source, LONG) == []
    cluster.wait(lambda: not in_queue(), 10, "its withdrawal")
    assert len(attempts(sweep, "a")) == len(attempts(sweep, "b")) == 1


def test_queued_members_keep_their_source(in_cluster, sweep, tmp_path):
    checkout, own = snapshot(tmp_path / "checkout", "edited"), snapshot(tmp_path / "own", "own")
    env = {"PYTHONPATH": str(checkout)}
    assert end(launch(sweep, own, "later", "a", "b", cwd=checkout, env=env)) == ["a", "b"]
    (checkout / "latentgen" / "sweeps" / "engines" / "slurm.py").write_text(
        "raise ImportError('edited')"
    )
    assert attempts(sweep, "a") == attempts(sweep, "b") == []
    wait_for_all(sweep, "a", "b")
    assert attempts(sweep, "a") == attempts(sweep, "b") == ["own"]


def test_a_refusal_midway_is_told_and_what_was_taken_is_known(in_cluster, sweep, source):
    command = stand_in(sweep, {"a": 1})
    slurm.submit(sweep, ["a"], command, source, LONG)
    with pytest.raises(BadInput, match=r"^sbatch refuses: .*Invalid generic resource"):
        slurm.submit(sweep, ["a", "b"], command, source, LONG._replace(gpus=1))
    assert slurm.queued(sweep).keys() == {"a"}
    [(run, _)] = slurm.submit(sweep, ["a", "b"], command, source, LONG)
    assert run == "b"
    cluster.wait((sweep / "runs" / "a" / "ready").exists, 60, "a")
    cluster.call(in_cluster, "scontrol", "requeue", slurm.queued(sweep)["a"][0])
    wait_for_all(sweep, "a", "b")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"partition": "lng"}, "partition='lng' is unknown; did you mean 'long'?"),
        ({"time": 61}, "time=61 min exceeds what partition 'long' allows: 60."),
        ({"time": 61, "partition": "graced"}, "exceeds what partition 'graced' allows"),
        ({"time": 0}, "time=0 must be at least 1"),
        ({"at_once": 0}, "at_once=0 must be at least 1"),
        ({"time": 2}, "lead=120 s must be at least 1 and less than the time limit, 120 s"),
        ({"cpus": 13}, "sbatch refuses: .*configuration"),
        ({"gpus": 1}, "sbatch refuses: .*Invalid generic resource"),
        ({"extra": {"nodelist": "elsewhere"}}, "sbatch refuses: .*node"),
        ({"extra": {"hold": True}}, "extra='hold' is set by latentgen itself"),
    ],
)
def test_what_slurm_would_refuse_is_told_in_one_line(in_cluster, change, words):
    with pytest.raises(BadInput, match=words) as error:
        slurm.check(LONG._replace(**change))
    assert "\n" not in str(error.value)


def test_what_no_node_can_take_waits_and_is_known(in_cluster, sweep, source):
    [(run, job)] = slurm.submit(sweep, ["a"], stand_in(sweep), source, LONG._replace(cpus=99))
    assert slurm.queued(sweep) == {run: (job, "PENDING")}
    assert cluster.call(in_cluster, "squeue", "--noheader", "--format=%r").split() != [
        "JobHeldUser"
    ]
    cluster.call(in_cluster, "scancel", job)
    assert slurm.queued(sweep) == {}


def test_without_slurm_or_submitit_one_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match=r"no Slurm here: sbatch is not on the PATH\.$"):
        slurm.check(LONG)
    for name in slurm.PROGRAMS:
        (tmp_path / name).touch(0o755)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"pip install 'latentgen\[slurm\]'"):
        slurm.check(LONG)


def test_a_controller_that_does_not_answer_is_told(in_cluster, monkeypatch, tmp_path, sweep):
    conf = tmp_path / "slurm.conf"
    text = (in_cluster.folder / "slurm.conf").read_text()
    conf.write_text(text.replace("SlurmctldPort=", "MessageTimeout=2\nSlurmctldPort=1#"))
    monkeypatch.setenv("SLURM_CONF", str(conf))
    with pytest.raises(BadInput, match=r"^scontrol refuses: .*[Uu]nable to contact"):
        slurm.check(LONG)
    (sweep / "submissions.jsonl").write_text(
        json.dumps({"event": "intent", "name": "x", "runs": ["a"]}) + "\n"
    )
    with pytest.raises(BadInput, match=r"^squeue refuses: "):  # not: nothing is queued
        slurm.submit(sweep, ["a"], stand_in(sweep), tmp_path, LONG)
