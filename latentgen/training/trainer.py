"""Trains one run, from where its folder stands to its end; where it diverges, finds where."""

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
from latentgen.training import divergence, loop, setup
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
    """Train to the end, in a folder that no other process trains in.

    A run that diverges leaves what it takes to see the step again: see `replay.py`. As often as its
    config allows, it then goes on from the newest checkpoint without that step.

    Args:
        mesh: of the devices that train, all of all processes; None for one device.
        stuck: see `DistributedRunWriter`.
        stopped: polled between chunks; a signal's number ends the run there. None: signals do.

    Raises:
        BadInput: another process holds the folder, or another config owns it; or the run needs
            more memory than there is.
        Stopped: a signal came; a checkpoint has been saved.
        Damaged: the newest checkpoint is not what was saved.
        Diverged: something is not finite; says at which step, and what.
    """
    feed = setup.feed_of(run, mesh)
    run = run._replace(method=shard_method(run.method, mesh))
    warn(run)
    steps: Any = loop.program(run.method, feed, donate=True)
    # Traced once: the first call of `steps` finds it.
    setup.check_memory(run, feed, steps.trace(*setup.chunk_shapes(run, feed)))
    signals_of = distributed.signals() if stopped is None else contextlib.nullcontext(stopped)
    with signals_of as stop, DistributedRunWriter(run, mesh, stuck) as record:
        while not _trained(run, feed, steps, record, stop):
            pass
        record.finish()
    print(f"{run.folder}: {run.experiment.steps} steps in {record.seconds:.0f} s.")
    if run.method.sample is not None:
        print(f"Pictures: {run.folder / 'samples'}")


def warn(run: Run) -> None:
    """Say what is known to be slow here."""
    if run.experiment.plan.compute == "bfloat16" and jax.default_backend() == "cpu":
        print("warning: config.compute='bfloat16' is slower than float32 on CPUs.", file=sys.stderr)


def _trained(
    run: Run,
    feed: pipeline.Feed,
    steps: loop.Program,
    record: DistributedRunWriter,
    stopped: Callable[[], int | None],
) -> bool:
    """Train; return True at the end, False where a step that diverged is left out from now on.

    Raises:
        Stopped, Damaged, Diverged: as for `train`.
    """
    skipped = _skipped(run)
    try:
        _train(run, feed, loop.skip_steps(steps, skipped), record, stopped)
        return True
    except Diverged as bad:
        found, at = search(run, feed, record, bad, stopped, skipped, record.begin)
        if found is None:
            raise Diverged(bad.first, bad.last, unrepeated(bad, at)) from None
        if not distributed.broadcast_from_zero(_may_skip(run, found)):
            reason = distributed.on_process_zero(lambda: leave(run, found))
            raise Diverged(bad.first, bad.last, reason) from None
        distributed.on_process_zero(lambda: skip(run, found))
        return False


def _skipped(run: Run) -> list[range]:
    """See `evidence.skipped`; the first process has read it for all."""
    found = distributed.on_process_zero(lambda: evidence.skipped(evidence.skips(run.folder)))
    ends = [(steps.start, steps.stop) for steps in found or ()]
    return [range(*each) for each in distributed.broadcast_from_zero(ends)]


def _train(
    run: Run,
    feed: pipeline.Feed,
    steps: loop.Program,
    record: DistributedRunWriter,
    stopped: Callable[[], int | None],
) -> None:
    with signals.with_grace():
        first, state = record.resume()
    last, every = run.experiment.steps, run.experiment.every
    progress = Progress(last, first)

    def tell(step: int, metrics: loop.Metrics) -> None:
        record.tell(step, metrics)
        progress.update(step, metrics)

    record.open(first, progress.say)
    try:
        if first == 0:
            with signals.with_grace():
                record.look(state)
        else:
            progress.say(f"continuing after step {first}")
        loop.train(
            steps,
            feed,
            state,
            first=first,
            last=last,
            chunk=every.log,
            key=run.key,
            log=tell,
            hooks=record.hooks,
            stopped=stopped,
        )
    finally:
        progress.close()


def search(
    run: Run,
    feed: pipeline.Feed,
    record: RunWriter | DistributedRunWriter,
    bad: Diverged,
    stopped: Callable[[], int | None],
    skipped: Sequence[range] = (),
    begin: Callable[[str], None] = lambda what: None,
) -> tuple[divergence.Found | None, int]:
    """Find the step and the tensor, from the newest checkpoint on; return that one's step too.

    Args:
        skipped: the steps that the run leaves out.
        begin: told what is done next, see `Watchdog.begin`.

    Returns:
        None for what is found where the device does not repeat itself.

    Raises:
        Stopped: a signal came; the same command finds them again.
    """
    at, state = record.resume()
    every = run.experiment.every.log
    try:
        again = lambda step, metrics: begin("a chunk done again")  # noqa: E731
        steps = loop.skip_steps(loop.program(run.method, feed, donate=True), skipped)
        state = loop.train(
            steps,
            feed,
            state,
            first=at,
            last=bad.first,
            chunk=every,
            key=run.key,
            log=again,
            hooks=(),
            stopped=stopped,
        )
        if bad.first == bad.last:
            tensors = divergence.count({"samples": sampler(run)(state)})
            found = divergence.Found(bad.first, bad.last, tensors, state) if tensors else None
        else:
            found = divergence.find(
                run.method,
                feed,
                state,
                first=bad.first,
                last=bad.last,
                key=run.key,
                stopped=stopped,
                begin=begin,
                skipped=skipped,
            )
    except Diverged:  # earlier than before
        found = None
    if found is not None:
        found = found._replace(state_before=local(found.state_before))
    return found, at


def unrepeated(bad: Diverged, at: int) -> str:
    """Return the message for a divergence that did not recur when its steps were repeated."""
    return (
        f"{bad}, but not when these steps were done again: this device does not repeat itself. "
        f"The same command goes on from step {at}."
    )


def _may_skip(run: Run, found: divergence.Found) -> bool:
    """Samples alone that are not finite come from no step that could be left out."""
    so_far = len(evidence.skips(run.folder)) if distributed.is_process_zero() else 0
    return found.first < found.last and so_far < run.experiment.skip_diverged


def leave(run: Run, found: divergence.Found) -> str:
    """Write what it takes to see the divergence again: now the run has diverged; say so."""
    record = _evidence(run, found)
    workdir.write_json(run.folder / evidence.DIVERGED, record)  # last: with it the run has diverged
    return evidence.said(run.folder, record)


def skip(run: Run, found: divergence.Found) -> None:
    """Write the same; now the run goes on without these steps. Says so."""
    record = _evidence(run, found)
    workdir.append_json(run.folder / evidence.SKIPPED, record)
    number, most = len(evidence.skips(run.folder)), run.experiment.skip_diverged
    print(
        f"{evidence.said(run.folder, record)}; left out, {number} of at most {most} times.",
        file=sys.stderr,
    )


def _evidence(run: Run, found: divergence.Found) -> dict[str, Any]:
    """Keep the state before the divergence; tells what is to be written of it."""
    with Checkpoints(run.folder / evidence.STATE, keep=MOST_SKIPPED + 1) as before:
        before.forget_after(found.first - 1)  # of a record taken away, or not yet written
        before.save(found.first, found.state_before, {})
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
