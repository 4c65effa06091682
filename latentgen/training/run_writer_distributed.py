"""Writer of a run's folder for a run on several devices or processes."""

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
from latentgen.system.watchdog import Watchdog, call_with_timeout, exit_immediately
from latentgen.training import loop, transfer
from latentgen.training.mesh import local, put_state
from latentgen.training.run_writer import RunWriter
from latentgen.training.setup import Run


class DistributedRunWriter:
    """`RunWriter` of a run that several processes train; all must call every method.

    Only process 0 writes the folder; all read checkpoints. An error of process 0 is raised in all
    processes. Hooks get the whole state, as on a single device. A watchdog ends a process in which
    no chunk has finished for too long: it or a peer is stuck.

    Raises:
        PeerLost: on exit, in place of JAX's error about a lost peer.
    """

    def __init__(self, run: Run, mesh: Mesh | None, stuck: float = distributed.STUCK):
        """Make the writer; the folder is not touched before the context is entered.

        Args:
            run: its method is that of `shard_method`.
            mesh: of the devices that train; None for one device.
            stuck: lower bound of the watchdog's time limits, in seconds.
        """
        self.run, self._mesh = run, mesh
        self.hooks: list[loop.Hook] = []
        self._writer: RunWriter | None = None
        self._watchdog = Watchdog(stuck, self._stuck_message, self._give_up)

    def __enter__(self) -> "DistributedRunWriter":
        self._writer = on_process_zero(lambda: RunWriter(self.run).__enter__())
        if distributed.is_multi_process():
            distributed.exit_75_instead_of_abort(
                lambda: self._peer_lost_message("JAX has lost a peer or the coordinator")
            )
        self._watchdog.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        peer_lost = (
            error is not None and distributed.is_multi_process() and distributed.is_peer_lost(error)
        )
        if peer_lost:
            cause = f"a collective failed ({distributed.reason(error)})"  # type: ignore[arg-type]
            error = PeerLost(self._peer_lost_message(cause))
        with contextlib.ExitStack() as stack:
            stack.push(self._watchdog)
            if self._writer is not None:
                self._writer.__exit__(type(error) if error else None, error, trace)
        if peer_lost:
            assert error is not None
            raise error

    def _stuck_message(self, action: str, elapsed: float) -> str:
        if distributed.is_multi_process():
            return self._peer_lost_message(f"no step for {elapsed:.0f} s ({action})")
        return f"stuck: {action} has not ended for {elapsed:.0f} s; {self._where_it_continues()}"

    def _give_up(self, line: str) -> None:
        if self._writer is not None:
            call_with_timeout(partial(self._writer.mark_preempted, line))
        exit_immediately(line)

    def _peer_lost_message(self, cause: str) -> str:
        return (
            f"process {jax.process_index()} of {jax.process_count()}: {cause}; a peer may have "
            f"died; {self._where_it_continues()}"
        )

    def _where_it_continues(self) -> str:
        steps = [
            int(entry.name)
            for entry in (self.run.folder / workdir.CHECKPOINTS).glob("*")
            if entry.name.isdecimal()
        ]
        return f"the same command continues from step {max(steps, default=0)}."

    @property
    def _process_zero_writer(self) -> RunWriter:
        """The writer; exists in process 0 only."""
        assert self._writer is not None
        return self._writer

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken in all attempts; 0 in processes other than 0."""
        return 0.0 if self._writer is None else self._writer.seconds

    def resume(self) -> tuple[int, PyTree]:
        """Restore the newest undamaged checkpoint, or initialize a new run.

        Returns:
            Updates done, and the state on the mesh.

        Raises:
            Damaged: there are checkpoints, and all are damaged.
        """
        self.begin("restore")
        if self._mesh is None:
            return self._process_zero_writer.resume()
        resumed = on_process_zero(lambda: self._process_zero_writer.resume())
        step = distributed.broadcast_from_zero(None if resumed is None else resumed[0])
        if step == 0:
            return 0, transfer.begun(self.run, jax.jit(self.run.method.init)(self.run.key))
        state = distributed.on_all_processes(lambda: resumed[1] if resumed else self._read(step))
        return step, put_state(state, self._mesh)

    def _read(self, step: int) -> PyTree:
        """Restore the checkpoint of `step` from the shared folder."""
        like = self.run.state
        with Checkpoints(self.run.folder / workdir.CHECKPOINTS, read_only=True) as checkpoints:
            return checkpoints.restore(step, like)[1]

    def open(self, first: int, say: Callable[[str], None]) -> None:
        """See `RunWriter.open`."""
        on_process_zero(lambda: self._process_zero_writer.open(first, say))
        hooks = self._writer.hooks if self._writer is not None else []
        schedule = [(hook.every, hook.on_signal, hook.name) for hook in hooks]
        self.hooks = [
            loop.Hook(every, self._hook_call(i, name), on_signal, name)
            for i, (every, on_signal, name) in enumerate(distributed.broadcast_from_zero(schedule))
        ]
        self.begin("start")

    def _hook_call(self, i: int, name: str) -> Callable[[int, PyTree], None]:
        def call(step: int, state: PyTree) -> None:
            with self._watchdog.within(name):
                full_state = state if self._mesh is None else local(state)
                on_process_zero(lambda: self._process_zero_writer.hooks[i].call(step, full_state))

        return call

    @property
    def ended_early(self) -> str | None:
        """See `RunWriter.ended_early`; all processes must ask."""
        if not self.run.experiment.evaluate.patience:
            return None
        reason = None if self._writer is None else self._writer.ended_early
        return distributed.broadcast_from_zero(reason)

    def begin(self, action: str) -> None:
        """See `Watchdog.begin`."""
        self._watchdog.begin(action)

    def first_pictures(self, state: PyTree) -> None:
        """See `RunWriter.first_pictures`."""
        full_state = local(state)
        on_process_zero(lambda: self._process_zero_writer.first_pictures(full_state))

    def log_metrics(self, step: int, metrics: Mapping[str, Any]) -> None:
        """See `RunWriter.log_metrics`."""
        if self._writer is not None:
            self._writer.log_metrics(step, metrics)
        self.begin("chunk")

    def finish(self, **more: Any) -> None:
        """See `RunWriter.finish`."""
        self.begin("finish")
        on_process_zero(lambda: self._process_zero_writer.finish(**more))
