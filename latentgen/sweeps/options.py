"""What an engine is told besides the runs: where data are, how many at once, when to stop."""

from typing import Any, NamedTuple


class Options(NamedTuple):
    """The options of training members; no part of their identity.

    data_dir, manual_dir: see `sources.load`
    fail_fast: the first run that fails ends the sweep
    measure: populations are of the size that was measured to be the fastest, which may be 1
    at_once: the most runs in a program; None: as many as fit into memory
    memory: bytes that a program may use; None: what is found to be free
    jobs: processes at once; None: one a device
    retries: how often a process that failed is started again
    job: the Slurm options of a run, see `slurm.Options`
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
