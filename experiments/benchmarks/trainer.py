"""latentgen's side of a comparison: runs of experiments, trained as `latentgen.run` trains them."""

import runpy
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.side_by_side import Call
from latentgen.training import setup
from latentgen.training.loop import program

EXPERIMENTS = Path(__file__).parents[1]
STILL = {"method.ema_decay": 0.0}


class Trainer:
    """latentgen training as `latentgen.run` does: call it for the next chunk of steps."""

    def __init__(self, run: setup.Run, chunk: int) -> None:
        self.run, self.chunk, self.feed = run, chunk, setup.feed_of(run)
        self.state = jax.jit(run.method.init)(run.key)
        self.step = program(run.method, self.feed, donate=True)
        self.done = 0

    def __call__(self) -> Any:
        rows = self.feed.rows(self.done, self.chunk)
        numbers = np.arange(self.done, self.done + self.chunk, dtype=np.int32)
        self.state, _, fine = self.step(self.state, numbers, rows, self.feed.resident, self.run.key)
        self.done += self.chunk
        return fine


def repeated(call: Call, times: int) -> Call:
    """`call` so many times; the last one's result."""
    return lambda: [call() for _ in range(times)][-1]


def loaded(experiment: str, changes: dict[str, Any], manual_dir: str | None) -> setup.Run:
    file, variant = experiment.split(":")
    config = runpy.run_path(str(EXPERIMENTS / f"{file}.py"))["get_config"](variant)
    config.update_from_flattened_dict(changes)
    return setup.load(Path(), config.to_dict(), None, manual_dir)
