"""Trains one run, from where its folder stands to its end; where it diverges, finds where."""

import shutil
import sys
from collections.abc import Callable

import jax
from jax.sharding import Mesh

from latentgen import runner
from latentgen.data import pipeline
from latentgen.joint import Joint
from latentgen.record import Record
from latentgen.runner import DIVERGED, DIVERGED_STATE, Run, identity, said, sampler
from latentgen.training import distributed, divergence, loop, provenance, workdir
from latentgen.training.checkpoint import Checkpoints
from latentgen.training.log import Progress
from latentgen.training.mesh import local, spread


def train(run: Run, mesh: Mesh | None = None, stuck: float = distributed.STUCK) -> None:
    """Trains to the end, in a folder that no other process trains in.

    A run that diverges leaves what it takes to see the step again: see `replay.py`.

    Args:
        mesh: of the devices that train, all of all processes; None for one device.
        stuck: see `Joint`.

    Raises:
        BadInput: another process holds the folder, or another config owns it; or the run needs
            more memory than there is.
        Stopped: a signal came; a checkpoint has been saved.
        Damaged: the newest checkpoint is not what was saved.
        Diverged: something is not finite; says at which step, and what.
    """
    feed = runner.feed_of(run, mesh)
    run = run._replace(method=spread(run.method, mesh))
    warn(run)
    steps = loop.program(run.method, feed, donate=True)
    runner.check_memory(run, feed, steps)
    with distributed.signals() as stopped, Joint(run, mesh, stuck) as record:
        try:
            _train(run, feed, steps, record, stopped)
        except loop.Diverged as bad:
            reason = explain(run, feed, record, bad, stopped, record.begin)
            raise loop.Diverged(bad.first, bad.last, reason) from None
        record.finish()
    print(f"{run.folder}: {run.experiment.steps} steps in {record.seconds:.0f} s.")
    if run.method.sample is not None:
        print(f"Pictures: {run.folder / 'samples'}")


def warn(run: Run) -> None:
    """Says what is known to be slow here."""
    if run.experiment.plan.compute == "bfloat16" and jax.default_backend() == "cpu":
        print("warning: config.compute='bfloat16' is slower than float32 on CPUs.", file=sys.stderr)


def _train(
    run: Run,
    feed: pipeline.Feed,
    steps: loop.Program,
    record: Joint,
    stopped: Callable[[], int | None],
) -> None:
    first, state = record.resume()
    last, every = run.experiment.steps, run.experiment.every
    progress = Progress(last, first)

    def tell(step: int, metrics: loop.Metrics) -> None:
        record.tell(step, metrics)
        progress.update(step, metrics)

    record.open(first, progress.say)
    try:
        if first == 0:
            record.look(state)
        else:
            progress.say(f"continuing after step {first}")
        loop.train(
            *(steps, feed, state, first, last, every.log, run.key, tell, record.hooks, stopped)
        )
    finally:
        progress.close()


def explain(
    run: Run,
    feed: pipeline.Feed,
    record: Record | Joint,
    bad: loop.Diverged,
    stopped: Callable[[], int | None],
    begin: Callable[[str], None] = lambda what: None,
) -> str:
    """Finds the step and the tensor, from the newest checkpoint on; leaves a record; says it.

    Args:
        begin: told what is done next, see `Watchdog.begin`.

    Raises:
        Stopped: a signal came; the same command finds them again.
    """
    at, state = record.resume()
    every = run.experiment.every.log
    try:
        again = lambda step, metrics: begin("a chunk done again")  # noqa: E731
        steps = loop.program(run.method, feed, donate=True)
        state = loop.train(*(steps, feed, state, at, bad.first, every, run.key, again, (), stopped))
        if bad.first == bad.last:
            tensors = divergence.count({"samples": sampler(run)(state)})
            found = divergence.Found(bad.first, bad.last, tensors, state) if tensors else None
        else:
            found = divergence.find(
                *(run.method, feed, state, bad.first, bad.last, run.key, stopped, begin)
            )
    except loop.Diverged:  # earlier than before
        found = None
    if found is None:
        return (
            f"{bad}, but not when these steps were done again: this device does not repeat "
            f"itself. The same command goes on from step {at}."
        )
    found = found._replace(state_before=local(found.state_before))
    return distributed.once(lambda: leave(run, found))


def leave(run: Run, found: divergence.Found) -> str:
    """Writes what it takes to see the divergence again: now the run has diverged; says so."""
    shutil.rmtree(run.folder / DIVERGED_STATE, ignore_errors=True)  # of a record taken away
    with Checkpoints(run.folder / DIVERGED_STATE, keep=1) as before:
        before.save(found.first, found.state_before, {})
    told = {
        "step": found.last,
        "tensor": next(iter(found.bad)),
        "first": found.first,
        "last": found.last,
        "tensors": {name: counts._asdict() for name, counts in found.bad.items()},
        "seed": run.experiment.seed,
        **provenance.stamp(run.config, identity(run), "latentgen.run"),
    }
    workdir.write_json(run.folder / DIVERGED, told)  # last: with it the run has diverged
    return said(run.folder, told)
