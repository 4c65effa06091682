"""One device, many runs: members that differ in seed and numbers train as one program.

Members of one structure form a group; a group is cut into populations that fit into memory, and a
population never changes: resumed, it is restored whole, so that each of its members does bitwise
what it would have done undisturbed. A member that has ended keeps its place in the program, but
nothing of it is written any more.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from latentgen import configs
from latentgen.core.errors import BadInput, Diverged, Stopped, is_transient
from latentgen.core.game import run_chunk
from latentgen.core.keys import run_key
from latentgen.core.types import Batch, Method, PyTree
from latentgen.core.wrappers import population, population_batches
from latentgen.data import pipeline
from latentgen.storage import status, workdir
from latentgen.storage.checkpoint import Damaged
from latentgen.storage.log import Progress
from latentgen.storage.workdir import flatten
from latentgen.sweeps.folder import POPULATIONS, Sweep
from latentgen.sweeps.options import Options
from latentgen.sweeps.plan import Member
from latentgen.system import distributed, machine
from latentgen.system.signals import AGAIN
from latentgen.system.watchdog import Watchdog, leave, soon
from latentgen.training import loop, setup, trainer
from latentgen.training.run_writer import RunWriter
from latentgen.training.setup import Run

SHAPES = ((2,), (8, 8, 1), (28, 28, 1), (32, 32, 1), (32, 32, 3))
"""Of examples that a method is tried with, before there are data."""

FEW = 8
"""Members whose weights a CPU's caches may still hold."""

Hypers = Mapping[str, Float[Array, " m"]]
Say = Callable[[str], None]


