"""Training of one run, from its newest checkpoint to the end, and search for a divergence."""

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh

from latentgen.configs import MOST_SKIPPED
from latentgen.core.errors import Diverged
from latentgen.data import pipeline
from latentgen.storage import evidence, provenance, workdir
from latentgen.storage.checkpoint import Checkpoints
from latentgen.storage.log import Progress
from latentgen.system import distributed, signals
from latentgen.training import divergence, loop, memory_check, setup
from latentgen.training.mesh import local, shard_method
from latentgen.training.run_writer import RunWriter
from latentgen.training.run_writer_distributed import DistributedRunWriter
from latentgen.training.setup import Run, sampler


def train(
    run: Run,
    mesh: Mesh | None = None,
    stuck: float = distributed.STUCK,
    stopped: Callable[[], int | None] | None = None,
) -> None:
    """Train a run to its end; the folder is locked.

    If the run diverges, the state before that step is saved, so that `replay.py` can repeat it.
    Up to `skip_diverged` times the run then continues from the newest checkpoint without the step.

    Args:
        mesh: of all devices of all processes that train; None for one device.
        stuck: see `DistributedRunWriter`.
        stopped: polled between chunks; returns a signal's number to stop the run, or None. By
            default SIGTERM and SIGINT stop it.

    Raises:
        BadInput: another process has locked the folder, it belongs to another config, or the run
            does not fit into memory.
        Stopped: a signal came; a checkpoint has been saved.
        Damaged: all checkpoints are damaged.
        Diverged: a value is not finite; the message names the step and the tensor.
    """
    feed = setup.feed_of(run, mesh)
    run = run._replace(method=shard_method(run.method, mesh))
    warn(run)
    steps: Any = loop.program(run.method, feed, donate=True)
    # Traced and compiled once: the first call of `steps` reuses both.
    shapes = memory_check.arguments(run, feed)
    traced = steps.trace(*shapes)
    memory_check.check_traced(run, shapes, traced)
    poll = distributed.signals() if stopped is None else contextlib.nullcontext(stopped)
    with poll as stop:
        if mesh is None:
            memory_check.check_program(run, traced)
        with DistributedRunWriter(run, mesh, stuck) as writer:
            while not _trained_to_end(run, feed, steps, writer, stop):
                pass
            ended_early = writer.ended_early
            writer.finish()
    steps_done = ended_early or f"{run.experiment.steps} steps"
    print(f"{run.folder}: {steps_done} in {writer.seconds:.0f} s.")
    if run.method.sample is not None:
        print(f"Pictures: {run.folder / 'samples'}")


def warn(run: Run) -> None:
    """Warn of a compute dtype that is slow on this platform."""
    if run.experiment.plan.compute == "bfloat16" and jax.default_backend() == "cpu":
        print("warning: config.compute='bfloat16' is slower than float32 on CPUs.", file=sys.stderr)


def _trained_to_end(
    run: Run,
    feed: pipeline.Feed,
    steps: loop.Program,
    writer: DistributedRunWriter,
    stopped: Callable[[], int | None],
) -> bool:
    """Train; return True at the end, False after a divergence whose steps are to be skipped.

    Raises:
        Stopped, Damaged, Diverged: as for `train`.
    """
    skipped = _skipped(run)
    try:
        _train(run, feed, loop.skip_steps(steps, skipped), writer, stopped)
        return True
    except Diverged as error:
        found, restored = search(run, feed, writer, error, stopped, skipped, writer.begin)
        if found is None:
            raise Diverged(error.first, error.last, unrepeated(error, restored)) from None
        if not distributed.broadcast_from_zero(_may_skip(run, found)):
            message = distributed.on_process_zero(lambda: leave(run, found))
            raise Diverged(error.first, error.last, message) from None
        distributed.on_process_zero(lambda: skip(run, found))
        return False


def _skipped(run: Run) -> list[range]:
    """Return `evidence.skipped` of the folder, read by process 0, in all processes."""
    ranges = distributed.on_process_zero(lambda: evidence.skipped(evidence.skips(run.folder)))
    bounds = [(steps.start, steps.stop) for steps in ranges or ()]
    return [range(*pair) for pair in distributed.broadcast_from_zero(bounds)]


