"""Cost of logging, validation, pictures and checkpoints at an experiment's own intervals.

    python -m experiments.benchmarks.overhead [--works vae gan] [--json FILE]

Trains in a temporary folder as `latentgen.run` does, with every call between two chunks timed: the
hooks, for which the device waits, and the log, which is written while it works. Each kind's first
call, which compiles, does not count, nor do the steps before it. `bare` is the same chunks without
anything between them, in the same process afterwards.

The share is of the run's time: 1 - bare / run, which other programs' load makes noisy, and for each
kind its own time over the run's.
"""

import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax

from experiments.benchmarks import side_by_side
from experiments.benchmarks.trainer import Trainer, loaded
from latentgen.core.errors import BadInput
from latentgen.training import loop, trainer

WORKS = {
    "vae": ("vae:fashion", 12_000),
    "gan": ("gan:nonsaturating", 15_000),
    "fashion": ("gan:fashion", 1_700),
}


class Stopwatch:
    """Seconds of every call of a kind, from when `counting` is set."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.began = 0.0
        self.first = 0

    def timed(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed_call(step: int, *rest: Any) -> None:
            began = time.perf_counter()
            call(step, *rest)
            if self.began:
                found = self.seconds.get(kind, 0.0)
                self.seconds[kind] = found + time.perf_counter() - began

        return timed_call


def kind_of(hook: loop.Hook) -> str:
    """'pictures' for what hooks.write_pictures made."""
    return hook.call.__qualname__.partition(".")[0]


def watched(watch: Stopwatch, after: int) -> Callable[..., Any]:
    """`loop.train` with its calls timed, from step `after` on."""
    train = loop.train

    def start(step: int, state: Any) -> None:
        if step == after:
            jax.block_until_ready(state)
            watch.began, watch.first = time.perf_counter(), step

    def call(steps, feed, state, *, log, hooks, **more):
        hooks = [h._replace(call=watch.timed(kind_of(h), h.call)) for h in hooks]
        hooks.append(loop.Hook(after, start))
        return train(steps, feed, state, log=watch.timed("log", log), hooks=hooks, **more)

    return call


def measured(name: str, manual_dir: str | None) -> dict[str, Any]:
    """Shares of a run's time, and the seconds of its step."""
    experiment, steps = WORKS[name]
    run = loaded(experiment, {"steps": steps}, manual_dir)
    every, watch = run.experiment.every, Stopwatch()
    after = max(every)  # by then each kind has been called once
    with tempfile.TemporaryDirectory() as folder:
        run = run._replace(folder=Path(folder, "run"))
        with (
            mock.patch.object(loop, "train", watched(watch, after)),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            trainer.train(run)
        took = time.perf_counter() - watch.began
    counted = steps - watch.first
    bare = Trainer(run, every.log)
    bare()
    began = time.perf_counter()
    for _ in range(counted // every.log):
        fine = bare()
    jax.block_until_ready(fine)
    alone = time.perf_counter() - began
    return {
        "steps": counted,
        "every": every._asdict(),
        "seconds_of_a_step": took / counted,
        "bare_seconds_of_a_step": alone / counted,
        "share": 1 - alone / took,
        "shares": {kind: seconds / took for kind, seconds in watch.seconds.items()},
    }


def main() -> None:
    flags = side_by_side.flags(__doc__)
    flags.set_defaults(repeats=3)
    flags.add_argument("--works", nargs="+", default=["vae", "gan"], choices=list(WORKS))
    flags.add_argument("--manual-dir", help="a folder with Fashion-MNIST's files")
    options = flags.parse_args()
    found = {}
    for name in options.works:
        try:
            found[name] = [measured(name, options.manual_dir) for _ in range(options.repeats)]
        except BadInput as error:
            sys.exit(str(error))
        for each in found[name]:
            kinds = ", ".join(f"{kind} {share:.1%}" for kind, share in each["shares"].items())
            print(
                f"{WORKS[name][0]:20} {1e3 * each['seconds_of_a_step']:.3f} ms a step, bare "
                f"{1e3 * each['bare_seconds_of_a_step']:.3f}: {each['share']:.1%}; {kinds}",
                flush=True,
            )
    side_by_side.write(options.json, [], overhead=found)


if __name__ == "__main__":
    main()
