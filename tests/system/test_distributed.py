"""One run on many devices and by two processes: the same curves, one writer, one end for all."""

import json
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import listening
import numpy as np
import pytest
from commands import run, start, tiny

from latentgen.core.errors import BadInput
from latentgen.storage import log
from latentgen.system.distributed import (
    ProcessGroup,
    _bind_address,
    broadcast_from_zero,
    is_multi_process,
    is_process_zero,
    join,
    on_all_processes,
    on_process_zero,
)

STEPS, MIDDLE, CHUNK = 200, 100, 10
TOLERANCE = 1e-5  # of a loss, against one device, over STEPS steps; 7e-8 is what was seen
EIGHT = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
TWO = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}


def flags(name: str) -> list[str]:
    """Batch norm in both players of a VAE, in a GAN's generator; a VAE with large parameters."""
    wide = [f"--config.{net}.hidden=256," for net in ("encoder", "decoder") if name == "vae"]
    return [*tiny(name), *wide, f"--config.steps={STEPS}"]


@pytest.fixture(scope="module", params=["vae", "gan"])
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path, Path]:
    """(name, the run on one device, the run on eight)."""
    folder = tmp_path_factory.mktemp(request.param)
    for where, env in (("one", {}), ("eight", EIGHT)):
        done = run("run", *flags(request.param), f"--workdir={folder}/{where}", **env)
        assert done.returncode == 0, done.stderr
    return request.param, folder / "one", folder / "eight"


