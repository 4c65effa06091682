"""Writer of a run's folder during training: status, log, pictures, checkpoints."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np

from latentgen.core.errors import BadInput, Diverged, Stopped, is_transient, printable
from latentgen.core.keys import named_key
from latentgen.core.types import PyTree
from latentgen.data import pipeline
from latentgen.networks.labels import cycle_labels
from latentgen.storage import evidence, provenance, status, workdir
from latentgen.storage.checkpoint import Checkpoints, Damaged
from latentgen.storage.log import METRICS, Log, figures
from latentgen.system.compilation import settings
from latentgen.system.distributed import PeerLost
from latentgen.training import classes, hooks, loop, method_identity, transfer
from latentgen.training.evaluator import Evaluator
from latentgen.training.pictures import pairs
from latentgen.training.setup import (
    COLLAPSED,
    PAIRS,
    SUMMARY,
    Run,
    collapsed,
    description,
    sampled_weights,
    sampler,
)


class RunWriter:
    """Writer of a run's folder, as a context manager that locks the folder.

    Call `resume`, then `open`; then `hooks` are those of the run.

    Raises:
        BadInput: another process has locked the folder, or it belongs to another config.
    """

    def __init__(self, run: Run):
        self.run = run
        self.hooks: list[loop.Hook] = []
        self._pictures: list[hooks.Call] = []
        self._seconds_before, self._start_time = 0.0, time.perf_counter()
        self._log: Log | None = None
        self._settings = _settings(0, None)
        self._saved_log: Any = None  # of the checkpoint to resume from: length and hash of the log
        self._ended = False
        self._best: Checkpoints | None = None
        self._evaluator: Evaluator | None = None

    def __enter__(self) -> "RunWriter":
        run = self.run
        workdir.own(workdir.prepare(run.folder))
        with contextlib.ExitStack() as stack:
            stack.enter_context(workdir.lock(run.folder))
            origin = {} if run.origin is None else {workdir.ORIGIN: run.origin}
            workdir.sign(
                run.folder,
                run.config,
                run.identity() | origin,
                may_change=run.may_change,
                description=description(run) | method_identity.described(run),
            )
            self._status = status.StatusWriter(run.folder)
            if (before := self._status.before) and before.status == status.RUNNING:
                print(_lost_attempt(run.folder, before), file=sys.stderr)
            try:
                checkpoints = Checkpoints(run.folder / workdir.CHECKPOINTS)
            except Exception as error:
                with contextlib.suppress(OSError):
                    self._status.end(*_final_status(error))
                raise
            self.checkpoints = stack.enter_context(checkpoints)
            if run.experiment.evaluate.every:
                best = Checkpoints(run.folder / workdir.BEST, keep=None)
                self._best = stack.enter_context(best)
            self._exit_stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._exit_stack:
            if self._ended:
                return
            # If writing fails as well, `error` is the one to raise.
            suppressed = contextlib.suppress(OSError) if error else contextlib.nullcontext()
            if error and self._log is not None:
                with suppressed:
                    self._log.close()
            with suppressed:
                self.end(*_final_status(error))

    def end(self, final_status: str, reason: str | None = None) -> None:
        """Close the log and write the final status; the folder stays locked."""
        if self._log is not None:
            self._log.close()
        self._status.end(final_status, reason)
        self._ended = True

    def mark_preempted(self, reason: str) -> None:
        """Write the status alone; for a process that is about to be ended."""
        self._status.end(status.PREEMPTED, reason)

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken in all attempts."""
        return self._seconds_before + time.perf_counter() - self._start_time

    def resume(self) -> tuple[int, PyTree]:
        """Restore the newest undamaged checkpoint, or initialize a new run.

        Returns:
            Updates done, and the state.

        Raises:
            Damaged: there are checkpoints, and all are damaged.
        """
        run = self.run
        like = run.state
        newest = self.checkpoints.newest(like, lambda line: print(line, file=sys.stderr))
        changed = workdir.changed(run.folder, run.config)
        moved = all(workdir.is_move(key, *pair) for key, pair in changed.items())
        if not moved and newest is not None:
            try:
                step = self._step_to_continue(newest[0])
            except BadInput:
                self._status.undo()  # the run is what it was
                self._ended = True
                raise
            newest = self.checkpoints.restore(step, like)
            self.checkpoints.forget_after(newest[0])
        step = 0 if newest is None else newest[0]
        if changed:
            workdir.amend(run.folder, run.config, step)
            _print_changes(run, step, changed)
        if newest is None:
            return 0, transfer.begun(run, run.eval_fns.init(run.key))
        return self._restored(*newest)

    def _step_to_continue(self, newest: int) -> int:
        """Return the step of the checkpoint to continue from with a changed config.

        Raises:
            BadInput: the run has that many steps already, or no checkpoint is at a step of its log.
        """
        steps, log = self.run.experiment.steps, self.run.experiment.every.log
        if newest >= steps:
            raise BadInput(
                f"config.steps={steps} must be more than {newest}, the steps that are done."
            )
        saved = self.checkpoints.steps()
        if not (at_log := [step for step in saved if step % log == 0]):
            raise BadInput(
                f"config.every.log={log} must divide a checkpoint from which the run can go on: "
                f"{', '.join(map(str, saved))}."
            )
        return max(at_log)

    def restore(self, step: int) -> tuple[int, PyTree]:
        """Restore the checkpoint of `step` and delete later ones.

        Returns:
            Updates done, and the state.

        Raises:
            Damaged: the checkpoint is damaged.
        """
        like = self.run.state
        checkpoint = self.checkpoints.restore(step, like)
        self.checkpoints.forget_after(step)
        return self._restored(*checkpoint)

    def _restored(self, step: int, state: PyTree, meta: Mapping[str, Any]) -> tuple[int, PyTree]:
        seconds = meta.get("seconds")
        if not isinstance(seconds, int | float):
            raise Damaged(f"checkpoint {step} is damaged: it does not say how long it took")
        self._seconds_before, self._start_time = seconds, time.perf_counter()
        self._saved_log = meta.get("log")
        self._settings = _settings(step, meta.get("settings"))
        return step, state

    def open(self, first: int, say: Callable[[str], None]) -> None:
        """Open the log and make the hooks of a run that continues after `first` updates.

        Later lines of the log are deleted.

        Args:
            say: prints a line.
        """
        run, every = self.run, self.run.experiment.every
        if self._log is not None:  # of the steps before a divergence that is skipped now
            self._log.close()
        self._log = log = Log(run.folder, first, self._saved_log if first else None)
        for warning in log.lost:
            say(f"warning: {warning}")
        _delete_later_collapse(run, first)
        self._pictures = _picture_hooks(run, log, say)
        seconds = lambda: self.seconds  # noqa: E731
        self.hooks = []
        if self._best is not None:
            self._evaluator = Evaluator(run, log, self._best, first, say)
            evaluate = self._evaluator.hook(seconds)  # first: the others follow an early end
            self.hooks += [loop.Hook(run.experiment.evaluate.every, evaluate, name="evaluation")]
        self.hooks += [loop.Hook(every.sample, call, name="pictures") for call in self._pictures]
        if (split := run.dataset.splits.get("validation")) is not None:
            preprocess, terms = run.experiment.data.preprocess, run.eval_fns.terms
            validate = hooks.validation(
                hooks.split_terms(terms, preprocess, split, run.key), log, seconds
            )
            self.hooks.append(loop.Hook(every.validate, validate, name="validation"))
        meta = lambda: {"seconds": self.seconds, "settings": self._settings}  # noqa: E731
        save = hooks.checkpoint(self.checkpoints, log, meta, self._forget_worse)
        self.hooks.append(loop.Hook(every.checkpoint, save, on_signal=True, name="checkpoint"))

    def _forget_worse(self) -> None:
        if self._evaluator is not None:
            self._evaluator.forget(self.checkpoints.steps())

    @property
    def ended_early(self) -> str | None:
        """The reason why the run ends before its last step; None if it goes on."""
        return None if self._evaluator is None else self._evaluator.reason()

    def first_pictures(self, state: PyTree) -> None:
        """Write the pictures of step 0."""
        for write_picture in self._pictures:
            write_picture(0, state)

    def log_metrics(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Log the mean training metrics of the chunk that ends at `step`."""
        assert self._log is not None, "open() comes first"
        self._log.write(step, self.seconds, "train", metrics)
        self._status.beat()

    def finish(self, **more: Any) -> None:
        """End the run as done and write its summary.

        Args:
            more: further entries of the summary.
        """
        self.end(status.DONE, self.ended_early)
        self._ended = False  # writing the summary may still fail
        lost = {"log_lost": self._log.lost} if self._log is not None and self._log.lost else {}
        more |= {} if self._evaluator is None else self._evaluator.summary()
        more = more | ({"settings": self._settings} if len(self._settings) > 1 else {})
        workdir.write_json(self.run.folder / SUMMARY, summary(self.run, self.seconds) | lost | more)
        self._ended = True


def _print_changes(run: Run, step: int, changed: Mapping[str, tuple[Any, Any]]) -> None:
    """Print the changes of the config, and the schedules that they stretch."""
    changes = ", ".join(f"{key}: {old} -> {new}" for key, (old, new) in changed.items())
    print(f"from step {step} on: {changes}", file=sys.stderr)
    if "steps" in changed and (schedules := transfer.scheduled(run.config)):
        print(
            f"{', '.join(schedules)} is spread over config.steps: from step {step} on it is that "
            f"of a run of {run.experiment.steps} steps.",
            file=sys.stderr,
        )


def _lost_attempt(folder: Path, before: status.Status) -> str:
    """Return the message about an earlier attempt that was killed."""
    since = time.time() - before.beat
    ago = f"{since:.0f} s before now" if 0 <= since < math.inf else "unknown"
    return printable(
        f"{folder}: attempt {before.attempts} did not end by itself: {status.LOST} "
        f"(pid {before.pid} on {before.host}; last sign of life: {ago})"
    )


def _settings(step: int, before: Any) -> list[list[Any]]:
    """Append JAX's current settings to a history of settings, with a warning if they differ.

    Args:
        step: updates done.
        before: the history of the checkpoint; None in one of an earlier release.

    Returns:
        The history: [[step, settings from this step on], ...].
    """
    now: list[Any] = [step, settings()]
    try:
        history: list[list[Any]] = [[int(since), dict(values)] for since, values in before or []]
    except (TypeError, ValueError):
        history = []
    if not history:
        return [now]
    if history[-1][1] == now[1]:
        return history
    changed = "; ".join(workdir.differences(history[-1][1], now[1]))
    print(
        f"warning: from step {step} on other settings of JAX or XLA may give other numbers than "
        f"this run had until then: {printable(changed)}",
        file=sys.stderr,
    )
    return [*history, now]


def _final_status(error: BaseException | None) -> tuple[str, str | None]:
    """Return (status, reason) of a run that ended with `error`, None for a normal end."""
    if error is None:
        return status.DONE, None
    if isinstance(error, Diverged):
        return status.DIVERGED, str(error)
    if isinstance(error, Stopped | PeerLost | KeyboardInterrupt):
        return status.PREEMPTED, str(error) or "interrupted"
    if is_transient(error):  # the same command continues when the disk works again
        return status.PREEMPTED, " ".join(str(error).split())[:500]
    reason = str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
    return status.FAILED, " ".join(reason.split())[:500]


def _delete_later_collapse(run: Run, first: int) -> None:
    """Delete the mark of a collapse after step `first`, left by an attempt that went further."""
    step = collapsed(run.folder)
    if step is None or step > first:
        (run.folder / COLLAPSED).unlink(missing_ok=True)


def _picture_hooks(run: Run, log: Log, say: Callable[[str], None]) -> list[hooks.Call]:
    """Make hooks for samples of fixed codes and, if images are encoded, for reconstructions."""
    preprocess, real = run.experiment.data.preprocess, run.dataset.splits["train"]
    key, reconstruct = named_key(run.key, "pictures"), run.eval_fns.reconstruct
    shared = (preprocess, real, run.folder, log)
    calls = []
    if run.eval_fns.sample is not None:
        sample = sampler(run)
        n = jax.eval_shape(sample, jax.eval_shape(run.eval_fns.init, run.key)).shape[0]
        indices = np.arange(min(n, len(real.label)))
        real_std = hooks.largest_std(
            pipeline.chosen(real, indices, preprocess, named_key(key, "real")).x
        )
        watch = hooks.watch_for_collapse(real_std, run.folder / COLLAPSED, say)
        written = classes.captions(run, cycle_labels(n, run.experiment.plan.classes))
        calls.append(
            hooks.write_pictures("samples", sample, None, *shared, watch, run.show, written)
        )
    if reconstruct is not None:
        split = run.dataset.splits.get("validation", real)
        indices = np.arange(PAIRS) % len(split.label)
        batch = pipeline.chosen(split, indices, preprocess, named_key(key, "preprocess"))
        reconstructions = lambda state: pairs(batch.x, reconstruct(state, batch))  # noqa: E731
        columns, written = hooks.PAIRED, classes.captions(run, batch.label, repeats=2)
        calls.append(
            hooks.write_pictures(
                "reconstructions",
                reconstructions,
                columns,
                *shared,
                show=run.show,
                captions=written,
            )
        )
    return calls


def summary(run: Run, seconds: float) -> dict[str, Any]:
    """Collect the final metrics, and the config, data and versions that they depend on."""
    last = {line["split"]: line for line in figures(run.folder / METRICS)}
    no_metrics = ("step", "seconds", "split")
    state = run.state
    return {
        "final": {
            split: {k: v for k, v in line.items() if k not in no_metrics}
            for split, line in last.items()
        },
        "validation_weights": sampled_weights(run.config),
        "steps": run.experiment.steps,
        "seed": run.experiment.seed,
        "seconds": round(seconds, 3),
        "collapsed": collapsed(run.folder),
        "skipped": [
            number + 1 for steps in evidence.skipped(evidence.skips(run.folder)) for number in steps
        ],
        "state_values": sum(leaf.size for leaf in jax.tree.leaves(state)),
        workdir.HISTORY: workdir.history(run.folder),
        workdir.ORIGIN: workdir.origin(run.folder),
        **provenance.stamp(run.config, run.identity(), "latentgen.run"),
    }
