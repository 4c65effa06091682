"""What a run writes into its folder while it trains: status, log, pictures, checkpoints."""

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
from latentgen.storage import evidence, provenance, status, workdir
from latentgen.storage.checkpoint import Checkpoints, Damaged
from latentgen.storage.log import METRICS, Log, figures
from latentgen.system.compilation import settings
from latentgen.system.distributed import PeerLost
from latentgen.training import hooks, loop, transfer
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
    """A run's folder, held by this process; use as a context manager, then `resume` and `open`.

    Raises:
        BadInput: another process holds the folder, or another config owns it.
    """

    def __init__(self, run: Run):
        self.run = run
        self.hooks: list[loop.Hook] = []
        self._pictures: list[hooks.Call] = []
        self._before, self._began = 0.0, time.perf_counter()
        self._log: Log | None = None
        self._settings = _settings(0, None)
        self._said: Any = None  # what the checkpoint that the run goes on from knows of its log
        self._ended = False

    def __enter__(self) -> "RunWriter":
        run = self.run
        workdir.own(workdir.prepare(run.folder))
        with contextlib.ExitStack() as stack:
            stack.enter_context(workdir.lock(run.folder))
            began = {} if run.origin is None else {workdir.ORIGIN: run.origin}
            workdir.sign(
                run.folder,
                run.config,
                run.identity() | began,
                may_change=run.may_change,
                description=description(run),
            )
            self._status = status.StatusWriter(run.folder)
            if (before := self._status.before) and before.status == status.RUNNING:
                print(_lost(run.folder, before), file=sys.stderr)
            try:
                saved = Checkpoints(run.folder / workdir.CHECKPOINTS)
            except Exception as error:
                with contextlib.suppress(OSError):
                    self._status.end(*_verdict(error))
                raise
            self.checkpoints = stack.enter_context(saved)
            self._held = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._held:
            if self._ended:
                return
            # What has ended the run is told, not that the same disk takes no last words either.
            calm = contextlib.suppress(OSError) if error else contextlib.nullcontext()
            if error and self._log is not None:
                with calm:
                    self._log.close()
            with calm:
                self.end(*_verdict(error))

    def end(self, verdict: str, reason: str | None = None) -> None:
        """Close the log and tell how the run ended; the folder stays held."""
        if self._log is not None:
            self._log.close()
        self._status.end(verdict, reason)
        self._ended = True

    def mark_preempted(self, reason: str) -> None:
        """Tell only why, where the process is about to end whatever it is doing."""
        self._status.end(status.PREEMPTED, reason)

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken over all attempts."""
        return self._before + time.perf_counter() - self._began

    def resume(self) -> tuple[int, PyTree]:
        """(updates done, state): of the newest checkpoint that is sound, or those of a new run.

        Raises:
            Damaged: there are checkpoints, and none is what was saved.
        """
        run = self.run
        like = jax.eval_shape(run.method.init, run.key)
        found = self.checkpoints.newest(like, lambda line: print(line, file=sys.stderr))
        changed = workdir.changed(run.folder, run.config)
        if changed and found is not None:
            found = self.checkpoints.restore(self._goes_on_from(found[0]), like)
            self.checkpoints.forget_after(found[0])
        step = 0 if found is None else found[0]
        if changed:
            workdir.amend(run.folder, run.config, step)
            _tell_change(run, step, changed)
        if found is None:
            return 0, transfer.begun(run, run.eval_fns.init(run.key))
        return self._from(*found)

    def _goes_on_from(self, newest: int) -> int:
        """The checkpoint from which the run goes on with the config that it has now.

        Raises:
            BadInput: the run is as long already, or no checkpoint is at a line of its log.
        """
        steps, log = self.run.experiment.steps, self.run.experiment.every.log
        if newest >= steps:
            raise BadInput(
                f"config.steps={steps} must be more than {newest}, the steps that are done."
            )
        there = self.checkpoints.steps()
        if not (fit := [step for step in there if step % log == 0]):
            raise BadInput(
                f"config.every.log={log} must divide a checkpoint from which the run can go on: "
                f"{', '.join(map(str, there))}."
            )
        return max(fit)

    def restore(self, step: int) -> tuple[int, PyTree]:
        """(updates done, state) of checkpoint `step`; later ones go.

        Raises:
            Damaged: it is not what was saved.
        """
        like = jax.eval_shape(self.run.method.init, self.run.key)
        found = self.checkpoints.restore(step, like)
        self.checkpoints.forget_after(step)
        return self._from(*found)

    def _from(self, step: int, state: PyTree, meta: Mapping[str, Any]) -> tuple[int, PyTree]:
        seconds = meta.get("seconds")
        if not isinstance(seconds, int | float):
            raise Damaged(f"checkpoint {step} is damaged: it does not say how long it took")
        self._before, self._began = seconds, time.perf_counter()
        self._said = meta.get("log")
        self._settings = _settings(step, meta.get("settings"))
        return step, state

    def open(self, first: int, say: Callable[[str], None]) -> None:
        """Make the hooks of a run that goes on after `first` updates; what it said later goes."""
        run, every = self.run, self.run.experiment.every
        if self._log is not None:  # of the steps that diverged, and that are left out now
            self._log.close()
        self._log = log = Log(run.folder, first, self._said if first else None)
        for each in log.lost:
            say(f"warning: {each}")
        _forget_collapse(run, first)
        self._pictures = _pictures(run, log, say)
        seconds = lambda: self.seconds  # noqa: E731
        self.hooks = [loop.Hook(every.sample, call, name="pictures") for call in self._pictures]
        if (split := run.dataset.splits.get("validation")) is not None:
            preprocess, terms = run.experiment.data.preprocess, run.eval_fns.terms
            validate = hooks.validation(
                hooks.split_terms(terms, preprocess, split, run.key), log, seconds
            )
            self.hooks.append(loop.Hook(every.validate, validate, name="validation"))
        meta = lambda: {"seconds": self.seconds, "settings": self._settings}  # noqa: E731
        save = hooks.checkpoint(self.checkpoints, log, meta)
        self.hooks.append(loop.Hook(every.checkpoint, save, on_signal=True, name="checkpoint"))

    def look(self, state: PyTree) -> None:
        """Pictures of a run that has not begun."""
        for picture in self._pictures:
            picture(0, state)

    def tell(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Log what training says of a chunk that ends at `step`."""
        assert self._log is not None, "open() comes first"
        self._log.write(step, self.seconds, "train", metrics)
        self._status.beat()

    def finish(self, **more: Any) -> None:
        """Write the final figures, with which the run is done.

        Args:
            more: what else the summary should say.
        """
        self.end(status.DONE)
        self._ended = False  # until it has its figures it may still fail
        lost = {"log_lost": self._log.lost} if self._log is not None and self._log.lost else {}
        more = more | ({"settings": self._settings} if len(self._settings) > 1 else {})
        found = summary(self.run, self.seconds) | lost | more
        workdir.write_json(self.run.folder / SUMMARY, found)
        self._ended = True