def crew(*words: str, **env: str) -> list[subprocess.Popen]:
    """Two processes of one run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = [f"--coordinator=127.0.0.1:{port}", "--num_processes=2"]
    return [start("run", *words, *where, f"--process_id={i}", **env) for i in range(2)]


def ends(processes: list[subprocess.Popen], within: float = 120) -> list[tuple[int, str, str]]:
    """(exit code, stdout, stderr) of each."""
    try:
        told = [process.communicate(timeout=within) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *texts) for p, texts in zip(processes, told, strict=True)]


def lines(workdir: Path) -> int:
    file = workdir / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def wait_for(workdir: Path, more: int, processes: list[subprocess.Popen]) -> None:
    """Until the processes have logged so many lines of their own."""
    deadline = time.monotonic() + 120
    while "attempts" not in status(workdir) or status(workdir)["pid"] != processes[0].pid:
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)
    before = lines(workdir)
    while lines(workdir) < before + more:
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.02)


def status(workdir: Path) -> dict:
    try:
        return json.loads((workdir / "status.json").read_text())
    except FileNotFoundError:
        return {}


def newest(workdir: Path) -> int:
    return max(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdecimal())


def assert_same_curves(a: Path, b: Path) -> None:
    """Every step of every split once, in the same order, with the same values but for rounding."""
    one, other = (log.read(folder / "metrics.jsonl") for folder in (a, b))
    assert [(r["step"], r["split"]) for r in one] == [(r["step"], r["split"]) for r in other]
    assert len({(r["step"], r["split"]) for r in one}) == len(one) == STEPS // CHUNK + 1
    for x, y in zip(one, other, strict=True):
        assert x.keys() == y.keys()
        for name in x.keys() - {"seconds", "split"}:
            np.testing.assert_allclose(y[name], x[name], TOLERANCE, TOLERANCE, err_msg=name)


def cut_back(workdir: Path, to: Path) -> Path:
    """A copy of a finished run as it stood at MIDDLE."""
    shutil.copytree(workdir, to)
    (to / "summary.json").unlink()
    for checkpoint in (to / "checkpoints").iterdir():
        if checkpoint.name.isdecimal() and int(checkpoint.name) > MIDDLE:
            shutil.rmtree(checkpoint)
    return to


@pytest.mark.long
def test_eight_devices_train_as_one(trained: tuple[str, Path, Path]) -> None:
    _, one, eight = trained
    assert_same_curves(one, eight)
    summaries = [json.loads((w / "summary.json").read_text()) for w in (one, eight)]
    assert summaries[0]["state_values"] == summaries[1]["state_values"]


@pytest.mark.long
def test_a_checkpoint_goes_on_elsewhere(trained: tuple[str, Path, Path], tmp_path: Path) -> None:
    """From eight devices to one; to two processes of two, parameters split over all four."""
    name, one, eight = trained
    workdir = cut_back(eight, tmp_path / "run")
    words = [*flags(name), f"--workdir={workdir}"]
    if name == "gan":
        done = run("run", *words)
        assert done.returncode == 0, done.stderr
        assert f"continuing after step {MIDDLE}" in done.stderr
    else:
        for code, _, err in ends(crew(*words, "--fsdp=4", **TWO)):
            assert code == 0, err
    assert_same_curves(one, workdir)


@pytest.mark.long
@pytest.mark.parametrize("trained", ["gan"], indirect=True)
def test_a_signal_to_one_process_stops_all_at_one_step_and_the_same_command_continues(
    trained: tuple[str, Path, Path], tmp_path: Path
) -> None:
    name, one, _ = trained
    workdir = tmp_path / "run"
    # Checkpoints only at the end, so that what is found came from the signal.
    words = [*flags(name), f"--workdir={workdir}"]
    processes = crew(*words)
    wait_for(workdir, 2, processes)
    found = {process.pid: listening.sockets(process.pid) for process in processes}
    processes[1].send_signal(signal.SIGTERM)
    (code, _, err), (other, _, silent) = ends(processes)
    assert (code, other) == (143, 143), err + silent
    step = newest(workdir)
    assert f"stopped by SIGTERM after step {step}" in err
    addresses = [address for each in found.values() for address, _ in each]
    assert not any(address.is_unspecified for address in addresses)
    (coordinator,) = [word for word in processes[0].args if word.startswith("--coordinator=")]
    port = int(coordinator.rpartition(":")[2])
    assert [a.is_loopback for a, at in found[processes[0].pid] if at == port] == [True]
    assert step == log.read(workdir / "metrics.jsonl")[-1]["step"] < STEPS
    assert status(workdir)["status"] == "preempted"

    (code, out, err), (other, silent_out, silent_err) = ends(crew(*words))
    assert (code, other) == (0, 0), err + silent_err
    assert f"continuing after step {step}" in err
    assert f"{STEPS} steps in" in out
    assert "step" not in silent_out + silent_err
    assert_same_curves(one, workdir)


LOSSES = [  # signal, to which process, flags, what the other one says, within how many seconds
    (signal.SIGKILL, 1, ["--heartbeat=20", "--stuck=30"], "a collective failed", 20),
    (signal.SIGSTOP, 0, ["--heartbeat=5", "--stuck=60"], "lost a peer or the coordinator", 20),
    (signal.SIGSTOP, 1, ["--heartbeat=100", "--stuck=4"], "no step for ", 15),  # 4 s, or ten chunks
]


@pytest.mark.long
def test_a_lost_process_ends_the_others_in_time_and_the_run_continues(tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    words = [*flags("gan"), f"--workdir={workdir}", "--config.steps=600"]
    for signum, victim, bounds, said, within in LOSSES:
        processes = crew(*words, *bounds)
        wait_for(workdir, 6, processes)  # a checkpoint, at least
        processes[victim].send_signal(signum)
        began = time.monotonic()
        (code, _, err), *_ = ends([processes[1 - victim]])
        took = time.monotonic() - began
        processes[victim].kill()  # or it would hold the folder
        ends([processes[victim]])
        assert code == 75, err
        last = err.splitlines()[-1]
        assert last.startswith(f"error: process {1 - victim} of 2: "), err
        assert said in last or (signum == signal.SIGKILL and "lost a peer" in last)
        assert last.endswith(f"the same command continues from step {newest(workdir)}.")
        assert took < within
    done = run("run", *words)  # by one process: no matter how many there were
    assert done.returncode == 0, done.stderr
    rows = log.read(workdir / "metrics.jsonl")
    assert [r["step"] for r in rows if r["split"] == "train"] == list(range(CHUNK, 601, CHUNK))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config.batch_size=36"], "config.batch_size=36 must be a multiple of 8, the number"),
        (["--coordinator=localhost:1234"], "needs --num_processes and --process_id"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    words: list[str], said: str, tmp_path: Path
) -> None:
    done = run("run", *flags("gan"), f"--workdir={tmp_path}/run", *words, **EIGHT)
    assert done.returncode == 2, done.stderr
    notes = ("data: ", "weights: ")
    told = [line for line in done.stderr.splitlines() if not line.startswith(notes)]
    assert len(told) == 1
    assert said in told[0]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ((None, 2, 0), "needs --coordinator:"),
        (("localhost:1234", None, 1), "needs --num_processes:"),
        (("localhost", 2, 0), "--coordinator='localhost' must be HOST:PORT"),
        (("localhost:0", 2, 0), "must be HOST:PORT"),
        (("localhost:1234", 2, 2), "--process_id=2 must be from 0 to 1"),
    ],
)
def test_flags_that_do_not_fit_each_other_are_named(told: tuple, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        join(ProcessGroup(*told))


def test_one_process_joins_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("JOB_ID", "7"), ("NTASKS", "4"), ("PROCID", "0"), ("LOCALID", "0")):
        monkeypatch.setenv(f"SLURM_{name}", value)  # a batch script that starts us without srun
    join(ProcessGroup())
    join(ProcessGroup("localhost:1234", 1, 0))
    assert not is_multi_process()
    assert is_process_zero()
    assert broadcast_from_zero(3) == on_all_processes(lambda: 3) == on_process_zero(lambda: 3) == 3


def test_a_mistake_of_the_first_process_ends_all_with_one_line(tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    words = [*flags("gan"), f"--workdir={workdir}", "--config.batch_size=33"]
    (code, _, err), (other, _, silent) = ends(crew(*words), within=60)
    assert (code, other) == (2, 2)
    assert "config.batch_size=33" in err.splitlines()[-1]
    assert "batch_size" not in silent


@pytest.mark.long
def test_a_divergence_is_found_by_all_and_told_by_the_first(tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    words = [  # nothing bounds this game's value
        *(*flags("gan"), f"--workdir={workdir}", "--config.method.loss=wasserstein"),
        *(f"--config.{p}_optimizer.name=sgd" for p in ("generator", "discriminator")),
        *(f"--config.{p}_optimizer.lr=0.5" for p in ("generator", "discriminator")),
        "--config.every.checkpoint=20",
    ]
    (code, _, err), (other, _, silent) = ends(crew(*words))
    assert (code, other) == (5, 5), err + silent
    assert err.splitlines()[-1].startswith("error: diverged at step ")
    assert "diverged" not in silent
    assert (workdir / "diverged.json").exists()
    assert status(workdir)["status"] == "diverged"


@pytest.mark.parametrize(
    ("coordinator", "near"),
    [
        *(("localhost:1", True), ("127.0.0.1:1", True), ("127.3.2.1:1", True), ("[::1]:1", True)),
        *(("node-3:1", False), ("10.0.0.1:1", False), ("0.0.0.0:1", False), (None, False)),
    ],
)
def test_a_coordinator_that_only_this_machine_reaches_listens_on_loopback(
    coordinator: str | None, near: bool
) -> None:
    assert _bind_address(coordinator) == (coordinator if near else None)
