"""One run in its folder: made from a config, trained from where it stands to its end, read back."""

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Key

from latentgen import build, views
from latentgen.build import Experiment
from latentgen.core.keys import run_key, stream
from latentgen.core.types import Method, PyTree
from latentgen.data import pipeline, sources
from latentgen.data.preprocess import preprocess_for
from latentgen.errors import BadInput
from latentgen.training import divergence, hooks, loop, provenance, workdir
from latentgen.training.checkpoint import Checkpoints
from latentgen.training.log import METRICS, Log, Progress, read
from latentgen.training.pictures import pairs

SUMMARY = "summary.json"
COLLAPSED = "collapsed.json"
DIVERGED, DIVERGED_STATE = "diverged.json", "diverged"
IMAGES, POINTS, PAIRS = 64, 2_000, 32  # what a picture shows


class Run(NamedTuple):
    """A run: its folder, its config as plain data, and what that describes."""

    folder: Path
    config: Mapping[str, Any]
    experiment: Experiment
    dataset: sources.DataSet
    method: Method

    @property
    def key(self) -> Key[Array, ""]:
        """Everything random in the run comes from it."""
        return run_key(self.experiment.seed)


def load(
    folder: Path, config: Mapping[str, Any], data_dir: str | None, manual_dir: str | None
) -> Run:
    """What a config describes, with its data: all checked, nothing written to the folder.

    Args:
        data_dir, manual_dir: see `sources.load`.

    Raises:
        BadInput: the config does not fit, or its data are unknown, missing or damaged.
    """
    experiment = build.experiment(config)
    name, preprocess, validation, pad_to = experiment.data
    dataset = sources.load(name, validation=validation, data_dir=data_dir, manual_dir=manual_dir)
    dataset = sources.padded(dataset, pad_to)
    preprocess_for(preprocess.name, dataset.splits["train"].x.dtype)
    sizes = ", ".join(f"{len(e.label):,} {split}" for split, e in dataset.splits.items())
    print(f"data: {name} ({dataset.origin}): {sizes}", file=sys.stderr)
    if len(dataset.shape) == 3 and dataset.shape[-1] not in (1, 3):
        raise BadInput(
            f"config.data.name={name!r} has images of {dataset.shape[-1]} channels; 1 or 3 can be "
            "shown."
        )
    _check_classes(experiment.plan.classes, dataset)
    return Run(folder, config, experiment, dataset, experiment.plan.wire(dataset.shape))


def _check_classes(classes: int, dataset: sources.DataSet) -> None:
    found = max(int(examples.label.max()) for examples in dataset.splits.values()) + 1
    if classes and found > classes:
        raise BadInput(
            f"config.method.classes={classes} must be at least {found}, the classes of "
            f"{dataset.name}, or 0 for none."
        )


def finished(folder: Path, config: Mapping[str, Any]) -> bool:
    """Whether the folder's run has ended well; told without looking for its data.

    Raises:
        BadInput: the folder belongs to another config.
        Diverged: the run has diverged.
    """
    if not workdir.look(folder, config):
        return False
    if (record := diverged(folder)) is not None:
        raise loop.Diverged(record["first"], record["last"], _said(folder, record))
    return (folder / SUMMARY).exists()


def diverged(folder: Path) -> dict[str, Any] | None:
    """What the folder's run says of how it diverged; None where it has not.

    Raises:
        BadInput: the file cannot be read.
    """
    try:
        record = workdir.read_json(folder / DIVERGED)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        record = None
    if not isinstance(record, dict) or not {"first", "last", "tensors"} <= record.keys():
        raise BadInput(f"{str(folder / DIVERGED)!r} is not readable; remove it to train again.")
    return record


def reopen(folder: Path, data_dir: str | None, manual_dir: str | None) -> Run:
    """The run that a folder holds, finished or not.

    Raises:
        BadInput: it holds none, or as for `load`.
    """
    try:
        config = workdir.read_json(folder / workdir.CONFIG)
    except (OSError, ValueError):
        raise BadInput(
            f"workdir={str(folder)!r} holds no run: no readable {workdir.CONFIG} in it."
        ) from None
    run = load(folder, config, data_dir, manual_dir)
    workdir.same_data(folder, identity(run))
    return run


def restore(run: Run, step: int | None, among: str = workdir.CHECKPOINTS) -> tuple[int, PyTree]:
    """(updates done, state) of checkpoint `step`, or of the newest; also while the run trains.

    Args:
        among: the folder of checkpoints in the workdir.

    Raises:
        BadInput: there is no such checkpoint.
        Damaged: it is not what was saved.
    """
    if not (run.folder / among).is_dir():
        raise BadInput(f"workdir={str(run.folder)!r} has no checkpoint yet.")
    like = jax.eval_shape(run.method.init, run.key)
    with Checkpoints(run.folder / among, read_only=True) as checkpoints:
        step, state, _ = checkpoints.restore(step, like)
    return step, state


