"""Check a long run for leaks and slowdown: a million steps of a tiny GAN, a thousand saves.

    python -m tests.studies.flatness [--steps 1000000] [--every 1000] [--json FILE]

`trainer.train` trains the ring GAN with networks of 8 units and batches of 8, and every so many
steps logs, validates, draws, and saves a checkpoint. After each save this measures the process:
memory, live arrays, threads, open files, programs compiled, and the seconds the chunk took, of the
clock and of the processor. The first tenth is warm-up. Of the rest,

- counts must stay what they are: arrays, threads, files, programs; of the kernel's tasks, some come
  and go with a pool, so that the second half may not have more than the first half and `POOL`,
- memory: measured 40 times, each after Python has collected its garbage; the slope, the median of
  those of all pairs (Theil and Sen), must have zero in its 95 % interval. The C library frees
  100 MiB once, somewhere in the first fifth, which would hide any growth from a least-squares line.
  Memory mapped from files, such as libraries, is not counted: the kernel may drop it,
- speed: the median chunk of the last tenth may take at most 1.05 of the first one's, in seconds of
  the processor. The clock's ratio is printed as well; a busy machine changes it.

Exit code 1 where one of them fails. `--leak NAME` leaks something at every save of the second half,
to see that it is noticed. A million steps take 5 minutes on one core.

TensorStore never frees the JSON that it returns to Python, which would be 30 KiB a save of this
GAN: see `latentgen/storage/leaks.py`, without which memory FAILS by that much.
"""

import argparse
import contextlib
import gc
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from experiments import gan
from latentgen.storage import provenance
from latentgen.sweeps.plan import changed
from latentgen.training import setup, trainer
from latentgen.training.loop import Hook
from latentgen.training.run_writer_distributed import DistributedRunWriter

WARM_UP = 0.1  # of the samples
COLLECTIONS = 40
SLOWER = 1.05
COMPILED = "/jax/core/compile/backend_compile_duration"
COUNTS = ("arrays", "threads", "files", "programs")
ENDING = 0.25  # seconds that a thread may take to end on a busy machine
POOL = 2  # tasks that a pool may start late


class Sample(NamedTuple):
    """The process after a save.

    collected: whether Python's garbage had been
    seconds, cpu: since the sample before, of the clock and of all its threads' work
    memory: resident and of no file, in MiB
    arrays: that JAX holds
    threads, tasks: Python's threads, and all tasks of the kernel
    files: open descriptors
    programs: compiled so far, or read from the folder of compiled ones
    """

    step: int
    collected: bool
    seconds: float
    cpu: float
    memory: float
    arrays: int
    threads: int
    tasks: int
    files: int
    programs: int


class Verdict(NamedTuple):
    """The verdict on a quantity: flat or not, and the figures in words."""

    flat: bool
    found: str


Call = Callable[[int, Any], None]


def resident() -> float:
    """Resident memory of this process that is not mapped from files, in MiB."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


@contextlib.contextmanager
def compilations() -> Iterator[Callable[[], int]]:
    """Yield a function that counts the programs compiled since."""
    seen = [0]

    def note(event: str, seconds: float, **_: Any) -> None:
        seen[0] += event == COMPILED

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        yield lambda: seen[0]
    finally:
        jax.monitoring.unregister_event_duration_listener(note)


def threads(before: Sequence[Sample]) -> int:
    """Python's now; where there are more than before, those that have done may end first."""
    until = time.monotonic() + ENDING
    while before and threading.active_count() > before[-1].threads and time.monotonic() < until:
        time.sleep(0.005)
    return threading.active_count()


