"""Checks: the numbers of a GPU are those of the CPU, and those of the same GPU again."""

import functools
import gc
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.accelerator import methods, random_numbers
from experiments.benchmarks.accelerator.configs import EXPERIMENTS, config
from experiments.benchmarks.accelerator.parts import Context, Item, Row
from latentgen import configs
from latentgen.core.game import run_chunk
from latentgen.core.keys import run_key
from latentgen.core.types import Batch
from latentgen.core.wrappers import population

STEPS, DRY_STEPS = 10, 3
TOLERANCE = 0.01
"""Of each leaf's own way. Rounding: initial weights nudged by 1e-7 of themselves move every leaf by
less than 0.0003 on a CPU; a wrong gradient moves its leaf by a tenth and more."""

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
BITWISE = ("vae", "gan, convolutions, batch norm", "gan, residual, spectral norm, hinge")
RUN_NEEDS = ("ml_collections", "sklearn", "tensorboardX")
KEPT = 2**20  # bytes that may stay
WORKERS = 14  # of checks at a time
Check = Callable[[], list[Row]]


def items(context: Context) -> list[Item]:
    """The checks, by worth."""
    names = methods.FIRST if context.dry else tuple(methods.METHODS)
    steps = DRY_STEPS if context.dry else STEPS
    bitwise = BITWISE[:1] if context.dry else BITWISE
    checks: dict[str, Check] = {
        "two runs bitwise": functools.partial(twice, bitwise, steps),
        "killed and resumed": functools.partial(killed, context),
    }
    checks |= {f"CPU and device: {name}": functools.partial(two, name, steps) for name in names}
    checks["a population of 8 is 8 runs"] = functools.partial(members, steps, context)
    together = Together({n: call for n, call in checks.items() if n not in context.skip})
    # First, while this process holds nothing but what these checks themselves compute.
    return [
        Item("memory is freed", memory_freed, True),
        Item("random numbers", random, True),
        *(Item(name, functools.partial(together, name), True) for name in checks),
    ]


class Together:
    """Checks that run at the same time, begun when the first is asked for.

    They compile for most of their time, each on one core.
    """

    def __init__(self, checks: dict[str, Check]) -> None:
        self._checks = checks
        self._begun: dict[str, Future[list[Row]]] = {}

    def __call__(self, name: str) -> list[Row]:
        if not self._begun:
            pool = ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1))
            self._begun = {name: pool.submit(call) for name, call in self._checks.items()}
        return self._begun[name].result()


def memory() -> int:
    """Bytes that arrays hold on the first device."""
    stats = jax.devices()[0].memory_stats()
    if stats is None:
        return sum(array.nbytes for array in jax.live_arrays())
    return stats["bytes_in_use"]


def memory_freed() -> list[Row]:
    """A trained run that is let go leaves nothing on the device."""
    jnp.zeros(1).block_until_ready()
    before = memory()
    begin = methods.start("gan", 2)
    run = methods.lowered(begin, jax.devices()[0])()
    run()
    during = memory()
    del run, begin
    gc.collect()
    jax.clear_caches()
    gc.collect()
    after = memory()
    return [
        {
            "check": "memory is freed",
            "before": before,
            "during": during,
            "after": after,
            "ok": during > before and after - before <= KEPT,
        }
    ]


def random() -> list[Row]:
    """Draws on each platform beside the table that was written on a CPU."""
    devices = {d.platform: d for d in (jax.devices("cpu")[0], jax.devices()[0])}
    rows = []
    for platform, device in devices.items():
        found = random_numbers.differences(device)
        beyond = [n for n, d in found.items() if not d <= random_numbers.DRAWS[n][1]]
        rows.append(
            {
                "check": "random numbers",
                "platform": platform,
                "differ": ", ".join(beyond),
                "largest": max(found.values()),
                "ok": not beyond,
            }
        )
    return rows


def two(name: str, steps: int) -> list[Row]:
    """The same steps on the CPU and on the first device."""
    begin = methods.start(name, steps)
    devices = dict.fromkeys((jax.devices("cpu")[0], jax.devices()[0]))
    compiles = [methods.lowered(begin, device) for device in devices]
    with ThreadPoolExecutor() as pool:
        ends = [run() for run in pool.map(lambda compile_: compile_(), compiles)]
    distance = methods.apart(begin.state, ends[-1], ends[0])
    return [judged(f"CPU and device: {name}", steps, distance)]


