"""Engine that trains members that differ in seed and numbers as one program on one device.

Members of the same structure form a group. A group is split into populations that fit into memory.
A population never changes: it is resumed with all of its members, so that each computes bitwise the
same as in an uninterrupted run. A member that has ended stays in the program, but writes nothing.
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
from latentgen.evaluation import in_training
from latentgen.storage import status, workdir
from latentgen.storage.checkpoint import Damaged
from latentgen.storage.log import Progress
from latentgen.storage.workdir import flatten
from latentgen.sweeps.folder import POPULATIONS, Sweep
from latentgen.sweeps.options import Options
from latentgen.sweeps.plan import Member
from latentgen.system import distributed, machine
from latentgen.system.memory import program_bytes
from latentgen.system.signals import RESUME_HINT
from latentgen.system.watchdog import Watchdog, call_with_timeout, exit_immediately
from latentgen.training import loop, memory_check, setup, trainer
from latentgen.training.run_writer import RunWriter
from latentgen.training.setup import Run

SHAPES = ((2,), (8, 8, 1), (28, 28, 1), (32, 32, 1), (32, 32, 3))
"""Shapes of examples with which tracing is tried before the data are loaded."""

FEW = 8
"""A number of members whose weights may fit into the caches of a CPU."""

Hypers = Mapping[str, Float[Array, " m"]]
Say = Callable[[str], None]


class Group(NamedTuple):
    """Members of one structure.

    keys: keys of the numbers in which they differ, which are traced
    size: how many train at once; 0: not yet decided
    """

    members: tuple[Member, ...]
    keys: tuple[str, ...]
    size: int = 0

    def populations(self) -> list[range]:
        """Return the indices of the members of each population: few, of equal size."""
        parts = -(-len(self.members) // self.size)
        ends = [round(len(self.members) * i / parts) for i in range(parts + 1)]
        return [range(first, last) for first, last in pairwise(ends)]


def groups(members: Sequence[Member]) -> list[Group]:
    """Group members by structure, in order: the config without its seed and traced numbers.

    Floats are traced unless they are 0, which often means "none" in a config, or the method cannot
    be made with a traced number.
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
    """Return the keys that are floats in some members, and not the same in all."""
    flat = [flatten(member.config) for member in members]
    keys = {key for config in flat for key, value in config.items() if isinstance(value, float)}
    return {key for key in keys if len({str(config.get(key)) for config in flat}) > 1}


def _structure(member: Member, traced: set[str]) -> str:
    flat = flatten(member.config) | {"seed": 0}
    shapes = {key: flat[key] != 0 for key in traced if isinstance(flat.get(key), float)}
    return json.dumps(flat | shapes, sort_keys=True)


def _traceable(member: Member, keys: set[str]) -> bool:
    """Return whether the method can be traced with respect to these keys of the config."""
    flat = flatten(member.config)
    floats = {key for key in keys if isinstance(flat.get(key), float)}
    unknown = {key: jnp.float32(0.5) for key in floats if flat[key] != 0}

    def step(numbers: Mapping[str, Float[Array, ""]], shape: tuple[int, ...]) -> PyTree:
        method = configs.make(member.config, shape)(numbers)
        size = (method.draws, member.config["batch_size"])
        batches = Batch(jnp.zeros((*size, *shape)), jnp.zeros(size, jnp.int32))
        return method.step(method.init(run_key(0)), jnp.int32(0), batches, run_key(0))

    for shape in SHAPES if unknown else ():
        try:
            jax.eval_shape(partial(step, shape=shape), unknown)
            return True
        except BadInput:  # the networks need another shape
            continue
        except (jax.errors.ConcretizationTypeError, TypeError):
            return False
    return not unknown


def describe(members: Sequence[Member], options: Options) -> list[str]:
    """Describe the programs that would train these members, a line each."""
    return [
        f"one program for {len(group.members)}"
        + (f", tracing {', '.join(group.keys)}" if group.keys else "")
        for group in groups(members)
    ]


def skipping(members: Sequence[Member]) -> int:
    """Return the maximum number of divergences that any of the members may skip."""
    return max((member.config.get("skip_diverged", 0) for member in members), default=0)


def is_shared(found: Sequence[Group]) -> bool:
    """Return whether a program trains several runs, or there is only one run."""
    return len(found) < 2 or any(len(group.members) > 1 for group in found)