def _train(
    run: Run,
    feed: pipeline.Feed,
    steps: loop.Program,
    writer: DistributedRunWriter,
    stopped: Callable[[], int | None],
) -> None:
    with signals.with_grace():
        first, state = writer.resume()
    last, every = run.experiment.steps, run.experiment.every
    progress = Progress(last, first)

    def log(step: int, metrics: loop.Metrics) -> None:
        writer.log_metrics(step, metrics)
        progress.update(step, metrics)

    writer.open(first, progress.say)
    try:
        if first == 0:
            with signals.with_grace():
                writer.first_pictures(state)
        else:
            progress.say(f"continuing after step {first}")
        if writer.ended_early:  # killed after its last checkpoint
            return
        loop.train(
            steps,
            feed,
            state,
            first=first,
            last=last,
            chunk=every.log,
            key=run.key,
            log=log,
            hooks=writer.hooks,
            stopped=stopped,
            ended=lambda: writer.ended_early is not None,
        )
    finally:
        progress.close()


def search(
    run: Run,
    feed: pipeline.Feed,
    writer: RunWriter | DistributedRunWriter,
    error: Diverged,
    stopped: Callable[[], int | None],
    skipped: Sequence[range] = (),
    begin: Callable[[str], None] = lambda what: None,
) -> tuple[divergence.Found | None, int]:
    """Repeat a run from its newest checkpoint and find the step and tensor that diverged.

    Args:
        error: the divergence in training.
        stopped: polled between chunks and steps; returns a signal's number, or None.
        skipped: the steps that the run leaves out, see `loop.skip_steps`.
        begin: called with a description of each action, see `Watchdog.begin`.

    Returns:
        The divergence, None if it did not recur; and the step of the checkpoint.

    Raises:
        Stopped: a signal came; the same command searches again.
    """
    restored, state = writer.resume()
    every = run.experiment.every.log
    try:
        log = lambda step, metrics: begin("a chunk done again")  # noqa: E731
        steps = loop.skip_steps(loop.program(run.method, feed, donate=True), skipped)
        state = loop.train(
            steps,
            feed,
            state,
            first=restored,
            last=error.first,
            chunk=every,
            key=run.key,
            log=log,
            hooks=(),
            stopped=stopped,
        )
        if error.first == error.last:
            bad = divergence.count({"samples": sampler(run)(state)})
            found = divergence.Found(error.first, error.last, bad, state) if bad else None
        else:
            found = divergence.find(
                run.method,
                feed,
                state,
                first=error.first,
                last=error.last,
                key=run.key,
                stopped=stopped,
                begin=begin,
                skipped=skipped,
            )
    except Diverged:  # at an earlier step than in training
        found = None
    if found is not None:
        found = found._replace(state_before=local(found.state_before))
    return found, restored


def unrepeated(error: Diverged, restored: int) -> str:
    """Return the message for a divergence that did not recur when its steps were repeated.

    Args:
        restored: step of the checkpoint to continue from.
    """
    return (
        f"{error}, but not when these steps were done again: this device does not repeat itself. "
        f"The same command goes on from step {restored}."
    )


def _may_skip(run: Run, found: divergence.Found) -> bool:
    """Return whether the run may skip the steps; if only samples diverged, there are none."""
    skips = len(evidence.skips(run.folder)) if distributed.is_process_zero() else 0
    return found.first < found.last and skips < run.experiment.skip_diverged


def leave(run: Run, found: divergence.Found) -> str:
    """Save the state before the divergence, mark the run as diverged, and return the message."""
    record = _save_evidence(run, found)
    workdir.write_json(run.folder / evidence.DIVERGED, record)  # last: this marks the run
    return evidence.message(run.folder, record)


def skip(run: Run, found: divergence.Found) -> None:
    """Save the state before the divergence, mark its steps as skipped, and print a message."""
    record = _save_evidence(run, found)
    workdir.append_json(run.folder / evidence.SKIPPED, record)
    number, most = len(evidence.skips(run.folder)), run.experiment.skip_diverged
    print(
        f"{evidence.message(run.folder, record)}; left out, {number} of at most {most} times.",
        file=sys.stderr,
    )


def _save_evidence(run: Run, found: divergence.Found) -> dict[str, Any]:
    """Save the state before the divergence and return the JSON record of the divergence."""
    with Checkpoints(run.folder / evidence.STATE, keep=MOST_SKIPPED + 1) as checkpoints:
        checkpoints.forget_after(found.first - 1)  # states without a record
        checkpoints.save(found.first, found.state_before, {})
    return {
        "step": found.last,
        "turn": found.turn,
        "tensor": next(iter(found.bad)),
        "first": found.first,
        "last": found.last,
        "tensors": {name: counts._asdict() for name, counts in found.bad.items()},
        "seed": run.experiment.seed,
        **provenance.stamp(run.config, run.identity(), "latentgen.run"),
    }