def feed_of(run: Run) -> pipeline.Feed:
    """The batches that the run trains on.

    Raises:
        BadInput: there are fewer examples than a batch has.
    """
    return pipeline.feed(
        run.dataset.splits["train"],
        run.experiment.data.preprocess,
        run.experiment.batch_size,
        run.method.draws,
        run.key,
    )


def train(run: Run) -> None:
    """Trains to the end, in a folder that no other process trains in.

    A run that diverges leaves what it takes to see the step again: see `replay.py`.

    Raises:
        BadInput: another process holds the folder, or another config owns it.
        Stopped: a signal came; a checkpoint has been saved.
        Damaged: the newest checkpoint is not what was saved.
        Diverged: something is not finite; says at which step, and what.
    """
    feed = feed_of(run)
    if run.experiment.plan.compute == "bfloat16" and jax.default_backend() == "cpu":
        print("warning: config.compute='bfloat16' is slower than float32 on CPUs.", file=sys.stderr)
    workdir.prepare(run.folder)
    with workdir.lock(run.folder), loop.signals() as stopped:
        workdir.sign(run.folder, run.config, identity(run))
        with Checkpoints(run.folder / workdir.CHECKPOINTS) as checkpoints:
            try:
                seconds = _train(run, feed, checkpoints, stopped)
            except loop.Diverged as bad:
                said = _explain(run, feed, checkpoints, bad, stopped)
                raise loop.Diverged(bad.first, bad.last, said) from None
        workdir.write_json(run.folder / SUMMARY, summary(run, seconds))
    print(f"{run.folder}: {run.experiment.steps} steps in {seconds:.0f} s.")
    if run.method.sample is not None:
        print(f"Pictures: {run.folder / 'samples'}")


def _train(
    run: Run, feed: pipeline.Feed, checkpoints: Checkpoints, stopped: Callable[[], int | None]
) -> float:
    """Seconds it took, over all attempts."""
    first, state, before = _begin(run, checkpoints)
    began = time.perf_counter()

    def seconds() -> float:
        return before + time.perf_counter() - began

    last, every = run.experiment.steps, run.experiment.every
    log, progress = Log(run.folder, first), Progress(last, first)

    def tell(step: int, metrics: loop.Metrics) -> None:
        log.write(step, seconds(), "train", metrics)
        progress.update(step, metrics)

    _forget_collapse(run.folder, first)
    pictures = [loop.Hook(every.sample, call) for call in _pictures(run, log, progress.say)]
    save = loop.Hook(every.checkpoint, hooks.checkpoint(checkpoints, log, seconds), on_signal=True)
    calls = [*pictures, *_validation(run, log, seconds), save]
    try:
        if first == 0:
            for picture in pictures:
                picture.call(0, state)
        else:
            progress.say(f"continuing after step {first}")
        loop.train(run.method, feed, state, first, last, every.log, run.key, tell, calls, stopped)
    finally:
        progress.close()
        log.close()
    return seconds()


def _begin(run: Run, checkpoints: Checkpoints) -> tuple[int, PyTree, float]:
    """(updates done, state, seconds spent): the newest checkpoint's, or those of a new run."""
    if checkpoints.latest() is None:
        return 0, jax.jit(run.method.init)(run.key), 0.0
    like = jax.eval_shape(run.method.init, run.key)
    step, state, meta = checkpoints.restore(None, like)
    return step, state, meta["seconds"]


def _forget_collapse(folder: Path, first: int) -> None:
    """A collapse after step `first` is still to come: a run that was killed saw it."""
    mark = folder / COLLAPSED
    if mark.exists() and workdir.read_json(mark)["step"] > first:
        mark.unlink()


