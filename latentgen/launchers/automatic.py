"""What the engine 'auto' means here: decided once, for every command that has it."""

from latentgen.launchers import local
from latentgen.launchers.options import Options

AUTO = "auto"


def settled(engine: str, options: Options) -> tuple[str, Options]:
    """The engine that trains, and what it is told.

    'auto' is 'local' where there are several devices, or where a number of processes is asked
    for; else 'vmap' with populations of the size that was measured to be the fastest. Any other
    engine is what it says.
    """
    if engine != AUTO:
        return engine, options
    if options.jobs or local.devices().number > 1:
        return "local", options
    return "vmap", options._replace(measure=True)