def check(members: Sequence[Member]) -> None:
    """Check that the members can be trained together.

    Raises:
        BadInput: no two members have the same structure, or one of them may skip divergences,
            which is not possible for one member of a program.
    """
    if steps := skipping(members):
        raise BadInput(
            f"--engine=vmap trains runs as one program, in which none can leave out a step that "
            f"others do; config.skip_diverged={steps} must be 0 there. Valid: --engine=local."
        )
    found = groups(members) if members else []
    if not is_shared(found):
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
    step: (hypers, seeds, state, steps, rows, resident, key) -> (state, metrics, is_finite)
    take: (state, index) -> the state of one member
    """

    group: Group
    runs: tuple[Run, ...]
    step: Callable[..., Any]
    take: Callable[..., PyTree]

    def hypers(self, indices: Sequence[int]) -> Hypers:
        """Return the traced numbers of the members at these indices."""
        flat = [flatten(self.group.members[i].config) for i in indices]
        return {
            key: jnp.asarray([config[key] for config in flat], jnp.float32)
            for key in self.group.keys
        }


def population_program(
    group: Group, folder_of: Callable[[str], Path], data_dir: str | None, manual_dir: str | None
) -> PopulationProgram:
    """Load the group's data once, and make the program of its members.

    Args:
        folder_of: member's name -> its folder.
        data_dir, manual_dir: see `sources.load`.

    Raises:
        BadInput: as for `setup.load`.
    """
    first, *others = group.members
    run = setup.load(folder_of(first.run), first.config, data_dir, manual_dir)
    shape = run.dataset.shape
    make = configs.make(first.config, shape)
    make_eval_fns = setup.make_eval_fns(make, run.method, shape)
    runs = [run, *(setup.with_config(run, folder_of(m.run), m.config) for m in others)]
    # float32 as in the population, so that numbers are rounded in the same way.
    runs = [
        each._replace(
            eval_fns=make_eval_fns(
                {key: jnp.float32(flatten(m.config)[key]) for key in group.keys}
            ),
        )
        for each, m in zip(runs, group.members, strict=True)
    ]
    memory: dict[Any, Any] = {}
    runs = [in_training.attached(each, memory=memory) for each in runs]
    fed = setup.feed_of(run)
    shapes, chunk = memory_check.arguments(run, fed), loop.program(run.method, fed, donate=True)
    memory_check.check_traced(run, shapes, chunk.trace(*shapes))  # type: ignore[attr-defined]
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
    """Run a chunk of a population; return whether each member's state and metrics are finite."""
    method = population(make, hypers, seeds)
    state, metrics = run_chunk(method, population_batches(batches, seeds), *inputs)
    is_finite = jax.vmap(loop.finite, in_axes=(0,))(state)
    return state, metrics, is_finite & jax.vmap(loop.finite, in_axes=1)(metrics)


def _take(state: PyTree, index: Int[Array, ""]) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], state)


def feed(runs: Sequence[Run]) -> pipeline.Feed:
    """Stack the rows of all runs; data that stay on the device are shared."""
    first, *others = runs
    one = setup.feed_of(first)
    each = [one.rows, *(setup.rows_of(run, one) for run in others)]

    def rows(start: int, steps: int) -> PyTree:
        found = [get(start, steps) for get in each]
        return jax.tree.map(lambda *leaves: np.stack(leaves, axis=1), *found)

    return one._replace(rows=rows)


class AllEnded(Exception):
    """Raised when no member of the population is left to train."""