def _tell_change(run: Run, step: int, changed: Mapping[str, tuple[Any, Any]]) -> None:
    said = ", ".join(f"{key}: {old} -> {new}" for key, (old, new) in changed.items())
    print(f"from step {step} on: {said}", file=sys.stderr)
    if "steps" in changed and (spread := transfer.scheduled(run.config)):
        print(
            f"{', '.join(spread)} is spread over config.steps: from step {step} on it is that of a "
            f"run of {run.experiment.steps} steps.",
            file=sys.stderr,
        )


def _lost(folder: Path, before: status.Status) -> str:
    """Return a message about an attempt that did not end by itself."""
    since = time.time() - before.beat
    ago = f"{since:.0f} s before now" if 0 <= since < math.inf else "unknown"
    return printable(
        f"{folder}: attempt {before.attempts} did not end by itself: {status.LOST} "
        f"(pid {before.pid} on {before.host}; last sign of life: {ago})"
    )


def _settings(step: int, before: Any) -> list[list[Any]]:
    """[step, JAX's settings from there on], ...: told where they are no longer the same.

    Args:
        before: the same, as a checkpoint has it; a release before has none.
    """
    now: list[Any] = [step, settings()]
    try:
        known: list[list[Any]] = [[int(at), dict(found)] for at, found in before or []]
    except (TypeError, ValueError):
        known = []
    if not known:
        return [now]
    if known[-1][1] == now[1]:
        return known
    changed = "; ".join(workdir.differences(known[-1][1], now[1]))
    print(
        f"warning: from step {step} on other settings of JAX or XLA may give other numbers than "
        f"this run had until then: {printable(changed)}",
        file=sys.stderr,
    )
    return [*known, now]


def _verdict(error: BaseException | None) -> tuple[str, str | None]:
    """(status, reason) of a run that this ended."""
    if error is None:
        return status.DONE, None
    if isinstance(error, Diverged):
        return status.DIVERGED, str(error)
    if isinstance(error, Stopped | PeerLost | KeyboardInterrupt):
        return status.PREEMPTED, str(error) or "interrupted"
    if is_transient(error):  # the same command continues, with room again
        return status.PREEMPTED, " ".join(str(error).split())[:500]
    said = str(error) if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
    return status.FAILED, " ".join(said.split())[:500]


def _forget_collapse(run: Run, first: int) -> None:
    """A collapse after step `first` is still to come: a run that was killed saw it."""
    step = collapsed(run.folder)
    if step is None or step > first:
        (run.folder / COLLAPSED).unlink(missing_ok=True)


def _pictures(run: Run, log: Log, say: Callable[[str], None]) -> list[hooks.Call]:
    """Samples of fixed codes; for a method that encodes images, inputs beside outputs too."""
    preprocess, real = run.experiment.data.preprocess, run.dataset.splits["train"]
    key, reconstruct = named_key(run.key, "pictures"), run.eval_fns.reconstruct
    draws = (preprocess, real, run.folder, log)
    calls = []
    if run.eval_fns.sample is not None:
        draw = sampler(run)
        number = jax.eval_shape(draw, jax.eval_shape(run.eval_fns.init, run.key)).shape[0]
        first = np.arange(min(number, len(real.label)))
        spread = hooks.largest_std(
            pipeline.chosen(real, first, preprocess, named_key(key, "real")).x
        )
        look = hooks.watch_for_collapse(spread, run.folder / COLLAPSED, say)
        calls.append(hooks.write_pictures("samples", draw, None, *draws, look, run.show))
    if reconstruct is not None:
        split = run.dataset.splits.get("validation", real)
        inputs = np.arange(PAIRS) % len(split.label)
        shown = pipeline.chosen(split, inputs, preprocess, named_key(key, "preprocess"))
        beside = lambda state: pairs(shown.x, reconstruct(state, shown))  # noqa: E731
        columns = hooks.PAIRED
        calls.append(
            hooks.write_pictures("reconstructions", beside, columns, *draws, show=run.show)
        )
    return calls


def summary(run: Run, seconds: float) -> dict[str, Any]:
    """The final figures and all that they depend on."""
    last = {line["split"]: line for line in figures(run.folder / METRICS)}
    drop = ("step", "seconds", "split")
    state = jax.eval_shape(run.method.init, run.key)
    return {
        "final": {
            split: {k: v for k, v in line.items() if k not in drop} for split, line in last.items()
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