def judged(check: str, steps: int, distance: dict[str, float]) -> Row:
    """A row that says which leaf lies farthest off."""
    leaf = max(distance, key=lambda path: distance[path])
    largest = distance[leaf]
    return {
        "check": check,
        "steps": steps,
        "leaf": leaf,
        "largest": largest if np.isfinite(largest) else "infinite",
        "tolerance": TOLERANCE,
        "leaves": {k: str(v) for k, v in sorted(distance.items(), key=lambda i: -i[1])[:5]},
        "ok": bool(largest <= TOLERANCE),
    }


def twice(names: tuple[str, ...], steps: int) -> list[Row]:
    """Two processes with deterministic operations, each of which trains twice."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    command = [sys.executable, "-m", "experiments.benchmarks.accelerator.digest", str(steps)]
    processes = [
        subprocess.Popen(
            [*command, *names],
            env=os.environ | {"XLA_FLAGS": flags},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    found = []
    for process in processes:
        out, err = process.communicate()
        if process.returncode:
            raise RuntimeError(err[-2000:])
        found.append(json.loads(out.splitlines()[-1]))
    return [
        {
            "check": "two runs bitwise",
            "method": name,
            "flags": DETERMINISTIC,
            "ok": len({sha for each in found for sha in each[name]}) == 1,
        }
        for name in names
    ]


def members(steps: int, context: Context) -> list[Row]:
    """Eight seeds as one program, and the eight runs alone."""
    name = "vae" if context.dry else "gan"
    plain, count = config(*methods.METHODS[name]), 8
    make = configs.make(plain, methods.SHAPE)
    seeds, root = jnp.arange(count), jax.random.key(0)
    solo, many = make({}), population(make, {}, seeds)
    data = methods.start(name, steps).data
    numbers = jnp.arange(steps)

    def chunk(method: Any, state: Any, data: Batch, key: Any) -> Any:
        return run_chunk(method, lambda _, row, *__: row, state, numbers, data, (), key)[0]

    stacked = jax.tree.map(lambda a: jnp.stack([a] * count, axis=1), data)
    with jax.default_matmul_precision("highest"):
        start = jax.jit(many.init)(root)
        end = jax.jit(functools.partial(chunk, many))(start, stacked, root)
        alone = jax.jit(functools.partial(chunk, solo))
        distance: dict[str, float] = {}
        for i in range(count):
            begin, mine = (jax.tree.map(lambda a, i=i: a[i], tree) for tree in (start, end))
            own = alone(jax.jit(solo.init)(run_key(i)), data, run_key(i))
            for path, value in methods.apart(begin, mine, own).items():
                distance[path] = max(distance.get(path, 0.0), value)
    return [judged("a population of 8 is 8 runs", steps, distance)]


def killed(context: Context) -> list[Row]:
    """A run ended by SIGKILL and started again beside one that was let alone."""
    if missing := [m for m in RUN_NEEDS if importlib.util.find_spec(m) is None]:
        return [{"check": "killed and resumed", "skipped": f"{', '.join(missing)} not installed"}]
    every, steps = (20, 60) if context.dry else (200, 1000)
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder, "whole"), Path(folder, "broken")
        undisturbed, victim = (_latentgen_run(at, steps, every) for at in (whole, broken))
        checkpoint = broken / "checkpoints" / str(every)
        while victim.poll() is None and not (checkpoint / "commit_success.txt").exists():
            time.sleep(0.02)
        victim.send_signal(signal.SIGKILL)
        was_killed = victim.wait() == -signal.SIGKILL
        for process in (_latentgen_run(broken, steps, every), undisturbed):
            _, err = process.communicate()
            if process.returncode:
                raise RuntimeError(err[-2000:])
        same = _state(whole) == _state(broken)
    return [{"check": "killed and resumed", "killed": was_killed, "ok": was_killed and same}]


def _latentgen_run(workdir: Path, steps: int, every: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "latentgen.run", f"--config={EXPERIMENTS / 'gan.py'}"]
    command += [f"--workdir={workdir}", f"--config.steps={steps}"]
    command += [f"--config.every.{hook}={steps}" for hook in ("validate", "sample")]
    command += [f"--config.every.log={every // 2}", f"--config.every.checkpoint={every}"]
    flags = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    return subprocess.Popen(
        command,
        env=os.environ | {"XLA_FLAGS": flags},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _state(workdir: Path) -> str:
    from latentgen.training import setup

    _, found = setup.restore(setup.reopen(workdir, None, None), None)
    return methods.digest(found)
