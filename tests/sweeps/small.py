"""Small sweeps, and comparisons of their runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from experiments import gan
from latentgen.core.types import Method
from latentgen.data.pipeline import Feed
from latentgen.storage.log import read
from latentgen.storage.workdir import flatten
from latentgen.sweeps import folder, plan
from latentgen.sweeps.engines import vmap
from latentgen.sweeps.folder import Sweep
from latentgen.sweeps.options import Options
from latentgen.sweeps.plan import Member
from latentgen.training import divergence, loop, setup

LR = "config.generator_optimizer.lr"
STEPS = 40
PLAIN = Options()


def config(**changes: Any) -> ConfigDict:
    """A GAN of a second: an MLP with batch norm and an average of the weights, on the digits."""
    found = gan.get_config()
    found.update(steps=STEPS, batch_size=16)
    found.every.update(log=10, validate=20, sample=20, checkpoint=10)
    found.method.update(ema_decay=0.9, ema_start=0)
    for player in ("generator", "discriminator"):
        found[player].hidden = (8,)
    found.update_from_flattened_dict(changes)
    return found


def opened(place: Path, rows: Sequence[dict[str, Any]], base: ConfigDict | None = None) -> Sweep:
    """The sweep of these rows in this folder."""
    base = base or config()
    return folder.open_(place, plan.changed(base, {}), plan.members(base, rows), "test")


def trained(
    sweep: Sweep,
    options: Options = PLAIN,
    stopped: Callable[[], int | None] = lambda: None,
    retry: Sequence[str] = (),
) -> None:
    """Train the whole sweep, as one program where possible."""
    vmap.train(sweep, folder.unfinished(sweep, retry), options, stopped)


@contextmanager
def one_program() -> Iterator[None]:
    """Compile a run's steps once within the context, in whatever folder it is trained."""
    compile_ = loop.program
    kept: dict[tuple[int, bool], loop.Program] = {}

    def program(method: Method, feed: Feed, donate: bool) -> loop.Program:
        return kept.setdefault((id(method), donate), compile_(method, feed, donate))

    with pytest.MonkeyPatch.context() as patch:
        for module in (loop, divergence):
            patch.setattr(module, "program", program)
        yield


@contextmanager
def one_crew() -> Iterator[None]:
    """Compile once for all groups of one structure within the context, in any folder."""
    crew_, memory_ = vmap.population_program, vmap.memory
    crews: dict[Any, vmap.PopulationProgram] = {}
    needs: dict[Any, float] = {}

    def crew(group: vmap.Group, place: Callable[[str], Path], *data: Any) -> vmap.PopulationProgram:
        structure = vmap._structure(group.members[0], set(group.keys)), group.keys
        if structure in crews:
            return regrouped(crews[structure], group, place)
        return crews.setdefault(structure, crew_(group, place, *data))

    def memory(crew: vmap.PopulationProgram, size: int) -> float:
        if (what := (crew.step, size)) not in needs:
            needs[what] = memory_(crew, size)
        return needs[what]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vmap, "population_program", crew)
        patch.setattr(vmap, "memory", memory)
        yield


def regrouped(
    crew: vmap.PopulationProgram, group: vmap.Group, place: Callable[[str], Path]
) -> vmap.PopulationProgram:
    """A program for another group of the same structure."""
    run = crew.runs[0]

    def of(member: Member) -> setup.Run:
        hypers = {key: jnp.float32(flatten(member.config)[key]) for key in group.keys}
        looks = setup.EvalFns(*(look and partial(look.func, hypers) for look in run.eval_fns))
        found = setup.with_config(run, place(member.run), member.config)
        return found._replace(eval_fns=looks)

    return crew._replace(group=group, runs=tuple(map(of, group.members)))


def figures(place: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without the time it took."""
    return [
        {k: v for k, v in line.items() if k != "seconds"} for line in read(place / "metrics.jsonl")
    ]


def state(place: Path) -> list[np.ndarray]:
    """Every leaf of the final state."""
    _, found = setup.restore(setup.reopen(place, None, None), None)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(found)]


def same(a: Path, b: Path) -> None:
    """Assert that state, figures and pictures are bitwise equal."""
    assert figures(a) == figures(b)
    for x, y in zip(state(a), state(b), strict=True):
        assert x.tobytes() == y.tobytes()
    pictures = [{p.name: p.read_bytes() for p in place.glob("*/*.png")} for place in (a, b)]
    assert pictures[0] == pictures[1]