class Group(NamedTuple):
    """Members of one structure.

    keys: the numbers in which they differ, which are traced
    size: how many train at once; 0 where that is not decided yet
    """

    members: tuple[Member, ...]
    keys: tuple[str, ...]
    size: int = 0

    def populations(self) -> list[range]:
        """The places of members that train at once: as few parts as can be, of like sizes."""
        parts = -(-len(self.members) // self.size)
        ends = [round(len(self.members) * i / parts) for i in range(parts + 1)]
        return [range(first, last) for first, last in pairwise(ends)]


def groups(members: Sequence[Member]) -> list[Group]:
    """The members by structure, in order: what is left of a config without seed and traced numbers.

    A number with a fraction is traced unless it is 0, where a config often means "none", or the
    method cannot be made with an unknown number in its place.
    """
    numbers = _varying(members)
    first = {_structure(m, numbers): m for m in reversed(members)}.values()
    traced = numbers
    if not all(_traceable(member, numbers) for member in first):
        traced = {key for key in numbers if all(_traceable(m, {key}) for m in first)}
    found: dict[str, list[Member]] = {}
    for member in members:
        found.setdefault(_structure(member, traced), []).append(member)
    return [Group(tuple(each), tuple(sorted(_varying(each) & traced))) for each in found.values()]


def _varying(members: Sequence[Member]) -> set[str]:
    """The keys that hold numbers with a fraction, and not the same one everywhere."""
    flat = [flatten(member.config) for member in members]
    keys = {key for key, value in flat[0].items() if isinstance(value, float)}
    return {key for key in keys if len({str(config.get(key)) for config in flat}) > 1}


def _structure(member: Member, traced: set[str]) -> str:
    flat = flatten(member.config) | {"seed": 0}
    shapes = {key: flat[key] != 0 for key in traced if key in flat}
    return json.dumps(flat | shapes, sort_keys=True)


def _traceable(member: Member, keys: set[str]) -> bool:
    """Return whether the method can be traced with unknown numbers at these keys of the config."""
    flat = flatten(member.config)
    unknown = {key: jnp.float32(0.5) for key in keys if flat[key] != 0}

    def step(numbers: Mapping[str, Float[Array, ""]], shape: tuple[int, ...]) -> PyTree:
        method = configs.make(member.config, shape)(numbers)
        size = (method.draws, member.config["batch_size"])
        batches = Batch(jnp.zeros((*size, *shape)), jnp.zeros(size, jnp.int32))
        return method.step(method.init(run_key(0)), jnp.int32(0), batches, run_key(0))

    for shape in SHAPES if unknown else ():
        try:
            jax.eval_shape(partial(step, shape=shape), unknown)
            return True
        except BadInput:  # the networks want another shape
            continue
        except (jax.errors.ConcretizationTypeError, TypeError):
            return False
    return not unknown


def describe(members: Sequence[Member], options: Options) -> list[str]:
    """The programs that would train these members, a line each."""
    return [
        f"one program for {len(group.members)}"
        + (f", tracing {', '.join(group.keys)}" if group.keys else "")
        for group in groups(members)
    ]


def skipping(members: Sequence[Member]) -> int:
    """Return the most divergences that any of the members may skip."""
    return max((member.config.get("skip_diverged", 0) for member in members), default=0)


def check(members: Sequence[Member]) -> None:
    """Refuse to train together what would not.

    Raises:
        BadInput: no two runs have one structure; names the keys that part them. Or one may leave
            out steps, which a program of many has no way to do for one.
    """
    if steps := skipping(members):
        raise BadInput(
            f"--engine=vmap trains runs as one program, in which none can leave out a step that "
            f"others do; config.skip_diverged={steps} must be 0 there. Valid: --engine=local."
        )
    if len(members) < 2:
        return
    found = groups(members)
    if len(found) == len(members):
        numbers = set(chain.from_iterable(group.keys for group in found))
        parting = sorted({key for m in members for key in m.changes} - numbers)
        raise BadInput(
            f"--engine=vmap trains runs together that differ in seed and numbers, but "
            f"{', '.join(f'config.{key}' for key in parting)} makes each of these {len(members)} "
            "another program. Valid: --engine=local, or several --seeds."
        )


class PopulationProgram(NamedTuple):
    """The training of a group: everything that its members share, compiled once.

    runs: one for each member, in order
    step: (hypers, seeds, state, steps, rows, resident, key) -> (state, metrics, finite of each)
    """

    group: Group
    runs: tuple[Run, ...]
    step: Callable[..., Any]
    take: Callable[..., PyTree]

    def hypers(self, places: Sequence[int]) -> Hypers:
        """The traced numbers of the members at these places."""
        flat = [flatten(self.group.members[i].config) for i in places]
        return {
            key: jnp.asarray([config[key] for config in flat], jnp.float32)
            for key in self.group.keys
        }


def population_program(
    group: Group, place: Callable[[str], Path], data_dir: str | None, manual_dir: str | None
) -> PopulationProgram:
    """Load the group's data once, and make what its members share.

    Args:
        place: a member's name -> its folder.
        data_dir, manual_dir: see `sources.load`.

    Raises:
        BadInput: as for `setup.load`.
    """
    first, *others = group.members
    run = setup.load(place(first.run), first.config, data_dir, manual_dir)
    shape = run.dataset.shape
    make = configs.make(first.config, shape)
    at = setup.make_eval_fns(make, run.method, shape)
    runs = [run, *(setup.with_config(run, place(m.run), m.config) for m in others)]
    # float32 as in the population: a Python number would be rounded elsewhere.
    runs = [
        each._replace(
            eval_fns=at({key: jnp.float32(flatten(m.config)[key]) for key in group.keys}),
        )
        for each, m in zip(runs, group.members, strict=True)
    ]
    fed = setup.feed_of(run)
    setup.check_memory(run, fed)
    batches = fed.batches

    def step(hypers, seeds, state, steps, rows, resident, key):
        return _chunk(make, batches, hypers, seeds, state, steps, rows, resident, key)

    return PopulationProgram(group, tuple(runs), loop.compiled(step, donate=2), jax.jit(_take))


def _chunk(
    make: Callable[[Mapping[str, Any]], Method],
    batches: Callable[..., Any],
    hypers: Hypers,
    seeds: Integer[Array, " m"],
    *inputs: PyTree,
) -> tuple[PyTree, dict[str, Array], Array]:
    """`game.run_chunk` of a population, and whether each member's metrics and state are finite."""
    method = population(make, hypers, seeds)
    state, metrics = run_chunk(method, population_batches(batches, seeds), *inputs)
    is_finite = jax.vmap(loop.finite, in_axes=(0,))(state)
    return state, metrics, is_finite & jax.vmap(loop.finite, in_axes=1)(metrics)


def _take(state: PyTree, place: Int[Array, ""]) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[place], state)


