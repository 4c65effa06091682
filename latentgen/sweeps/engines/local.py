"""Engine that trains each run in a process on this machine's devices, with retries and logs."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from latentgen.core.errors import Stopped
from latentgen.storage import status, workdir
from latentgen.sweeps import folder
from latentgen.sweeps.folder import Sweep, standing
from latentgen.sweeps.options import Options
from latentgen.sweeps.plan import Member

POLL = 0.2  # seconds
HOPELESS = (2, 5)  # exit codes that are not retried: bad input, divergence


class Devices(NamedTuple):
    """The platform of this machine's devices, such as cpu, gpu or tpu, and their number."""

    platform: str
    number: int


def devices() -> Devices:
    """Return this machine's devices; a subprocess asks JAX, which allocates their memory."""
    code = "import jax; print(jax.default_backend(), jax.local_device_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    platform, count = done.stdout.split()[-2:]
    return Devices(platform, int(count))


def command(sweep: Sweep, run: str, options: Options) -> list[str]:
    """Return the command that trains the member of this name."""
    data_folders = {"data_dir": options.data_dir, "manual_dir": options.manual_dir}
    return [
        *(sys.executable, "-m", "latentgen.worker"),
        *(f"--workdir={sweep.folder.absolute()}", f"--run={run}"),
        *(f"--{name}={Path(path).absolute()}" for name, path in data_folders.items() if path),
    ]


def environment(source: Path) -> dict[str, str]:
    """Return the environment of a process that imports the sweep's own source."""
    path = os.pathsep.join(filter(None, [str(source.absolute()), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def _share(devices: Devices, slot: int, jobs: int) -> dict[str, str]:
    """Return the variables that limit this slot's process to its device and its share of memory."""
    if devices.platform not in ("gpu", "cuda", "rocm"):
        return {}
    each = -(-jobs // devices.number)
    visible = "ROCR_VISIBLE_DEVICES" if devices.platform == "rocm" else "CUDA_VISIBLE_DEVICES"
    visible_devices = os.environ.get(visible, "").split(",")
    device = (
        visible_devices[slot % devices.number]
        if any(visible_devices)
        else str(slot % devices.number)
    )
    share = {} if each == 1 else {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / each:.3f}"}
    return {visible: device, **share}


class _Job(NamedTuple):
    member: Member
    process: subprocess.Popen[bytes]
    slot: int


class Queue:
    """A queue of members: those that wait, those that train, those that have ended."""

    def __init__(self, sweep: Sweep, todo: Sequence[Member], options: Options, source: Path):
        self._sweep, self._options, self._source = sweep, options, source
        self._devices = devices()
        self.jobs = options.jobs or self._devices.number
        self._waiting, self._running = list(todo), list[_Job]()
        self._orphans: list[Member] = []
        self._retries: dict[str, int] = {}
        self._total, self._ended = len(todo), 0
        self.failed = False

    def go(self, stopped: Callable[[], int | None]) -> None:
        """Train all members.

        Raises:
            Stopped: after a signal, once every process has saved a checkpoint and ended.
        """
        with self._stop_on_error():
            while self._waiting or self._running or self._orphans:
                if signum := stopped():
                    self._stop()
                    raise Stopped(signum, None)
                self._poll()
                if self.failed and self._options.fail_fast:
                    self._stop()
                    return
                self._start()
                time.sleep(POLL)

    @contextlib.contextmanager
    def _stop_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._stop()
            raise

    def _start(self) -> None:
        free = [slot for slot in range(self.jobs) if slot not in {j.slot for j in self._running}]
        while self._waiting and free:
            member, slot = self._waiting.pop(0), free.pop(0)
            run_folder = self._sweep.run_folder(member.run)
            if folder.in_use(run_folder):  # by a worker of a killed launcher
                self._orphans.append(member)
                free.insert(0, slot)
                continue
            workdir.prepare(run_folder)
            with workdir.opened(run_folder / folder.LOG, "ab") as log:
                process = subprocess.Popen(
                    command(self._sweep, member.run, self._options),
                    cwd=self._source,
                    env=environment(self._source) | _share(self._devices, slot, self.jobs),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C only reaches the launcher, which stops it
                )
            self._running.append(_Job(member, process, slot))

    def _poll(self) -> None:
        for job in list(self._running):
            if (code := job.process.poll()) is not None:
                self._running.remove(job)
                self._handle_exit(job.member, code)
        for member in list(self._orphans):
            if not folder.in_use(self._sweep.run_folder(member.run)):
                self._orphans.remove(member)
                current = standing(self._sweep.run_folder(member.run))
                if current.status in folder.ENDED:
                    self._end(member, current)
                else:
                    self._waiting.insert(0, member)

    def _handle_exit(self, member: Member, code: int) -> None:
        run_folder = self._sweep.run_folder(member.run)
        if code and standing(run_folder).status != status.DONE:
            status.blame(run_folder, code, run_folder / folder.LOG)
        current = standing(run_folder)
        retry = self._retries.get(member.run, 0) < self._options.retries
        if code and code not in HOPELESS and retry:
            self._retries[member.run] = self._retries.get(member.run, 0) + 1
            print(f"{member.run}: {current.reason}; started again", file=sys.stderr, flush=True)
            self._waiting.append(member)
            return
        self._end(member, current)

    def _end(self, member: Member, current: folder.Standing) -> None:
        self._ended += 1
        self.failed |= current.status != status.DONE
        reason = f" ({current.reason})" if current.reason else ""
        print(
            f"[{self._ended}/{self._total}] {member.run}: {current.status}{reason}; "
            f"{len(self._running)} running, {len(self._waiting)} waiting",
            file=sys.stderr,
            flush=True,
        )

    def _stop(self) -> None:
        for job in self._running:
            job.process.terminate()
        for job in self._running:
            job.process.wait()
        self._running.clear()


def describe(members: Sequence[Member], options: Options) -> list[str]:
    """Describe the number of processes at once and their devices."""
    found = devices()
    return [f"{options.jobs or found.number} at once on {found.number} x {found.platform}"]


def train(
    sweep: Sweep, todo: Sequence[Member], options: Options, stopped: Callable[[], int | None]
) -> None:
    """Train these members, a process each, with a snapshot of the present source.

    Raises:
        Stopped: after a signal; the same command continues.
    """
    Queue(sweep, todo, options, folder.snapshot(sweep.folder, folder.modules_of(sweep))).go(stopped)