class Population:
    """Members that train as one program, with a writer for each.

    A watchdog ends the process if it is stuck, as for a single run.

    Args:
        program: the program of their group.
        indices: indices of the members in the group.
        ended: those of `indices` that have ended before; they stay in the program.
        fail_fast: whether the first member that fails ends all.
    """

    def __init__(
        self, program: PopulationProgram, indices: Sequence[int], ended: set[int], fail_fast: bool
    ):
        self._program, self._indices, self._fail_fast = program, list(indices), fail_fast
        self._runs = [program.runs[i] for i in indices]
        self._active = [slot for slot, i in enumerate(indices) if i not in ended]
        self._writers: dict[int, RunWriter] = {}
        self._diverged: dict[int, Diverged] = {}
        self._watchdog = Watchdog(distributed.STUCK, _stuck, self._preempt)
        self.broken = False

    def train(self, stopped: Callable[[], int | None], say: Say) -> None:
        """Train from the newest step of which all active members have a checkpoint, to the end.

        Raises:
            Stopped: after a signal; checkpoints have been saved.
            BadInput, Damaged: training cannot start.
        """
        rows = feed(self._runs)
        with ExitStack() as stack:
            for slot in self._active:
                self._writers[slot] = stack.enter_context(RunWriter(self._runs[slot]))
            with self._watchdog:
                self._watchdog.begin("restore")
                first, state = self._resume()
                with suppress(AllEnded):
                    self._steps(rows, first, state, stopped, say)
            for slot, bad in self._diverged.items():
                self._record_divergence(slot, bad, stopped)
            for slot in self._active:
                if self.broken:
                    self._writers[slot].end(status.PREEMPTED, "another run failed")
                else:
                    self._writers[slot].finish(population=len(self._runs))

    def _resume(self) -> tuple[int, PyTree]:
        saved = [set(self._writers[slot].checkpoints.steps()) for slot in self._active]
        common = sorted(set.intersection(*saved), reverse=True)
        states = [run.eval_fns.init(run.key) for run in self._runs]
        for number, step in enumerate(common):
            try:
                found = {slot: self._writers[slot].restore(step)[1] for slot in self._active}
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
        for slot in self._active:
            self._writers[slot].open(first, partial(_say_for, progress.say, self._runs[slot]))

        def log_metrics(step: int, metrics: loop.Metrics) -> None:
            for slot in self._active:
                member_metrics = {name: values[slot] for name, values in metrics.items()}
                self._call_for(slot, partial(self._writers[slot].log_metrics, step, member_metrics))
            self._watchdog.begin("chunk")
            progress.update(step, {k: np.median(v[self._active]) for k, v in metrics.items()})

        seeds = jnp.asarray([run.experiment.seed for run in self._runs], jnp.uint32)
        steps = partial(self._program.step, self._program.hypers(self._indices), seeds)
        self._watchdog.begin("start")
        try:
            if first == 0:
                self._call_each(state, lambda writer, state: writer.first_pictures(state))
            loop.train(
                steps,
                rows,
                state,
                first=first,
                last=experiment.steps,
                chunk=experiment.every.log,
                key=jax.random.key(0),
                log=log_metrics,
                hooks=self._hooks(),
                stopped=stopped,
                check=self._check,
            )
        finally:
            progress.close()

    def _hooks(self) -> list[loop.Hook]:
        """Make hooks, each of which calls that hook of all active members."""

        def all_of(number: int, name: str) -> Callable[[int, PyTree], None]:
            def call(step: int, state: PyTree) -> None:
                with self._watchdog.within(name):
                    self._call_each(
                        state,
                        lambda writer, member: writer.hooks[number].call(step, member),
                    )
                    self._end_early(number, step, state)

            return call

        hooks = self._writers[self._active[0]].hooks
        return [hook._replace(call=all_of(i, hook.name)) for i, hook in enumerate(hooks)]

    def _end_early(self, number: int, step: int, state: PyTree) -> None:
        """End the members that no longer improve, after the hooks that follow hook `number`."""
        for slot in list(self._active):
            writer = self._writers[slot]
            if writer.ended_early:
                member = self._program.take(state, slot)
                for hook in writer.hooks[number + 1 :]:
                    self._call_for(slot, partial(hook.call, step, member))
                if slot in self._active:
                    writer.finish(population=len(self._runs))
                    self._active.remove(slot)
        if not self._active:
            raise AllEnded

    def _call_each(self, state: PyTree, call: Callable[[RunWriter, PyTree], None]) -> None:
        for slot in list(self._active):
            member_state = self._program.take(state, slot)
            self._call_for(slot, partial(call, self._writers[slot], member_state))

    def _call_for(self, slot: int, call: Callable[[], Any]) -> None:
        """Call `call` for a member; its errors end the member, errors of the disk are raised."""
        try:
            call()
        except Diverged as bad:
            self._remove(slot, bad)
        except Exception as error:
            if is_transient(error):
                raise
            self._writers[slot].end(status.FAILED, f"{type(error).__name__}: {error}"[:500])
            self._remove(slot, None)

    def _check(self, start: int, step: int, is_finite: np.ndarray) -> None:
        for slot in list(self._active):
            if not is_finite[slot]:
                self._remove(slot, Diverged(start, step))

    def _remove(self, slot: int, bad: Diverged | None) -> None:
        self._active = [other for other in self._active if other != slot]
        if bad is not None:
            self._diverged[slot] = bad
        self.broken = self._fail_fast
        if self.broken or not self._active:
            raise AllEnded

    def _record_divergence(
        self, slot: int, bad: Diverged, stopped: Callable[[], int | None]
    ) -> None:
        """Search for the tensor that diverged; alone, the member may round differently."""
        run, writer = self._runs[slot], self._writers[slot]
        found, _ = trainer.search(run, setup.feed_of(run), writer, bad, stopped)
        writer.end(status.DIVERGED, trainer.leave(run, found) if found else str(bad))

    def _preempt(self, line: str) -> None:
        for slot in self._active:
            call_with_timeout(partial(self._writers[slot].mark_preempted, line))
        exit_immediately(line)


def _stuck(action: str, elapsed: float) -> str:
    return f"stuck: {action} has not ended for {elapsed:.0f} s; {RESUME_HINT}"


