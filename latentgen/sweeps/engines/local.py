"""This machine's devices, a process a run: a queue, retries, a log of each."""

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
HOPELESS = (2, 5)  # exit codes that another start would only repeat: bad input, divergence


class Devices(NamedTuple):
    """The platform of this machine's devices, such as cpu, gpu or tpu, and their number."""

    platform: str
    number: int


def devices() -> Devices:
    """Asked in a process of its own: whoever asks holds a device's memory."""
    code = "import jax; print(jax.default_backend(), jax.local_device_count())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    platform, count = done.stdout.split()[-2:]
    return Devices(platform, int(count))


def command(sweep: Sweep, run: str, options: Options) -> list[str]:
    """Return the command that trains the member of this name."""
    places = {"data_dir": options.data_dir, "manual_dir": options.manual_dir}
    return [
        *(sys.executable, "-m", "latentgen.worker"),
        *(f"--workdir={sweep.folder.absolute()}", f"--run={run}"),
        *(f"--{name}={Path(at).absolute()}" for name, at in places.items() if at),
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
    mine = os.environ.get(visible, "").split(",")
    device = mine[slot % devices.number] if any(mine) else str(slot % devices.number)
    share = {} if each == 1 else {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / each:.3f}"}
    return {visible: device, **share}


class _Job(NamedTuple):
    member: Member
    process: subprocess.Popen[bytes]
    slot: int


class Queue:
    """Members waiting, members training, and what has become of the others."""

    def __init__(self, sweep: Sweep, todo: Sequence[Member], options: Options, source: Path):
        self._sweep, self._options, self._source = sweep, options, source
        self._devices = devices()
        self.jobs = options.jobs or self._devices.number
        self._waiting, self._running = list(todo), list[_Job]()
        self._elsewhere: list[Member] = []
        self._tries: dict[str, int] = {}
        self._total, self._ended = len(todo), 0
        self.failed = False

    def go(self, stopped: Callable[[], int | None]) -> None:
        """Train all.

        Raises:
            Stopped: a signal came, and every process has saved and ended.
        """
        with self._nothing_left_behind():
            while self._waiting or self._running or self._elsewhere:
                if signum := stopped():
                    self._stop()
                    raise Stopped(signum, None)
                self._look()
                if self.failed and self._options.fail_fast:
                    self._stop()
                    return
                self._start()
                time.sleep(POLL)

    @contextlib.contextmanager
    def _nothing_left_behind(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._stop()
            raise

    def _start(self) -> None:
        free = [slot for slot in range(self.jobs) if slot not in {j.slot for j in self._running}]
        while self._waiting and free:
            member, slot = self._waiting.pop(0), free.pop(0)
            place = self._sweep.place(member.run)
            if folder.in_use(place):  # of a launcher that was killed
                self._elsewhere.append(member)
                free.insert(0, slot)
                continue
            workdir.prepare(place)
            with workdir.opened(place / folder.LOG, "ab") as log:
                process = subprocess.Popen(
                    command(self._sweep, member.run, self._options),
                    cwd=self._source,
                    env=environment(self._source) | _share(self._devices, slot, self.jobs),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C reaches the launcher, which asks in turn
                )
            self._running.append(_Job(member, process, slot))

    def _look(self) -> None:
        for job in list(self._running):
            if (code := job.process.poll()) is not None:
                self._running.remove(job)
                self._judge(job.member, code)
        for member in list(self._elsewhere):
            if not folder.in_use(self._sweep.place(member.run)):
                self._elsewhere.remove(member)
                now = standing(self._sweep.place(member.run))
                if now.status in folder.ENDED:
                    self._end(member, now)
                else:
                    self._waiting.insert(0, member)

    def _judge(self, member: Member, code: int) -> None:
        place = self._sweep.place(member.run)
        if code and standing(place).status != status.DONE:
            status.blame(place, code, place / folder.LOG)
        now = standing(place)
        again = self._tries.get(member.run, 0) < self._options.retries
        if code and code not in HOPELESS and again:
            self._tries[member.run] = self._tries.get(member.run, 0) + 1
            print(f"{member.run}: {now.reason}; started again", file=sys.stderr, flush=True)
            self._waiting.append(member)
            return
        self._end(member, now)

    def _end(self, member: Member, now: folder.Standing) -> None:
        self._ended += 1
        self.failed |= now.status != status.DONE
        reason = f" ({now.reason})" if now.reason else ""
        print(
            f"[{self._ended}/{self._total}] {member.run}: {now.status}{reason}; "
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
    """The number of processes at once, and their devices."""
    found = devices()
    return [f"{options.jobs or found.number} at once on {found.number} x {found.platform}"]


def train(
    sweep: Sweep, todo: Sequence[Member], options: Options, stopped: Callable[[], int | None]
) -> None:
    """Train these members, a process each, with the source as it is now.

    Raises:
        Stopped: a signal came; the same command continues.
    """
    Queue(sweep, todo, options, folder.snapshot(sweep.folder, folder.modules_of(sweep))).go(stopped)
