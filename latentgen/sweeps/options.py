"""Options of the engines: folders of the data, number of runs at once, when to stop."""

from typing import Any, NamedTuple


class Options(NamedTuple):
    """Options for training the members of a sweep; not part of their identity.

    data_dir, manual_dir: see `sources.load`
    fail_fast: whether the first run that fails ends the sweep
    measure: whether to measure the fastest size of a population, which may be 1
    at_once: maximum number of runs in a program; None: as many as fit into memory
    memory: bytes that a program may use; None: the free memory
    jobs: number of processes at once; None: one for each device
    retries: how often a failed process is started again
    job: the Slurm options of a run; see `slurm.Options`
    """

    data_dir: str | None = None
    manual_dir: str | None = None
    fail_fast: bool = False
    measure: bool = False
    at_once: int | None = None
    memory: float | None = None
    jobs: int | None = None
    retries: int = 0
    job: Any = None
