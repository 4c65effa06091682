"""A small run, trained many times in one process, and the results that must be equal."""

import contextlib
import io
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from latentgen.storage.log import METRICS, read
from latentgen.sweeps.plan import changed
from latentgen.training import loop, setup, trainer
from latentgen.training.setup import Run

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
BATCH, LOG = 16, 10


def config(method: str, steps: int) -> ConfigDict:
    """'gan', 'vae', 'gan:minimax', ...: the experiment's, with tiny networks and `steps` steps."""
    name, *variant = method.split(":", 1)
    found = runpy.run_path(str(EXPERIMENTS / f"{name}.py"))["get_config"](*variant)
    found.update(steps=steps, batch_size=BATCH)
    found.every.update(log=LOG, validate=2 * LOG, sample=2 * LOG, checkpoint=LOG)
    for part in found.values():
        if isinstance(part, ConfigDict) and "hidden" in part:
            part.hidden = (8,)
    return found


def loaded(folder: Path, method: str, steps: int) -> Run:
    """The run of this folder."""
    with contextlib.redirect_stderr(io.StringIO()):
        return setup.load(folder, changed(config(method, steps), {}), None, None)


@contextlib.contextmanager
def compiled_once() -> Iterator[None]:
    """Compile `loop.program` once within the context: all runs must have one config."""
    make = loop.program
    programs: dict[bool, loop.Program] = {}

    def once(method, feed, donate):
        return programs.setdefault(donate, make(method, feed, donate))

    loop.program = once
    try:
        yield
    finally:
        loop.program = make


def train(run: Run) -> None:
    """Train without output, to the end or an error."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer.train(run)


def figures(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the time it took."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in read(folder / METRICS)]


def state(run: Run) -> list[tuple[str, bytes]]:
    """Every leaf of the newest checkpoint: dtype and bytes."""
    leaves = jax.tree.leaves(setup.restore(run, None)[1])
    return [(str(leaf.dtype), np.asarray(leaf).tobytes()) for leaf in leaves]


def pictures(folder: Path) -> dict[str, bytes]:
    """Every picture, by its path in the folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.glob("*/*.png")}


class End(NamedTuple):
    """The parts of a finished run that must be bitwise the same after any fault."""

    log: list[dict[str, Any]]
    state: list[tuple[str, bytes]]
    pictures: dict[str, bytes]


def end(run: Run) -> End:
    """Read the end of a run from its folder."""
    return End(figures(run.folder), state(run), pictures(run.folder))


def difference(undisturbed: End, run: Run) -> str | None:
    """Difference of a run from the undisturbed one, in words; None if bitwise equal."""
    if not (run.folder / setup.SUMMARY).exists():
        return "it has no summary"
    found = end(run)
    steps = [row["step"] for row in found.log if row["split"] == "train"]
    if steps != list(range(LOG, run.experiment.steps + 1, LOG)):
        return f"its log has the steps {steps}"
    wrong = [k for k in End._fields if getattr(found, k) != getattr(undisturbed, k)]
    return f"its {' and '.join(wrong)} differ" if wrong else None