def _explain(
    run: Run,
    feed: pipeline.Feed,
    checkpoints: Checkpoints,
    bad: loop.Diverged,
    stopped: Callable[[], int | None],
) -> str:
    """Finds the step and the tensor, from the newest checkpoint on; leaves a record; says it.

    Raises:
        Stopped: a signal came; the same command finds them again.
    """
    at, state, _ = _begin(run, checkpoints)
    every = run.experiment.every.log
    try:
        nothing = lambda step, metrics: None  # noqa: E731
        state = loop.train(
            *(run.method, feed, state, at, bad.first, every, run.key, nothing, (), stopped)
        )
        if bad.first == bad.last:
            tensors = divergence.count({"samples": sampler(run)(state)})
            found = divergence.Found(bad.first, bad.last, tensors, state) if tensors else None
        else:
            found = divergence.find(run.method, feed, state, bad.first, bad.last, run.key, stopped)
    except loop.Diverged:  # earlier than before
        found = None
    if found is None:
        return (
            f"{bad}, but not when these steps were done again: this device does not repeat "
            f"itself. The same command goes on from step {at}."
        )
    shutil.rmtree(run.folder / DIVERGED_STATE, ignore_errors=True)  # of a record taken away
    with Checkpoints(run.folder / DIVERGED_STATE, keep=1) as before:
        before.save(found.first, found.state_before, {})
    record = {
        "step": found.last,
        "tensor": next(iter(found.bad)),
        "first": found.first,
        "last": found.last,
        "tensors": {name: counts._asdict() for name, counts in found.bad.items()},
        "seed": run.experiment.seed,
        **provenance.stamp(run.config, identity(run), "latentgen.run"),
    }
    workdir.write_json(run.folder / DIVERGED, record)  # last: with it the run has diverged
    return _said(run.folder, record)


def _said(folder: Path, record: Mapping[str, Any]) -> str:
    first, last = record["first"], record["last"]
    place = f"in steps {first + 1} to {last}" if last > first + 1 else f"at step {last}"
    name, counts = next(iter(record["tensors"].items()))
    return (
        f"diverged {place}: {name} is not finite ({counts['not_finite']} of {counts['values']} "
        f"values); the state before it is in {folder / DIVERGED_STATE}"
    )


def _validation(run: Run, log: Log, seconds: Callable[[], float]) -> list[loop.Hook]:
    split = run.dataset.splits.get("validation")
    if split is None:
        return []
    terms = hooks.split_terms(run.method, run.experiment.data.preprocess, split, run.key)
    return [loop.Hook(run.experiment.every.validate, hooks.validation(terms, log, seconds))]


def _shown(run: Run) -> int:
    """How many samples a picture shows."""
    return IMAGES if len(run.dataset.shape) == 3 else POINTS


def sampler(run: Run) -> Callable[[PyTree], Array]:
    """state -> the samples that pictures show, always of the same codes.

    Raises:
        BadInput: the method has none.
    """
    draw, key = run.method.sample, stream(run.key, "pictures")
    if draw is None:
        raise BadInput("this method generates nothing.")
    return jax.jit(lambda state: draw(state, key, _shown(run)))


def _pictures(run: Run, log: Log, say: Callable[[str], None]) -> list[hooks.Call]:
    """Samples of fixed codes; for a method that encodes images, inputs beside outputs too."""
    preprocess, real = run.experiment.data.preprocess, run.dataset.splits["train"]
    key, method = stream(run.key, "pictures"), run.method
    images = len(run.dataset.shape) == 3
    draws = (preprocess, real, run.folder, log)
    calls = []
    if method.sample is not None:
        first = np.arange(min(_shown(run), len(real.label)))
        spread = hooks.spread(pipeline.chosen(real, first, preprocess, stream(key, "real")).x)
        look = hooks.alike(spread, run.folder / COLLAPSED, say)
        calls.append(hooks.pictures("samples", sampler(run), None, *draws, look))
    if images and "encode" in method.probes:
        split = run.dataset.splits.get("validation", real)
        inputs = np.arange(PAIRS) % len(split.label)
        shown = pipeline.chosen(split, inputs, preprocess, stream(key, "preprocess"))
        decode = method.probes["decode"]
        outputs = jax.jit(
            lambda state: decode(state, views.centres(method, state, shown), shown.label)
        )
        beside = lambda state: pairs(shown.x, outputs(state))  # noqa: E731
        calls.append(hooks.pictures("reconstructions", beside, hooks.PAIRED, *draws))
    return calls


def summary(run: Run, seconds: float) -> dict[str, Any]:
    """The final figures and all that they depend on."""
    last = {line["split"]: line for line in read(run.folder / METRICS)}
    drop = ("step", "seconds", "split")
    state = jax.eval_shape(run.method.init, run.key)
    mark = run.folder / COLLAPSED
    return {
        "final": {
            split: {k: v for k, v in line.items() if k not in drop} for split, line in last.items()
        },
        "steps": run.experiment.steps,
        "seed": run.experiment.seed,
        "seconds": round(seconds, 3),
        "collapsed": workdir.read_json(mark)["step"] if mark.exists() else None,
        "state_values": sum(leaf.size for leaf in jax.tree.leaves(state)),
        **provenance.stamp(run.config, identity(run), "latentgen.run"),
    }


def identity(run: Run) -> dict[str, Any]:
    """What a result must say about its data."""
    return sources.identity(run.dataset, run.experiment.data.preprocess.name)