def _say_for(say: Say, run: Run, line: str) -> None:
    say(f"{run.folder.name}: {line}")


def fitting(program: PopulationProgram, most: int, limit: int | float) -> int:
    """Return how many members a program can train at once, by the memory of the compiled program.

    Args:
        most: maximum number of members.
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


def memory(program: PopulationProgram, size: int) -> int:
    """Return the bytes that the compiled program of `size` members needs."""
    steps = program.runs[0].experiment.every.log
    lowered = program.step.lower(*inputs(program, size, steps))  # type: ignore[attr-defined]
    return program_bytes(lowered.compile())


def seconds(program: PopulationProgram, size: int, steps: int = 20) -> float:
    """Measure the seconds of one member's step in a program of `size` members."""
    times = []
    arguments = list(inputs(program, size, steps))
    for _ in range(2):
        began = time.perf_counter()
        arguments[2], _, is_finite = program.step(*arguments)
        jax.block_until_ready(is_finite)
        times.append(time.perf_counter() - began)
    return times[-1] / steps / size


def train(
    sweep: Sweep, todo: Sequence[Member], options: Options, stopped: Callable[[], int | None]
) -> None:
    """Train these members of a sweep, each group with one compiled program.

    Raises:
        Stopped: after a signal; the same command continues.
        BadInput: as for `setup.load`, or another process holds a member's folder.
    """
    known = _read_groups(sweep)
    grouped = {m.run for group in known for m in group.members}
    waiting = {member.run for member in todo}
    new_groups = groups([m for m in todo if m.run not in grouped]) if waiting - grouped else []
    for number, group in enumerate([*known, *new_groups]):
        if not waiting & {m.run for m in group.members}:
            continue
        program = population_program(group, sweep.run_folder, options.data_dir, options.manual_dir)
        if not group.size:
            group = _with_size(program, options)
            known.append(group)
            _write_groups(sweep, known)
        if signum := stopped():  # measuring may have taken minutes
            raise Stopped(signum, None)
        say(f"group {number + 1}: {_describe_group(group)}")
        for indices in group.populations():
            ended = {i for i in indices if group.members[i].run not in waiting}
            if len(ended) == len(indices):
                continue
            say(_progress_header([group.members[i].run for i in indices if i not in ended]))
            population = Population(program, indices, ended, options.fail_fast)
            population.train(stopped, say)
            if population.broken:
                return


def _progress_header(runs: Sequence[str]) -> str:
    """Describe the runs of which progress lines follow."""
    if len(runs) == 1:
        return f"the next lines are of {runs[0]}"
    return f"the next lines are medians of {len(runs)} runs: {runs[0]} to {runs[-1]}"


def _describe_group(group: Group) -> str:
    keys = f", tracing {', '.join(group.keys)}" if group.keys else ""
    return f"{len(group.members)} runs, {group.size} at once{keys}"


def _with_size(program: PopulationProgram, options: Options) -> Group:
    """Return the group with the size of its populations.

    The size fits into memory; with `options.measure`, it is the fastest of several sizes.

    Args:
        options: `at_once` is the maximum size.
    """
    most = min(len(program.runs), options.at_once or len(program.runs))
    size = fitting(program, most, options.memory or available())
    if options.measure and size > 1:
        times = {n: seconds(program, n) for n in sorted({1, min(size, FEW), size}, reverse=True)}
        size = min(times, key=lambda n: times[n])
        timings = ", ".join(f"{1e3 * t:.3g} with {n} at once" for n, t in times.items())
        say(f"measured, ms of a run's step: {timings}")
    return program.group._replace(size=size)


def available() -> float:
    """Return the bytes a program may use: 90% of an accelerator's memory, half of a CPU's free."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return 0.9 * float(stats["bytes_limit"])
    return 0.5 * machine.memory().available


def _read_groups(sweep: Sweep) -> list[Group]:
    """Read the groups of an earlier launch."""
    file = sweep.folder / POPULATIONS
    by_name = {member.run: member for member in sweep.members}
    try:
        return [
            Group(tuple(by_name[run] for run in each["runs"]), tuple(each["keys"]), each["size"])
            for each in (workdir.read_json(file) if file.exists() else [])
        ]
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{str(file)!r} cannot be read; remove it to have it made anew.") from None


def _write_groups(sweep: Sweep, known: Sequence[Group]) -> None:
    found = [
        {"runs": [m.run for m in group.members], "keys": group.keys, "size": group.size}
        for group in known
    ]
    workdir.write_json(sweep.folder / POPULATIONS, found)


def say(line: str) -> None:
    """Print a line to stderr."""
    print(line, file=sys.stderr, flush=True)
