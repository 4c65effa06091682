"""Trains: `python -m latentgen.run --config experiments/gan.py[:variant] --workdir DIR`.

The same command again continues where it stopped, or says that it is finished.
"""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from latentgen import door, views
from latentgen.build import Experiment
from latentgen.core.keys import run_key, stream
from latentgen.core.types import Method, PyTree
from latentgen.data import pipeline, sources
from latentgen.training import hooks, loop, provenance, workdir
from latentgen.training.checkpoint import Checkpoints
from latentgen.training.log import METRICS, Log, Progress, read

FLAGS = flags.FLAGS
SUMMARY = "summary.json"
IMAGES, POINTS, PAIRS = 64, 2_000, 32  # what a picture shows


def main() -> None:
    """Trains what the flags say, from where the workdir stands."""
    config, experiment = door.read_config()
    folder = workdir.check(FLAGS.workdir or door.default_workdir())
    dataset = door.load_data(experiment)
    method = experiment.wire(door.shape_of(dataset))
    feed = pipeline.feed(
        dataset.splits["train"],
        experiment.data.preprocess,
        experiment.batch_size,
        method.draws,
        run_key(experiment.seed),
    )
    workdir.prepare(folder)
    with workdir.lock(folder):
        workdir.open_run(folder, config)
        if (folder / SUMMARY).exists():
            print(f"{folder} is finished; its last figures are in {folder / SUMMARY}.")
            return
        with Checkpoints(folder / workdir.CHECKPOINTS) as checkpoints:
            seconds = train(experiment, dataset, method, feed, folder, checkpoints)
        workdir.write_json(
            folder / SUMMARY, summary(config, experiment, dataset, method, folder, seconds)
        )
    print(f"{folder}: {experiment.steps} steps in {seconds:.0f} s. Pictures: {folder / 'samples'}")


def train(
    experiment: Experiment,
    dataset: sources.DataSet,
    method: Method,
    feed: pipeline.Feed,
    folder: Path,
    checkpoints: Checkpoints,
) -> float:
    """Trains to the end; returns the seconds it took, over all attempts.

    Raises:
        loop.Stopped: a signal came; a checkpoint has been saved.
    """
    key = run_key(experiment.seed)
    first, state, before = begin(method, checkpoints, key)
    began = time.perf_counter()

    def seconds() -> float:
        return before + time.perf_counter() - began

    log, progress = Log(folder, first), Progress(experiment.steps, first)
    if first:
        progress.say(f"continuing after step {first}")

    def tell(step: int, metrics: loop.Metrics) -> None:
        log.write(step, seconds(), "train", metrics)
        progress.update(step, metrics)

    every = experiment.every
    seen = [
        loop.Hook(every.sample, call)
        for call in picture_hooks(experiment, dataset, method, folder, log)
    ]
    checks = [
        loop.Hook(
            every.validate,
            hooks.validation(
                hooks.split_terms(method, experiment.data.preprocess, split, key), log, seconds
            ),
        )
        for name, split in dataset.splits.items()
        if name == "validation"
    ]
    save = loop.Hook(every.checkpoint, hooks.checkpoint(checkpoints, log, seconds), on_signal=True)
    try:
        if first == 0:
            for hook in seen:
                hook.call(0, state)
        with loop.signals() as stopped:
            loop.train(
                method,
                feed,
                state,
                first,
                experiment.steps,
                every.log,
                key,
                tell,
                [*seen, *checks, save],
                stopped,
            )
    finally:
        progress.close()
        log.close()
    return seconds()


def begin(method: Method, checkpoints: Checkpoints, key: jax.Array) -> tuple[int, PyTree, float]:
    """(updates done, state, seconds spent): the newest checkpoint's, or those of a new run."""
    if checkpoints.latest() is None:
        return 0, jax.jit(method.init)(key), 0.0
    step, state, meta = checkpoints.restore(None, jax.eval_shape(method.init, key))
    return step, state, meta["seconds"]


def picture_hooks(
    experiment: Experiment, dataset: sources.DataSet, method: Method, folder: Path, log: Log
) -> list[hooks.Call]:
    """Samples of fixed codes; for a method that encodes images, inputs beside outputs too."""
    preprocess, real = experiment.data.preprocess, dataset.splits["train"]
    key = stream(run_key(experiment.seed), "pictures")
    images = len(real.x.shape) == 4
    number = IMAGES if images else POINTS
    calls = [
        hooks.pictures(
            "samples",
            jax.jit(lambda state: method.sample(state, key, number)),
            None,
            preprocess,
            real,
            folder,
            log,
        )
    ]
    if "encode" in method.probes and images:
        held_out = dataset.splits.get("validation", real)
        x = door.examples(held_out, np.arange(PAIRS) % len(held_out.label), preprocess, key)
        calls.append(
            hooks.pictures(
                "reconstructions",
                jax.jit(lambda state: views.reconstruct(method, state, x).x),
                views.PAIR_COLUMNS,
                preprocess,
                real,
                folder,
                log,
            )
        )
    return calls


def summary(
    config: dict[str, Any],
    experiment: Experiment,
    dataset: sources.DataSet,
    method: Method,
    folder: Path,
    seconds: float,
) -> dict[str, Any]:
    """The final figures and all that they depend on."""
    last = {line["split"]: line for line in read(folder / METRICS)}
    drop = ("step", "seconds", "split")
    params = jax.eval_shape(method.init, run_key(experiment.seed))
    return {
        "final": {
            split: {k: v for k, v in line.items() if k not in drop} for split, line in last.items()
        },
        "steps": experiment.steps,
        "seed": experiment.seed,
        "seconds": round(seconds, 3),
        "data": sources.identity(dataset, experiment.data.preprocess.name),
        "state_values": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "config_sha256": provenance.config_hash(config),
        "versions": provenance.versions(),
        "device": provenance.device(),
        "command": provenance.command("latentgen.run"),
    }


if __name__ == "__main__":
    door.define_config_flag()
    flags.DEFINE_string("workdir", None, "Where the run is kept (default: runs/<config's name>).")
    door.define_data_flags()
    flags.adopt_module_key_flags(door)
    door.run(main, door.check_config)