def sampled(
    run: setup.Run, extra: Sequence[Call] = (), collections: int = COLLECTIONS
) -> list[Sample]:
    """Trains the run and measures the process after each save.

    Args:
        extra: called after each save, before the measurement.
        collections: how often Python's garbage is collected for it.
    """
    found: list[Sample] = []
    between = max(1, run.experiment.steps // run.experiment.every.checkpoint // collections)
    with compilations() as programs:
        clock = [time.perf_counter(), time.process_time()]

        def look(step: int, state: Any) -> None:
            for call in extra:
                call(step, state)
            collected = len(found) % between == 0
            now = time.perf_counter(), time.process_time()
            files = len(os.listdir("/proc/self/fd")) - 1  # the folder itself is open meanwhile
            tasks = len(os.listdir("/proc/self/task"))
            counts = len(jax.live_arrays()), threads(found), tasks, files, programs()
            took = now[0] - clock[0], now[1] - clock[1]
            if collected:
                gc.collect()
            found.append(Sample(step, collected, *took, resident(), *counts))
            clock[:] = time.perf_counter(), time.process_time()

        opened = DistributedRunWriter.open

        def open_(self: DistributedRunWriter, first: int, say: Callable[[str], None]) -> None:
            opened(self, first, say)
            self.hooks.append(Hook(run.experiment.every.checkpoint, look))

        with mock.patch.object(DistributedRunWriter, "open", open_):
            trainer.train(run)
    return found


def config(steps: int, every: int, **changes: Any) -> dict[str, Any]:
    """A tiny GAN that does everything every so many steps."""
    found = gan.get_config("ring")
    found.update(steps=steps, batch_size=8)
    found.data.validation = 500
    found.every.update(log=every, validate=every, sample=every, checkpoint=every)
    for player in ("generator", "discriminator"):
        found[player].hidden = (8,)
    found.update_from_flattened_dict(changes)
    return changed(found, {})


def after_warm_up(samples: Sequence[Sample]) -> Sequence[Sample]:
    return samples[int(WARM_UP * len(samples)) :]


def constant(values: Sequence[int]) -> Verdict:
    low, high = min(values), max(values)
    return Verdict(low == high, f"{low}" if low == high else f"{low} to {high}")


def bounded(values: Sequence[int]) -> Verdict:
    half = len(values) // 2
    first, second = max(values[:half]), max(values[half:])
    return Verdict(second <= first + POOL, f"at most {first}, then {second}")


def level(samples: Sequence[Sample]) -> Verdict:
    """Judge the memory."""
    at, memory = zip(*((i, s.memory) for i, s in enumerate(samples) if s.collected), strict=True)
    slope, _, low, high = (1024 * float(value) for value in stats.theilslopes(memory, at, 0.95))
    return Verdict(
        low <= 0 <= high,
        f"{slope:+.2f} KiB a save, {low:+.2f} to {high:+.2f}; {memory[0]:.1f} MiB at the first, "
        f"{memory[-1]:.1f} at the last of {len(memory)}",
    )


def steady(samples: Sequence[Sample]) -> Verdict:
    """Judge the speed."""
    tenths = np.array_split(np.array([(s.cpu, s.seconds) for s in samples]), 10)
    medians = np.array([np.median(tenth, axis=0) for tenth in tenths])
    cpu, clock = medians[-1] / medians[0]
    noise = np.abs(np.diff(np.log(medians[:, 0]))).max()
    return Verdict(
        bool(cpu <= SLOWER),
        f"last tenth over first: {cpu:.3f} of the processor, {clock:.3f} of the clock; "
        f"neighbouring tenths differ by up to {100 * noise:.1f} %",
    )


def judged(samples: Sequence[Sample]) -> dict[str, Verdict]:
    """The verdict on each quantity."""
    rest = after_warm_up(samples)
    counts = {name: constant([getattr(s, name) for s in rest]) for name in COUNTS}
    tasks = bounded([s.tasks for s in rest])
    return {"memory": level(rest), **counts, "tasks": tasks, "speed": steady(rest)}


class Leak:
    """Leaks one of something at each call beyond step `after`, until `mend` is called."""

    def __init__(self, name: str, after: int):
        self._make, self._after = getattr(self, f"_{name}"), after
        self._lost: list[Any] = []
        self._end = threading.Event()
        self._files: list[int] = []

    def __call__(self, step: int, state: Any) -> None:
        if step > self._after:
            self._lost.append(self._make())

    def mend(self) -> None:
        self._lost.clear()
        self._end.set()
        for file in self._files:
            os.close(file)

    def _array(self) -> jax.Array:
        return jnp.zeros(1)

    def _file(self) -> None:
        self._files.append(os.open(os.devnull, os.O_RDONLY))

    def _memory(self) -> bytes:
        return os.urandom(100_000)

    def _program(self) -> None:
        jax.jit(lambda x: x + len(self._lost))(0.0)

    def _thread(self) -> None:
        threading.Thread(target=self._end.wait, daemon=True).start()


def main() -> None:
    flags = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    flags.add_argument("--steps", type=int, default=1_000_000)
    flags.add_argument("--every", type=int, default=1_000, help="steps between two saves")
    flags.add_argument("--leak", choices=["array", "file", "program", "memory", "thread"])
    flags.add_argument("--json", type=Path)
    options = flags.parse_args()
    extra = [Leak(options.leak, options.steps // 2)] if options.leak else []
    plain = config(options.steps, options.every)
    with tempfile.TemporaryDirectory() as folder:
        run = setup.load(Path(folder, "run"), plain, None, None)
        began = time.perf_counter()
        samples = sampled(run, extra)
        seconds = time.perf_counter() - began
    verdicts = judged(samples)
    print(f"{options.steps} steps, {len(samples)} saves in {seconds:.0f} s")
    for name, verdict in verdicts.items():
        print(f"{'flat' if verdict.flat else 'FAILS':6} {name:10} {verdict.found}")
    if options.json:
        result = {
            "verdicts": {name: verdict._asdict() for name, verdict in verdicts.items()},
            "seconds": seconds,
            "samples": [sample._asdict() for sample in samples],
            **provenance.stamp(plain, run.identity(), "tests.studies.flatness"),
        }
        options.json.write_text(json.dumps(result) + "\n")
    if not all(verdict.flat for verdict in verdicts.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