def feed(runs: Sequence[Run]) -> pipeline.Feed:
    """The rows of all runs, side by side; what stays on the device is there once."""
    first, *others = runs
    one = setup.feed_of(first)
    each = [one.rows, *(setup.rows_of(run, one) for run in others)]

    def rows(start: int, steps: int) -> PyTree:
        found = [get(start, steps) for get in each]
        return jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *found)

    return one._replace(rows=rows)


class AllEnded(Exception):
    """No member of the population is left to train."""


class Population:
    """Members training as one program: who of them is alive, and what is written of each.

    A watchdog ends the process where something is stuck, as for a run alone.

    Args:
        program: of the group that they belong to.
        places: theirs in the group.
        ended: those of these that had ended before: they only keep their place.
        fail_fast: whether the first that fails ends all.
    """

    def __init__(
        self, program: PopulationProgram, places: Sequence[int], ended: set[int], fail_fast: bool
    ):
        self._program, self._places, self._fail_fast = program, list(places), fail_fast
        self._runs = [program.runs[i] for i in places]
        self._live = [slot for slot, i in enumerate(places) if i not in ended]
        self._records: dict[int, RunWriter] = {}
        self._bad: dict[int, Diverged] = {}
        self._watchdog = Watchdog(distributed.STUCK, _stuck, self._give_up)
        self.broken = False

    def train(self, stopped: Callable[[], int | None], say: Say) -> None:
        """Train from the newest step that all who have not ended stand at, to the end.

        Raises:
            Stopped: a signal came; checkpoints have been saved.
            BadInput, Damaged: nothing can be begun.
        """
        rows = feed(self._runs)
        with ExitStack() as held:
            for slot in self._live:
                self._records[slot] = held.enter_context(RunWriter(self._runs[slot]))
            with self._watchdog:
                self._watchdog.begin("restore")
                first, state = self._resume()
                with suppress(AllEnded):
                    self._steps(rows, first, state, stopped, say)
            for slot, bad in self._bad.items():
                self._explain(slot, bad, stopped)
            for slot in self._live:
                if self.broken:
                    self._records[slot].end(status.PREEMPTED, "another run failed")
                else:
                    self._records[slot].finish(population=len(self._runs))

    def _resume(self) -> tuple[int, PyTree]:
        saved = [set(self._records[slot].checkpoints.steps()) for slot in self._live]
        common = sorted(set.intersection(*saved), reverse=True)
        states = [run.eval_fns.init(run.key) for run in self._runs]
        for number, step in enumerate(common):
            try:
                found = {slot: self._records[slot].restore(step)[1] for slot in self._live}
            except Damaged as error:
                if number == len(common) - 1:
                    raise
                say(f"{error}; trying the one before")
                continue
            for slot, state in found.items():
                states[slot] = state
            break
        first = step if common else 0
        return first, jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)

    def _steps(
        self,
        rows: pipeline.Feed,
        first: int,
        state: PyTree,
        stopped: Callable[[], int | None],
        say: Say,
    ) -> None:
        experiment = self._runs[0].experiment
        progress = Progress(experiment.steps, first)
        for slot in self._live:
            self._records[slot].open(first, partial(_named, progress.say, self._runs[slot]))

        def tell(step: int, metrics: loop.Metrics) -> None:
            for slot in self._live:
                mine = {name: values[slot] for name, values in metrics.items()}
                self._guarded(slot, partial(self._records[slot].log_metrics, step, mine))
            self._watchdog.begin("chunk")
            progress.update(step, {k: np.median(v[self._live]) for k, v in metrics.items()})

        seeds = jnp.asarray([run.experiment.seed for run in self._runs], jnp.uint32)
        steps = partial(self._program.step, self._program.hypers(self._places), seeds)
        self._watchdog.begin("start")
        try:
            if first == 0:
                self._each(state, lambda record, mine: record.first_pictures(mine))
            loop.train(
                steps,
                rows,
                state,
                first=first,
                last=experiment.steps,
                chunk=experiment.every.log,
                key=jax.random.key(0),
                log=tell,
                hooks=self._hooks(),
                stopped=stopped,
                check=self._check,
            )
        finally:
            progress.close()

    def _hooks(self) -> list[loop.Hook]:
        """Those that each member has, each calling all who are alive."""

        def all_of(number: int, name: str) -> Callable[[int, PyTree], None]:
            def call(step: int, state: PyTree) -> None:
                with self._watchdog.within(name):
                    self._each(state, lambda record, mine: record.hooks[number].call(step, mine))

            return call

        pattern = self._records[self._live[0]].hooks
        return [hook._replace(call=all_of(i, hook.name)) for i, hook in enumerate(pattern)]

    def _each(self, state: PyTree, call: Callable[[RunWriter, PyTree], None]) -> None:
        for slot in list(self._live):
            mine = self._program.take(state, slot)
            self._guarded(slot, partial(call, self._records[slot], mine))

    def _guarded(self, slot: int, call: Callable[[], Any]) -> None:
        """Call `call`; an error of the member ends that one, an error of the disk is raised."""
        try:
            call()
        except Diverged as bad:
            self._lose(slot, bad)
        except Exception as error:
            if is_transient(error):
                raise
            self._records[slot].end(status.FAILED, f"{type(error).__name__}: {error}"[:500])
            self._lose(slot, None)

    def _check(self, start: int, step: int, is_finite: np.ndarray) -> None:
        for slot in list(self._live):
            if not is_finite[slot]:
                self._lose(slot, Diverged(start, step))

    def _lose(self, slot: int, bad: Diverged | None) -> None:
        self._live = [other for other in self._live if other != slot]
        if bad is not None:
            self._bad[slot] = bad
        self.broken = self._fail_fast
        if self.broken or not self._live:
            raise AllEnded

    def _explain(self, slot: int, bad: Diverged, stopped: Callable[[], int | None]) -> None:
        """Alone, the member may round otherwise; then there is no more to say than when it was."""
        run, record = self._runs[slot], self._records[slot]
        found, _ = trainer.search(run, setup.feed_of(run), record, bad, stopped)
        record.end(status.DIVERGED, trainer.leave(run, found) if found else str(bad))

    def _give_up(self, line: str) -> None:
        for slot in self._live:
            soon(partial(self._records[slot].mark_preempted, line))
        leave(line)


