"""What the engine 'auto' means here: decided once, for every command that has it."""

from collections.abc import Sequence

from latentgen.sweeps.engines import local, vmap
from latentgen.sweeps.options import Options
from latentgen.sweeps.plan import Member

AUTO = "auto"


def settled(engine: str, options: Options, members: Sequence[Member]) -> tuple[str, Options]:
    """The engine that trains, and what it is told.

    'auto' is 'local' where there are several devices, or where a number of processes is asked
    for, or a run may leave out steps, which it cannot as one of many; else 'vmap' with populations
    of the size that was measured to be the fastest. Any other engine is what it says.
    """
    if engine != AUTO:
        return engine, options
    if options.jobs or local.devices().number > 1 or vmap.skipping(members):
        return "local", options
    return "vmap", options._replace(measure=True)
