"""A real Slurm of one node, started by hand: munged, slurmctld and slurmd, as root, in one folder.

Several may run on a machine at once: each has ports, a key and a socket of its own.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
# A requeued job waits until its credential expires: two minutes by default.
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=10000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
MaxArraySize={array}
MinJobAge=120
KillWait=15
OverTimeLimit=0
ReturnToService=2
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=1000 State=UNKNOWN
PartitionName=long Nodes={host} Default=YES MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE
PartitionName=graced Nodes={host} MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime=15
PartitionName=urgent Nodes={host} MaxTime=60 PriorityTier=10 PreemptMode=OFF
"""


class Cluster(NamedTuple):
    """A running Slurm. A process with `env` in its environment uses it."""

    folder: Path
    env: dict[str, str]
    array: int  # MaxArraySize
    cpus: int  # how many tasks run at once


def missing() -> str | None:
    """The reason why this machine can have no cluster."""
    if absent := [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]:
        return f"needs Debian's slurm-wlm and munge: no {', '.join(absent)}"
    return None if os.geteuid() == 0 else "must be root to start Slurm"


@contextlib.contextmanager
def start(folder: Path, array: int = 10, cpus: int = 12) -> Iterator[Cluster]:
    """Starts a Slurm in an empty folder and ends it, with all its jobs.

    Args:
        array: MaxArraySize.
        cpus: the number that the node is configured with.
    """
    for name in ("state", "spool"):
        (folder / name).mkdir()
    # Munge does not trust a folder that others may write to; jobs of the tests are root's too.
    folder.chmod(0o755)
    ports = _free_ports(2)
    conf = folder / "slurm.conf"
    conf.write_text(
        CONF.format(
            folder=folder,
            host=socket.gethostname().partition(".")[0],
            controller_port=ports[0],
            node_port=ports[1],
            array=array,
            cpus=cpus,
        )
    )
    cluster = Cluster(folder, {"SLURM_CONF": str(conf), "PATH": _path()}, array, cpus)
    with contextlib.ExitStack() as stack:
        stack.callback(_kill_jobs, folder)
        for name, command in _daemons(folder):
            stack.enter_context(_daemon(cluster, name, command))
            if name == "munged":
                wait(lambda: (folder / "munge.socket").exists(), 10, "munged")
        try:
            wait(lambda: call(cluster, "sinfo", "-h", "-o", "%T").startswith("idle"), 60, "Slurm")
        except TimeoutError as error:
            logs = [path.read_text()[-2000:] for path in sorted(folder.glob("*.log"))]
            raise RuntimeError("\n".join([str(error), *logs])) from None
        yield cluster
        call(cluster, "scancel", "--full", "--user=root")


def call(cluster: Cluster, *command: str) -> str:
    """Run a command of Slurm's; return its output, whether or not it succeeds."""
    done = subprocess.run(
        command, env=os.environ | cluster.env, capture_output=True, text=True, timeout=60
    )
    return done.stdout + done.stderr


def wait(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Returns as soon as the condition holds.

    Raises:
        TimeoutError: it does not within that many seconds.
    """
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not after {seconds} s")
        time.sleep(0.1)


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _daemons(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """(name, command) of each, in the order in which they start; all stay in the foreground."""
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    files = [f"--{what}-file={folder}/munge.{what}" for what in ("pid", "log", "seed", "key")]
    # --force: Munge dislikes a world-writable folder above, such as /tmp.
    yield "munged", ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *files]
    yield "slurmctld", ["slurmctld", "-D", "-c"]
    yield "slurmd", ["slurmd", "-D", "-c"]


@contextlib.contextmanager
def _daemon(cluster: Cluster, name: str, command: list[str]) -> Iterator[None]:
    # A shell ends the daemon at the end of its own input, which comes however this process dies.
    with open(cluster.folder / f"{name}.out", "wb") as output:
        process = subprocess.Popen(
            ["sh", "-c", '"$@" & read -r _; kill $!; wait $!', "sh", *command],
            env=os.environ | cluster.env,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    assert process.stdin is not None
    try:
        yield
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _kill_jobs(folder: Path) -> None:
    """End the processes left of the cluster: those whose environment names its slurm.conf."""
    mark = f"SLURM_CONF={folder}/slurm.conf".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if int(process.name) != os.getpid() and mark in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