def _stuck(what: str, waited: float) -> str:
    return f"stuck: {what} has not ended for {waited:.0f} s; {AGAIN}"


def _named(say: Say, run: Run, line: str) -> None:
    say(f"{run.folder.name}: {line}")


def fitting(program: PopulationProgram, most: int, limit: float) -> int:
    """Return how many members a program may train at once, by its memory use when compiled.

    Args:
        most: the upper bound on members.
        limit: memory in bytes.
    """
    size = most
    while size > 1:
        if (needs := memory(program, size)) <= limit:
            break
        size = max(1, min(size - 1, int(size * limit / needs)))
    return size


def inputs(program: PopulationProgram, size: int, steps: int) -> tuple[PyTree, ...]:
    """Return the arguments of the first `steps` steps of a program of `size` members."""
    runs = program.runs[:size]
    states = [run.eval_fns.init(run.key) for run in runs]
    rows = feed(runs)
    return (
        program.hypers(range(size)),
        jnp.asarray([run.experiment.seed for run in runs], jnp.uint32),
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *states),
        *(np.arange(steps, dtype=np.int32), rows.rows(0, steps), rows.resident),
        jax.random.key(0),
    )


def memory(program: PopulationProgram, size: int) -> float:
    """Bytes that the compiled program of `size` members holds at once."""
    steps = program.runs[0].experiment.every.log
    found = program.step.lower(*inputs(program, size, steps)).compile().memory_analysis()  # type: ignore[attr-defined]
    if found is None:
        return 0.0
    arguments, results = found.argument_size_in_bytes, found.output_size_in_bytes
    return float(arguments + results - found.alias_size_in_bytes + found.temp_size_in_bytes)


