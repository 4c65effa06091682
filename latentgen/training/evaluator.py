"""Measure taken during training: its log, the best checkpoint, and the early end of a run.

All that is decided follows from the lines of `metrics.jsonl`, so that a resumed run decides alike.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

from latentgen.core.errors import BadInput, Diverged, Stopped, is_transient, printable
from latentgen.core.types import PyTree
from latentgen.storage import workdir
from latentgen.storage.checkpoint import Checkpoints
from latentgen.storage.log import METRICS, Log, figures
from latentgen.training.best import SPLIT, Best, Evaluation, best_of
from latentgen.training.setup import Run


class Evaluator:
    """Evaluation of a run at intervals; keeps the best state beside its checkpoints.

    `best/` holds the best state after each checkpoint of the run and all that were better since,
    so that the newest of them is the best, from whichever checkpoint the run continues.
    """

    def __init__(self, run: Run, log: Log, best: Checkpoints, first: int, say: Callable):
        """Read the evaluations up to step `first` from the log, which ends there.

        Args:
            best: the folder of the best states.
            say: prints a line.
        """
        if run.evaluation is None:
            raise RuntimeError("evaluation.in_training.attached(run) comes first")
        self._evaluation: Evaluation = run.evaluation
        self._patience = run.experiment.evaluate.patience
        self._log, self._saved, self._say, self._has_failed = log, best, say, False
        self._lines = [x for x in figures(run.folder / METRICS) if x["split"] == SPLIT]
        best.forget_after(first)
        if (found := self.best) is not None and found.step not in best.steps():
            say(f"warning: {run.folder / workdir.BEST} has lost the state of step {found.step}")

    @property
    def best(self) -> Best | None:
        """The best evaluation so far."""
        return best_of(self._lines, self._evaluation)

    @property
    def ended(self) -> bool:
        """True if the run ends early: it has not improved for `patience` evaluations."""
        best = self.best
        return bool(self._patience) and best is not None and best.later >= self._patience

    def hook(self, seconds: Callable[[], float]) -> Callable[[int, PyTree], None]:
        """Make a hook that logs the measure and saves a state that is better than all before."""

        def call(step: int, state: PyTree) -> None:
            values = self._measured(step, state)
            if values is None:
                return
            line = {"step": step, "split": SPLIT, **values}
            self._lines.append(line)
            if (best := self.best) is not None and best.step == step:
                meta = {"seconds": seconds(), "name": best.name, "value": best.value}
                self._saved.save(step, state, meta)  # before the line that says so
            self._log.write(step, seconds(), SPLIT, values)

        return call

    def _measured(self, step: int, state: PyTree) -> dict[str, float] | None:
        """Take the measure; report its first failure, which does not end the run."""
        try:
            return self._evaluation.measure(step, state)
        except (Stopped, Diverged):
            raise
        except Exception as error:
            if is_transient(error):
                raise
            if not self._has_failed:
                why = str(error) if isinstance(error, BadInput) else repr(error)
                self._say(f"warning: no evaluation at step {step}: {printable(why)}")
            self._has_failed = True
            return None

    def forget(self, checkpoints: Iterable[int]) -> None:
        """Delete states that are the best after none of these checkpoints of the run."""
        steps = sorted(checkpoints)
        after = [best_of(self._lines, self._evaluation, step) for step in [*steps, math.inf]]
        newer = [step for step in self._saved.steps() if step > max(steps, default=0)]
        self._saved.keep_only({best.step for best in after if best is not None} | set(newer))

    def summary(self) -> dict[str, Any]:
        """Return the best evaluation, and the step at which the run ended early, if it did."""
        best = self.best
        found = best and {"step": best.step, "name": best.name, "value": best.value}
        return {"best": found, "stopped_early": self._lines[-1]["step"] if self.ended else None}

    def reason(self) -> str | None:
        """Explain an early end in a line; None for a run that went to its end."""
        best = self.best
        if best is None or not self.ended:
            return None
        return (
            f"stopped early at step {self._lines[-1]['step']}: {best.name}={best.value:.5g} of "
            f"step {best.step} was the best for {best.later} evaluations"
        )
