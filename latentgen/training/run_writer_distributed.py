"""A run's record, kept by the first process for all devices and processes that train the run."""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any

import jax
from jax.sharding import Mesh

from latentgen.core.types import PyTree
from latentgen.storage import workdir
from latentgen.storage.checkpoint import Checkpoints
from latentgen.system import distributed
from latentgen.system.distributed import PeerLost, on_process_zero
from latentgen.system.watchdog import Watchdog, leave, soon
from latentgen.training import loop, transfer
from latentgen.training.mesh import local, put_state
from latentgen.training.run_writer import RunWriter
from latentgen.training.setup import Run


class DistributedRunWriter:
    """A `RunWriter` of a run that all processes train; every process must call every method.

    The first process alone reads and writes the folder, but for restoring, and shows the run; a
    mistake it meets there is everyone's. Its hooks see the whole state, as on a single device.
    A watchdog ends a process that hears of no finished chunk for too long: something is stuck, in
    it or in a peer.

    Raises:
        PeerLost: at the end, in place of the error by which JAX told.
    """

    def __init__(self, run: Run, mesh: Mesh | None, stuck: float = distributed.STUCK):
        """See the class.

        Args:
            run: its method is spread over the mesh.
            mesh: of the devices that train; None for one device.
            stuck: seconds, the least that is too long.
        """
        self.run, self._mesh = run, mesh
        self.hooks: list[loop.Hook] = []
        self._writer: RunWriter | None = None
        self._watchdog = Watchdog(stuck, self._stuck, self._give_up)

    def __enter__(self) -> "DistributedRunWriter":
        self._writer = on_process_zero(lambda: RunWriter(self.run).__enter__())
        if distributed.is_multi_process():
            distributed.exit_75_instead_of_abort(
                lambda: self._continues("JAX has lost a peer or the coordinator")
            )
        self._watchdog.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        gone = (
            error is not None and distributed.is_multi_process() and distributed.is_peer_lost(error)
        )
        if gone:
            said = f"a collective failed ({distributed.reason(error)})"  # type: ignore[arg-type]
            error = PeerLost(self._continues(said))
        with contextlib.ExitStack() as stack:
            stack.push(self._watchdog)
            if self._writer is not None:
                self._writer.__exit__(type(error) if error else None, error, trace)
        if gone:
            assert error is not None
            raise error

    def _stuck(self, what: str, waited: float) -> str:
        if distributed.is_multi_process():
            return self._continues(f"no step for {waited:.0f} s ({what})")
        return f"stuck: {what} has not ended for {waited:.0f} s; {self._from()}"

    def _give_up(self, line: str) -> None:
        if self._writer is not None:
            soon(partial(self._writer.mark_preempted, line))
        leave(line)

    def _continues(self, what: str) -> str:
        return (
            f"process {jax.process_index()} of {jax.process_count()}: {what}; a peer may have "
            f"died; {self._from()}"
        )

    def _from(self) -> str:
        steps = [
            int(entry.name)
            for entry in (self.run.folder / workdir.CHECKPOINTS).glob("*")
            if entry.name.isdecimal()
        ]
        return f"the same command continues from step {max(steps, default=0)}."

    @property
    def _kept(self) -> RunWriter:
        """The record, in the first process."""
        assert self._writer is not None
        return self._writer

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken over all attempts; 0 where another process counts them."""
        return 0.0 if self._writer is None else self._writer.seconds

    def resume(self) -> tuple[int, PyTree]:
        """(updates done, state): the newest checkpoint's, or those of a new run.

        Raises:
            Damaged: the newest checkpoint is not what was saved.
        """
        self.begin("restore")
        if self._mesh is None:
            return self._kept.resume()
        found = on_process_zero(lambda: self._kept.resume())
        newest = distributed.broadcast_from_zero(None if found is None else found[0])
        if newest == 0:
            return 0, transfer.begun(self.run, jax.jit(self.run.method.init)(self.run.key))
        state = distributed.on_all_processes(lambda: found[1] if found else self._read(newest))
        return newest, put_state(state, self._mesh)

    def _read(self, step: int) -> PyTree:
        """Each process reads the folder that all share."""
        like = jax.eval_shape(self.run.method.init, self.run.key)
        with Checkpoints(self.run.folder / workdir.CHECKPOINTS, read_only=True) as checkpoints:
            return checkpoints.restore(step, like)[1]

    def open(self, first: int, say: Callable[[str], None]) -> None:
        """See `Record.open`."""
        on_process_zero(lambda: self._kept.open(first, say))
        own = self._writer.hooks if self._writer is not None else []
        plan = [(hook.every, hook.on_signal, hook.name) for hook in own]
        self.hooks = [
            loop.Hook(every, self._hook(i, name), on_signal, name)
            for i, (every, on_signal, name) in enumerate(distributed.broadcast_from_zero(plan))
        ]
        self.begin("start")

    def _hook(self, i: int, name: str) -> Callable[[int, PyTree], None]:
        def call(step: int, state: PyTree) -> None:
            with self._watchdog.within(name):
                whole = state if self._mesh is None else local(state)
                on_process_zero(lambda: self._kept.hooks[i].call(step, whole))

        return call

    def begin(self, what: str) -> None:
        """From here on it is `what` that takes time; see `Watchdog`."""
        self._watchdog.begin(what)

    def look(self, state: PyTree) -> None:
        """Pictures of a run that has not begun."""
        whole = local(state)
        on_process_zero(lambda: self._kept.look(whole))

    def tell(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Log what training says of a chunk that ends at `step`."""
        if self._writer is not None:
            self._writer.tell(step, metrics)
        self.begin("chunk")

    def finish(self, **more: Any) -> None:
        """See `Record.finish`."""
        self.begin("finish")
        on_process_zero(lambda: self._kept.finish(**more))