def seconds(program: PopulationProgram, size: int, steps: int = 20) -> float:
    """Measure the seconds of one member's step in a program of `size` members; run it twice."""
    took = []
    given = list(inputs(program, size, steps))
    for _ in range(2):
        began = time.perf_counter()
        given[2], _, is_finite = program.step(*given)
        jax.block_until_ready(is_finite)
        took.append(time.perf_counter() - began)
    return took[-1] / steps / size


def train(
    sweep: Sweep, todo: Sequence[Member], options: Options, stopped: Callable[[], int | None]
) -> None:
    """Train these members of a sweep, each group with one compiled program.

    Raises:
        Stopped: a signal came; the same command continues.
        BadInput: as for `setup.load`, or a member's folder is held by another process.
    """
    known = _recorded(sweep)
    placed = {m.run for group in known for m in group.members}
    waiting = {member.run for member in todo}
    fresh = groups([m for m in todo if m.run not in placed]) if waiting - placed else []
    for number, group in enumerate([*known, *fresh]):
        if not waiting & {m.run for m in group.members}:
            continue
        program = population_program(group, sweep.place, options.data_dir, options.manual_dir)
        if not group.size:
            group = _sized(program, options)
            known.append(group)
            _keep(sweep, known)
        if signum := stopped():  # measuring may have taken minutes
            raise Stopped(signum, None)
        say(f"group {number + 1}: {_said(group)}")
        for places in group.populations():
            ended = {i for i in places if group.members[i].run not in waiting}
            if len(ended) == len(places):
                continue
            say(_whose([group.members[i].run for i in places if i not in ended]))
            population = Population(program, places, ended, options.fail_fast)
            population.train(stopped, say)
            if population.broken:
                return


def _whose(runs: Sequence[str]) -> str:
    """Whose steps the lines that follow tell of."""
    if len(runs) == 1:
        return f"the next lines are of {runs[0]}"
    return f"the next lines are medians of {len(runs)} runs: {runs[0]} to {runs[-1]}"


def _said(group: Group) -> str:
    keys = f", tracing {', '.join(group.keys)}" if group.keys else ""
    return f"{len(group.members)} runs, {group.size} at once{keys}"


def _sized(program: PopulationProgram, options: Options) -> Group:
    """The group with a size that fits into memory and, where asked, is the fastest measured.

    Args:
        options: `measure` asks; `at_once` is the most.
    """
    most = min(len(program.runs), options.at_once or len(program.runs))
    size = fitting(program, most, options.memory or available())
    if options.measure and size > 1:
        took = {n: seconds(program, n) for n in sorted({1, min(size, FEW), size}, reverse=True)}
        size = min(took, key=lambda n: took[n])
        timings = ", ".join(f"{1e3 * t:.3g} with {n} at once" for n, t in took.items())
        say(f"measured, ms of a run's step: {timings}")
    return program.group._replace(size=size)


def available() -> float:
    """Bytes that a program may use: most of an accelerator's, half of what is free on a CPU."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return 0.9 * float(stats["bytes_limit"])
    return 0.5 * machine.memory().available


def _recorded(sweep: Sweep) -> list[Group]:
    """The groups of an earlier start."""
    file = sweep.folder / POPULATIONS
    by_name = {member.run: member for member in sweep.members}
    try:
        return [
            Group(tuple(by_name[run] for run in each["runs"]), tuple(each["keys"]), each["size"])
            for each in (workdir.read_json(file) if file.exists() else [])
        ]
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{str(file)!r} cannot be read; remove it to have it made anew.") from None


def _keep(sweep: Sweep, known: Sequence[Group]) -> None:
    found = [
        {"runs": [m.run for m in group.members], "keys": group.keys, "size": group.size}
        for group in known
    ]
    workdir.write_json(sweep.folder / POPULATIONS, found)


def say(line: str) -> None:
    """To the terminal."""
    print(line, file=sys.stderr, flush=True)
