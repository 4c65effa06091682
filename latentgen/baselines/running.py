"""Run a baseline: train and measure the runs of a sweep, or compute exact quantities."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from latentgen.baselines import checks, costs, measuring, store
from latentgen.baselines.claims import Baseline, Exact, Recipe
from latentgen.baselines.measuring import Found, Measured, Where, finite
from latentgen.core.errors import BadInput
from latentgen.evaluation import features
from latentgen.storage import provenance, status, workdir
from latentgen.sweeps import folder, plan
from latentgen.sweeps import results as tables
from latentgen.sweeps.engines.registry import AUTO, ENGINES, settled
from latentgen.sweeps.folder import Sweep
from latentgen.sweeps.options import Options
from latentgen.sweeps.plan import Member
from latentgen.system import signals


class How(NamedTuple):
    """Options for running a baseline; not part of its identity.

    engine: a key of `registry.ENGINES`, or 'auto'
    inception_weights: file with the weights of the features 'inception'
    """

    options: Options = Options()
    engine: str = AUTO
    inception_weights: str | None = None


def check(found: Baseline, budget: str, inception_weights: str | None) -> None:
    """Check before training that all measures can be taken.

    Raises:
        BadInput: a measure needs weights that are missing.
    """
    if isinstance(found.recipe, Exact):
        return
    for flags in found.recipe.measures(budget).values():
        if flags.get("features") == "inception":
            features.extractor("inception", (28, 28, 1), inception_weights)


def members(recipe: Recipe, budget: str, seeds: int) -> dict[tuple[str, int], Member]:
    """Make the members of a recipe by arm and seed, in order."""
    config = recipe.config(budget)
    config.seed = 0
    rows = {
        (arm, seed): {f"config.{key}": value for key, value in changes.items()}
        | {"config.seed": seed}
        for arm, changes in recipe.arms.items()
        for seed in range(seeds)
    }
    made = plan.members(config, rows.values())
    if len(made) != len(rows):
        raise BadInput("two arms of this baseline have the same config.")
    return dict(zip(rows, made, strict=True))


def trained(recipe: Recipe, budget: str, seeds: int, sweep_folder: Path, how: How) -> Found:
    """Train and measure the runs that are not yet trained or measured.

    Raises:
        Stopped: after a signal; the same command continues.
    """
    runs, measures = members(recipe, budget, seeds), recipe.measures(budget)
    where = Where(how.options.data_dir, how.options.manual_dir, how.inception_weights)
    base = recipe.config(budget)
    base.seed = 0
    command = provenance.command("latentgen.reproduce")
    with folder.locked(sweep_folder), signals.note_signals() as stopped:
        sweep = folder.open_(sweep_folder, plan.changed(base, {}), list(runs.values()), command)
        todo = folder.unfinished(sweep, ())
        try:
            if todo:
                with costs.spending(sweep_folder):
                    _train(sweep, todo, how, stopped)
            for member in sweep.members:
                if _standing(sweep, member) == status.DONE:
                    measuring.measure(sweep, member, measures, where, stopped)
        finally:
            tables.write(sweep)
    return measuring.collected(sweep, runs, measures, where)


def _train(
    sweep: Sweep, todo: Sequence[Member], how: How, stopped: Callable[[], int | None]
) -> None:
    engine, options = settled(how.engine, how.options, todo)
    print(f"{len(sweep.members)} runs, {len(todo)} to train: {engine}", file=sys.stderr)
    if not ENGINES[engine].waits:
        costs.jobs(sweep.folder, len(todo))
    ENGINES[engine].train(sweep, todo, options, stopped)


def _standing(sweep: Sweep, member: Member) -> str:
    return folder.standing(sweep.run_folder(member.run)).status


def computed(exact: Exact, budget: str, seeds: int, sweep_folder: Path) -> Found:
    """Compute an exact baseline, one seed at a time."""
    workdir.prepare(sweep_folder)
    settings = exact.settings(budget)
    measured: Measured = {}
    with costs.spending(sweep_folder):
        for seed in range(seeds):
            for of, value in exact.compute(settings, seed).items():
                measured.setdefault(of, {})[str(seed)] = finite(value)
    return Found(measured, {f"settings.{key}": value for key, value in settings.items()}, [])


def result(
    name: str,
    found: Baseline,
    budget: str,
    seeds: int,
    place: Path,
    how: How,
) -> dict[str, Any]:
    """Run a baseline, or continue it; return its result as written to the file."""
    recipe = found.recipe
    if isinstance(recipe, Exact):
        costs.forget(place)
        done = computed(recipe, budget, seeds, place)
    else:
        done = trained(recipe, budget, seeds, place, how)
    return {
        "name": name,
        "budget": budget,
        "command": provenance.command("latentgen.reproduce"),
        "commit": folder.commit(),
        "config_sha256": store.config_hash(found, budget),
        "versions": provenance.versions(),
        "device": provenance.device(),
        **costs.total(place),
        "seeds": list(range(seeds)),
        "began": done.began,
        "not_done": done.not_done,
        "waiting": done.waiting,
        "protocol": done.protocol,
        "measured": done.measured,
        "claims": checks.claims(found, budget, done.measured, done.protocol, seeds),
    }
