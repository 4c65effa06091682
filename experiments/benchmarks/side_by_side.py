"""Ways to do one piece of work, timed in turns on one machine, beside its matrix-multiply peak.

Seconds do not carry over to other machines, nor from one minute to the next on a shared one; ratios
of calls in the same round do. So each round runs every way once and the peak's product too. The
first round does not count; the report has medians over rounds, of seconds and of ratios.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from latentgen.storage import provenance

OURS = "latentgen"
PEAK = "peak"
LOAD = os.getloadavg()[0]  # of other programs, before anything is timed
SIZES = (1024, 2048)  # rows and columns of the products among which the peak's is chosen

Call = Callable[[], Any]


class Took(NamedTuple):
    """Seconds of one call, of the wall clock and of all cores' work over their number."""

    wall: float
    cpu: float


class Peak(NamedTuple):
    """The fastest float32 matrix product found, with its library and floating-point operations."""

    name: str
    call: Call
    flops: float


class Row(NamedTuple):
    """One way to do one piece of work.

    seconds: median of one unit
    cpu_seconds: the same, of all cores' work over their number
    ratio: median over rounds of its time over that of the first way, in the same round
    share_of_peak: of the matrix-multiply peak in the same rounds, that the work's own
        multiplications reach; None where they are not what the work is made of
    """

    work: str
    way: str
    unit: str
    seconds: float
    cpu_seconds: float
    ratio: float
    share_of_peak: float | None


def cores() -> int:
    return len(os.sched_getaffinity(0))


def timed(call: Call) -> tuple[Took, Any]:
    """Time a call, unless it returns its own time; return the time and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = jax.block_until_ready(call())
    if isinstance(result, Took):
        return result, None
    return Took(time.perf_counter() - wall, (time.process_time() - cpu) / cores()), result


def _serve(connection: Connection, make: Callable[..., Call], args: tuple[Any, ...]) -> None:
    call = make(*args)
    call()
    with contextlib.suppress(EOFError, KeyboardInterrupt):  # the other process has ended
        while connection.recv():
            connection.send(timed(call)[0])


def elsewhere(make: Callable[..., Call], *args: Any) -> Call:
    """`make(*args)` in a process of its own, where no other library's threads are in its way.

    It is idle between its calls, and ends with this process.
    """
    here, there = multiprocessing.get_context("spawn").Pipe()
    start = multiprocessing.get_context("spawn").Process
    start(target=_serve, args=(there, make, args), daemon=True).start()

    def call() -> Took:
        here.send(True)
        return here.recv()

    return call


def in_turns(calls: Mapping[str, Call], repeats: int) -> dict[str, list[Took]]:
    """Time the calls in turns, in `repeats` rounds after one that does not count."""
    took: dict[str, list[Took]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            seconds, _ = timed(call)
            if repeat:
                took[name].append(seconds)
    return took


def median(took: Sequence[Took], what: str = "wall") -> float:
    return statistics.median(getattr(each, what) for each in took)


def ratio(took: Sequence[Took], to: Sequence[Took], what: str = "wall") -> float:
    """The median over rounds of one time over another."""
    pairs = zip(took, to, strict=True)
    return statistics.median(getattr(a, what) / getattr(b, what) for a, b in pairs)


def peak() -> Peak:
    """The fastest of square products by JAX, and by PyTorch where it is installed."""

    def of_jax(size: int) -> Call:
        a = jnp.linspace(0, 1, size * size).reshape(size, size)
        multiply = jax.jit(jnp.dot)
        return lambda: multiply(a, a)

    ways = {f"JAX, {size}": (of_jax(size), 2.0 * size**3) for size in SIZES}
    try:
        import torch
    except ModuleNotFoundError:
        pass
    else:
        for size in SIZES:
            a = torch.linspace(0, 1, size * size).reshape(size, size)
            ways[f"PyTorch, {size}"] = (lambda a=a: a @ a), 2.0 * size**3
    took = in_turns({name: call for name, (call, _) in ways.items()}, 7)
    best = max(ways, key=lambda name: ways[name][1] / median(took[name]))
    return Peak(best, *ways[best])


def compare(
    work: str,
    ways: Mapping[str, Call],
    repeats: int,
    units: int = 1,
    unit: str = "step",
    flops: float | None = None,
    highest: Peak | None = None,
) -> list[Row]:
    """A row for each way, the first of which is the one that ratios are of.

    Args:
        ways: calls that do the same work, `units` of it.
        flops: operations of the matrix products and convolutions in one unit.
        highest: the peak that `flops` are compared with, timed in the same rounds.
    """
    calls = dict(ways) | ({PEAK: highest.call} if highest else {})
    took = in_turns(calls, repeats)
    first = next(iter(ways))
    rows = []
    for way in ways:
        seconds = median(took[way]) / units
        share = None
        if highest and flops:
            share = flops * units / highest.flops * ratio(took[PEAK], took[way])
        cpu = median(took[way], "cpu") / units
        rows.append(Row(work, way, unit, seconds, cpu, ratio(took[way], took[first]), share))
    return rows


def machine() -> dict[str, Any]:
    """The hardware, load and versions that the seconds depend on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    try:
        import torch

        peer = {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}
    except ModuleNotFoundError:
        peer = {}
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": cores(),
        "load_before": LOAD,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
        "versions": provenance.versions(),
        "device": provenance.device(),
        **peer,
    }


HEADER = f"{'':34} {'':26} {'seconds':>10} {'CPU/cores':>10} {'ratio':>7} {'of peak':>8}"


def show(rows: Sequence[Row]) -> None:
    """The rows as lines of a table."""
    for row in rows:
        share = "" if row.share_of_peak is None else f"{row.share_of_peak:8.0%}"
        print(
            f"{row.work:34} {row.way:26} {row.seconds:10.4g} {row.cpu_seconds:10.4g} "
            f"{row.ratio:7.2f} {share:>8}",
            flush=True,
        )


def flags(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the flags that all benchmarks have."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="rounds that count")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser


def write(path: Path | None, rows: Sequence[Row], **more: Any) -> None:
    """The figures and the machine as JSON."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = {"machine": machine(), **more, "rows": [row._asdict() for row in rows]}
        path.write_text(json.dumps(found, indent=2) + "\n")
