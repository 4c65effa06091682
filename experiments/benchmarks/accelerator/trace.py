"""Reading a profile and a compiled program: kernels, their time by kind, and convolutions.

A profile is the Chrome trace that jax.profiler.trace writes beside its own format: events with a
name, a beginning and a duration in microseconds, on threads that have names of their own.
"""

import gzip
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

KINDS = ("convolution", "matrix product", "copy", "normalization", "optimizer", "other")
CONVOLUTION = re.compile(r"conv|fprop|dgrad|wgrad|winograd|cudnn|implicit", re.IGNORECASE)
PRODUCT = re.compile(r"gemm|cublas|nvjet|dot_general|cutlass|matmul", re.IGNORECASE)
COPY = re.compile(r"memcpy|memset|copy|transpose|nchwtonhwc|nhwctonchw", re.IGNORECASE)
NORM = re.compile(r"BatchNorm|LayerNorm|SpectralNorm")
OPTIMIZER = re.compile(r"(^|/)optimizer(/|$)")
OP_NAME = re.compile(r"%?([\w.\-]+) = .*?metadata=\{[^}]*?op_name=\"([^\"]*)\"")
TARGET = re.compile(r'custom_call_target="([^"]+)"')


class Kernel(NamedTuple):
    """A kernel's run on the device, in microseconds; op: the program's instruction."""

    name: str
    start: float
    duration: float
    op: str


def read(folder: Path) -> list[Kernel]:
    """The kernels of the newest profile below the folder.

    Raises:
        FileNotFoundError: there is none.
    """
    traces = sorted(folder.rglob("*.trace.json.gz"))
    if not traces:
        raise FileNotFoundError(f"{folder} holds no profile")
    with gzip.open(traces[-1], "rt") as file:
        return kernels(json.load(file)["traceEvents"])


def kernels(events: Iterable[Mapping[str, Any]]) -> list[Kernel]:
    """List the kernels on the streams of a GPU, or the program's instructions on a CPU.

    Lines that a profile derives from others (modules, operations by scope) are left out.
    """
    events = [event for event in events if event]
    places = {e["pid"]: e["args"]["name"] for e in events if e.get("name") == "process_name"}
    lines = {
        (e["pid"], e["tid"]): e["args"]["name"] for e in events if e.get("name") == "thread_name"
    }
    devices = {pid for pid, name in places.items() if "device:" in name.lower()}
    found = []
    for event in events:
        if event.get("ph") != "X":
            continue
        op = str(event.get("args", {}).get("hlo_op", ""))
        line = lines.get((event["pid"], event.get("tid")), "")
        on_device = event["pid"] in devices and line.startswith("Stream")
        if on_device if devices else op:
            duration = float(event.get("dur", 0.0))
            found.append(Kernel(event["name"], float(event["ts"]), duration, op))
    return sorted(found, key=lambda kernel: kernel.start)


def scopes(program: str) -> dict[str, str]:
    """Instruction -> the scope it was traced in, of a compiled program's text."""
    return dict(OP_NAME.findall(program))


def kind(kernel: Kernel, scope: str) -> str:
    """The kind of a kernel, by its name, its instruction, and the scope of that."""
    names = f"{kernel.name} {kernel.op} {scope.rpartition('/')[2]}"
    if CONVOLUTION.search(names.replace("convert", "")):
        return "convolution"
    if PRODUCT.search(names):
        return "matrix product"
    if OPTIMIZER.search(scope):
        return "optimizer"
    if NORM.search(scope):
        return "normalization"
    return "copy" if COPY.search(f"{kernel.name} {kernel.op}") else "other"


def shares(run: Iterable[Kernel], scope_of: Mapping[str, str]) -> dict[str, float]:
    """Seconds of each kind, and of the gaps in which no kernel ran."""
    run = list(run)
    found = dict.fromkeys(KINDS, 0.0)
    busy, end = 0.0, -1.0
    for kernel in run:
        found[kind(kernel, scope_of.get(kernel.op, ""))] += kernel.duration / 1e6
        stop = kernel.start + kernel.duration
        busy += max(0.0, stop - max(end, kernel.start))  # streams may overlap
        end = max(end, stop)
    span = end - run[0].start if run else 0.0
    return {k: round(v, 9) for k, v in found.items()} | {"gaps": max(0.0, span - busy) / 1e6}


def longest(run: Iterable[Kernel], number: int = 3) -> list[dict[str, Any]]:
    """The kernels that take the most time in all."""
    total: dict[str, float] = defaultdict(float)
    times: Counter[str] = Counter()
    for kernel in run:
        total[kernel.name] += kernel.duration / 1e6
        times[kernel.name] += 1
    first = sorted(total, key=lambda name: -total[name])[:number]
    return [{"kernel": n[:200], "seconds": total[n], "times": times[n]} for n in first]


def calls(program: str) -> dict[str, int]:
    """Count the calls of each library routine in a compiled program's text.

    '__cudnn$convForward', '__cudnn$convBackwardInput' and the like; convolutions that are compiled
    in another way count as 'convolution'.
    """
    found = Counter(TARGET.findall(program))
    found["convolution"] = len(re.findall(r"= \S+ convolution\(", program))
    found["__cudnn$fusion"] += len(re.findall(r'"kind":"__cudnn\$fusion"', program))
    return {name: count for name, count in sorted(found.items()) if count}
