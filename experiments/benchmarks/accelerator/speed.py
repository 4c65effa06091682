"""Steps and images a second, beside PyTorch eager and compiled, in each precision.

At batch 64 the ways take turns, call by call. At the largest batch the card holds one way at a
time, so that they run one after the other.
"""

import functools
import importlib.util
import shutil
from typing import Any

from experiments.benchmarks.accelerator import ours
from experiments.benchmarks.accelerator.parts import Context, Item, Row
from experiments.benchmarks.accelerator.workers import Failed, Worker
from experiments.benchmarks.accelerator.works import PRECISIONS, Work, works
from experiments.benchmarks.side_by_side import OURS, Took, median, ratio

EAGER, COMPILED = "PyTorch", "PyTorch, compiled"
REPEATS, DRY_REPEATS = 5, 1
LARGE_STEPS = 5
FAILED = "failed"


class Bench:
    """The processes that work in turns, and what they have measured of the card."""

    def __init__(self, dry: bool) -> None:
        self.dry = dry
        self._workers: dict[str, Worker] = {}
        self._peaks: dict[str, float] = {}

    def worker(self, name: str) -> Worker:
        """The process of this name, started when it is first asked for or has ended."""
        found = self._workers.get(name)
        if found is None or not found.alive:
            found = self._workers[name] = Worker()
        return found

    def has(self, name: str) -> bool:
        """True if there is a process of this name."""
        return name in self._workers

    def end(self, name: str) -> None:
        """End a process, so that its memory is free."""
        if worker := self._workers.pop(name, None):
            worker.end()

    def peak(self, precision: str) -> float:
        """The card's FLOP/s in this precision."""
        if precision not in self._peaks:
            self._peaks[precision] = self.worker(OURS).ask(ours.peak, precision, self.dry)
        return self._peaks[precision]


def items(context: Context) -> list[Item]:
    """List all works at batch 64 in TF32, then at the largest batch, then in other precisions."""
    bench = Bench(context.dry)
    found = []
    for precision in PRECISIONS:
        for size in ("64", "largest"):
            for name, work in works(context.dry).items():
                if context.dry and (name, precision, size) not in DRY:
                    continue
                call = functools.partial(measured, bench, name, work, precision, size)
                found.append(Item(f"{work.what}, batch {size}, {precision}", call))
    return found


DRY = {
    ("mlp_vae", "TF32", "64"),
    ("mlp_vae", "TF32", "largest"),
    ("mlp_vae", "bfloat16", "64"),
    ("mlp_vae", "float32", "64"),
    ("dcgan", "TF32", "64"),
}
"""Every way once; the other works compile for long."""


def measured(bench: Bench, name: str, work: Work, precision: str, size: str) -> list[Row]:
    """The row of one work: latentgen's figures, and the ratios of PyTorch's times to its."""
    if size == "largest":
        return [at_largest(bench, name, work, precision)]
    batch = ours.DRY_LEAST if bench.dry else ours.LEAST
    info = {OURS: bench.worker(OURS).ask(ours.build, OURS, work, precision, batch, work.steps)}
    for way, compiled in peer_ways(bench, work):
        how = (batch, work.steps, compiled)
        info[way] = peer(bench, way, name, work, precision, how)
    took = in_turns(bench, info)
    row = figures(bench, work, precision, batch, work.steps, info, took)
    drop(bench)
    return [row]


def at_largest(bench: Bench, name: str, work: Work, precision: str) -> Row:
    """One way after the other, each with the card for itself."""
    bench.peak(precision)
    for each in (OURS, EAGER):
        bench.end(each)
    steps = max(work.cycle, min(work.steps, LARGE_STEPS))
    mine = bench.worker(OURS).ask(ours.largest, OURS, work, precision, steps, bench.dry)
    info, batch = {OURS: mine}, mine["batch"]
    took = in_turns(bench, info)
    bench.end(OURS)
    for way, compiled in peer_ways(bench, work):
        info[way] = peer(bench, way, name, work, precision, (batch, steps, compiled))
        took |= in_turns(bench, {way: info[way]})
        drop(bench)
    bench.end(EAGER)
    return figures(bench, work, precision, batch, steps, info, took)


def peer_ways(bench: Bench, work: Work) -> list[tuple[str, bool]]:
    """PyTorch's ways that there are on this machine."""
    if importlib.util.find_spec("torch") is None:
        return []
    found = [(EAGER, False)]
    compiles = work.compiles and not bench.dry  # it takes a CPU half a minute
    return [*found, (COMPILED, True)] if compiles and shutil.which("g++") else found


def peer(
    bench: Bench, way: str, name: str, work: Work, precision: str, how: tuple[int, int, bool]
) -> dict[str, Any]:
    """PyTorch's way built; a failure of it is a finding, no error of this part."""
    from experiments.benchmarks.accelerator import peers

    try:
        return bench.worker(EAGER).ask(peers.build, way, name, work, precision, how)
    except Failed as error:
        if not peers.out_of_memory(str(error)) and not how[2]:
            raise
        return {FAILED: str(error).strip().splitlines()[-1][:300]}


def in_turns(bench: Bench, info: dict[str, Any]) -> dict[str, list[Took]]:
    """Rounds of one call of each way; the first round does not count."""
    ways = [way for way in info if FAILED not in info[way]]
    took: dict[str, list[Took]] = {way: [] for way in ways}
    for repeat in range((DRY_REPEATS if bench.dry else REPEATS) + 1):
        for way in ways:
            if way == OURS:
                found = bench.worker(OURS).ask(ours.timed, OURS)
            else:
                from experiments.benchmarks.accelerator import peers

                found = bench.worker(EAGER).ask(peers.timed, way)
            if repeat:
                took[way].append(found)
    return took


def drop(bench: Bench) -> None:
    """Let PyTorch's process give its memory back."""
    if bench.has(EAGER):
        from experiments.benchmarks.accelerator import peers

        bench.worker(EAGER).ask(peers.drop)


def figures(
    bench: Bench,
    work: Work,
    precision: str,
    batch: int,
    steps: int,
    info: dict[str, Any],
    took: dict[str, list[Took]],
) -> Row:
    """The row that is kept."""
    mine = info[OURS]
    for way, other in info.items():
        if other.get("parameters", mine["parameters"]) != mine["parameters"]:
            raise ValueError(
                f"{way} has {other['parameters']} parameters, not {mine['parameters']}"
            )
    seconds = {way: median(times) / steps for way, times in took.items()}
    ratios = {way: ratio(times, took[OURS]) for way, times in took.items() if way != OURS}
    rate = 1 / seconds[OURS]
    return {
        "work": work.what,
        "batch": batch,
        "precision": precision,
        "steps_per_second": rate,
        "images_per_second": batch * mine["draws"] * rate,
        "gflop_per_step": mine["flops"] / 1e9,
        "peak_tflops": bench.peak(precision) / 1e12,
        "share_of_peak": mine["flops"] * rate / bench.peak(precision),
        "seconds_per_step": seconds,
        "ratios": ratios,
        "bytes": {way: found.get("bytes") for way, found in info.items()},
        "compile_seconds": {way: found.get("compile_seconds") for way, found in info.items()},
        "failures": {way: found[FAILED] for way, found in info.items() if FAILED in found},
        "parameters": mine["parameters"],
    }
