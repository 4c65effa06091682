"""The engines that train a sweep's runs, by name."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from latentgen.sweeps.engines import local, slurm, vmap
from latentgen.sweeps.folder import Sweep
from latentgen.sweeps.options import Options
from latentgen.sweeps.plan import Member

AUTO = "auto"
Stopped = Callable[[], int | None]


class Engine(NamedTuple):
    """A way to train runs.

    check: (members, options, dry_run) -> None; raises BadInput if it cannot train the members
    train: (sweep, members, options, stopped) -> None; raises Stopped after a signal
    describe: (members, options) -> lines that describe how it would train the members
    waits: whether all runs have ended when `train` returns
    """

    check: Callable[[Sequence[Member], Options, bool], None]
    train: Callable[[Sweep, Sequence[Member], Options, Stopped], None]
    describe: Callable[[Sequence[Member], Options], list[str]]
    waits: bool = True


ENGINES: dict[str, Engine] = {
    "vmap": Engine(lambda members, *_: vmap.check(members), vmap.train, vmap.describe),
    "local": Engine(lambda *_: None, local.train, local.describe),
    "slurm": Engine(
        lambda _, options, dry_run: slurm.check(options.job, dry_run),
        lambda sweep, todo, options, _: slurm.train(sweep, todo, options),
        lambda *_: [],
        waits=False,
    ),
}


def settled(engine: str, options: Options, members: Sequence[Member]) -> tuple[str, Options]:
    """Choose the engine if it is 'auto'; return the engine and its options.

    'auto' is 'local' if there are several devices, if `options.jobs` is set, if a run may skip
    divergences, which 'vmap' does not support, or if no two runs can be one program. Else it is
    'vmap' with populations of the size that is measured to be the fastest.
    """
    if engine != AUTO:
        return engine, options
    if options.jobs or local.devices().number > 1 or vmap.skipping(members):
        return "local", options
    if members and not vmap.is_shared(vmap.groups(members)):
        return "local", options
    return "vmap", options._replace(measure=True)
