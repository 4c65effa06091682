"""A signal ends a command at any point: one line, 128 + n, nothing half-written.

The busy process waits for the signal or sends it to itself: no test depends on timing.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import ROOT
from ml_collections import ConfigDict
from small import config, one_program, same

from latentgen.core.errors import Stopped
from latentgen.storage import status, workdir
from latentgen.storage.checkpoint import Checkpoints
from latentgen.sweeps.plan import changed
from latentgen.system import signals, watchdog
from latentgen.training import hooks, loop, run_writer, setup, trainer

DRIVER = """if True:
    import hashlib, runpy, sys
    from latentgen.system import signals
    signals.GRACE_SECONDS = 1.0

    def in_c(*_, **__):  # as XLA's compiler: for minutes no handler of Python's can run
        print("ready", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2**30)

    def asleep(*_, **__):
        import time
        print("ready", flush=True)
        time.sleep(600)

    {patch}
    runpy.run_module("latentgen.{command}", run_name="__main__", alter_sys=True)
"""


def start(code: list[str], **env: str) -> subprocess.Popen:
    """Start Python; return when it has printed 'ready'."""
    process = subprocess.Popen(
        [sys.executable, *code],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "ready\n":
            return process
    raise AssertionError(process.communicate()[1])


def driven(command: str, patch: str, *flags: str) -> subprocess.Popen:
    return start(["-c", DRIVER.format(command=command, patch=patch), *flags])


def stderr(process: subprocess.Popen, within: float) -> str:
    """The error output of a process that ends by itself."""
    try:
        return process.communicate(timeout=within)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def ended(process: subprocess.Popen, within: float) -> tuple[int, str]:
    """(exit code, last line of error output) of a process that ends by itself."""
    err = stderr(process, within)
    assert "Traceback" not in err
    assert err.count("the same command continues.") == 1
    return process.returncode, err.splitlines()[-1]


@pytest.mark.parametrize("signum", signals.HANDLED_SIGNALS)
def test_while_it_imports(signum: signal.Signals, tmp_path: Path) -> None:
    """Imports take seconds on a cold disk."""
    (tmp_path / "jax.py").write_text("import time; print('ready', flush=True); time.sleep(600)")
    process = start(["-m", "latentgen.sample"], PYTHONPATH=str(tmp_path))
    process.send_signal(signum)
    code, said = ended(process, 10)
    assert (code, said) == (128 + signum, f"stopped by {signum.name}; {signals.RESUME_HINT}")


def tiny(**changes: object) -> ConfigDict:
    return config(**{"steps": 20, "every.validate": 10, "every.sample": 10, **changes})


def load(folder: Path, plain: ConfigDict) -> setup.Run:
    return setup.load(folder, changed(plain, {}), None, None)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    trainer.train(load(folder, tiny()))
    return folder


@pytest.mark.parametrize("busy", ["in_c", "asleep"])
@pytest.mark.quick(1)
def test_while_it_evaluates(trained: Path, busy: str) -> None:
    """If C code does not return, a thread ends the process after GRACE_SECONDS."""
    take = f"M['terms'] = M['terms']._replace(take={busy})"
    patch = f"from latentgen.evaluation.measures import MEASURES as M; {take}"
    process = driven("evaluate", patch, f"--workdir={trained}")
    process.send_signal(signal.SIGTERM)
    code, said = ended(process, 20)
    assert (code, said) == (143, f"stopped by SIGTERM; {signals.RESUME_HINT}")
    assert not list(trained.rglob("*.tmp"))
    assert not (trained / "evaluations.jsonl").exists()


def test_while_it_samples(trained: Path, tmp_path: Path) -> None:
    patch = "from latentgen.storage import workdir; workdir.write_bytes = asleep"
    process = driven("sample", patch, f"--workdir={trained}", f"--out={tmp_path}/out.png")
    process.send_signal(signal.SIGINT)
    code, said = ended(process, 10)
    assert (code, said) == (130, f"stopped by SIGINT; {signals.RESUME_HINT}")
    assert not list(tmp_path.iterdir())


SLOW = """from latentgen.training import loop, memory_check
    memory_check.arguments = lambda *_: ()
    memory_check.check_traced = memory_check.check_program = lambda *_: None
    quick = [{quick}]
    def chunk(state, *_):
        return (state, dict(), True) if quick.pop() else in_c()
    chunk.trace = lambda *_: None
    loop.program = lambda *_, **__: chunk"""


def slow(place: Path, quick: str) -> subprocess.Popen:
    """Start a run whose chunks are declared quick or slow, the last first."""
    flags = [f"--config={ROOT}/experiments/gan.py", f"--workdir={place}/run"]
    return driven("run", SLOW.format(quick=quick), *flags)


def test_while_it_compiles_before_its_first_step(tmp_path: Path) -> None:
    process = slow(tmp_path, "False")
    process.send_signal(signal.SIGTERM)
    code, said = ended(process, 10)
    assert (code, said) == (143, f"stopped by SIGTERM; {signals.RESUME_HINT}")


def test_a_second_signal_ends_a_chunk_and_the_same_one_said_twice_does_not(tmp_path: Path) -> None:
    process = slow(tmp_path, "False, True")
    for _ in range(2):  # Slurm's way
        process.send_signal(signal.SIGTERM)
        time.sleep(0.01)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=signals.REPEAT_SECONDS + 0.5)
    process.send_signal(signal.SIGINT)
    code, said = ended(process, 5)
    assert (code, said) == (130, f"ended by a second signal, SIGINT; {signals.RESUME_HINT}")


def test_nothing_is_left_of_a_file_that_was_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [signal.getsignal(s) for s in signals.HANDLED_SIGNALS]
    threads = threading.active_count()
    monkeypatch.setattr(os, "fsync", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(signals.Interrupted, match="stopped by SIGTERM") as caught:
        with signals.raise_on_signal():
            workdir.write_bytes(tmp_path / "report.html", b"half")
    assert caught.value.signum == signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
    assert [signal.getsignal(s) for s in signals.HANDLED_SIGNALS] == before
    assert threading.active_count() == threads


def swallowing() -> None:
    """Receive a signal and go on as if nothing had happened, as a finalizer does."""
    with signals.raise_on_signal():
        with pytest.raises(signals.Interrupted):
            signal.raise_signal(signal.SIGTERM)
        with signals.note_signals() as stopped:  # for example, training begins
            assert stopped() == signal.SIGTERM


def test_one_that_something_swallows_is_not_lost() -> None:
    with pytest.raises(signals.Interrupted):  # at the end, once more
        swallowing()


def before(owner: object, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Patch that makes a process send itself SIGTERM at its first call of `owner.name`."""
    plain, sent = getattr(owner, name), []

    def called(*args, **named):
        if not sent:
            sent.append(signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(*args, **named)

    return lambda patch: patch.setattr(owner, name, called)


def compiling(patch: pytest.MonkeyPatch) -> None:
    """The signal comes in the first call of the steps."""
    plain = loop.program

    def program(*args, **named):
        made = plain(*args, **named)

        def call(*args):
            patch.undo()
            signal.raise_signal(signal.SIGTERM)
            return made(*args)

        call.trace = made.trace  # type: ignore[attr-defined]
        return call

    patch.setattr(loop, "program", program)


BUSY = [  # what training does when the signal comes: how, and the step at which it stops
    (before(workdir, "sign"), 0),
    (before(hooks, "draw"), 0),  # its first samples
    (compiling, 10),
    (before(run_writer.RunWriter, "resume"), 10),
    (before(hooks, "evaluate"), 20),
    (before(Checkpoints, "save"), 40),
]


def test_training_saves_whatever_it_was_at_and_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "GRACE_SECONDS", 600.0)  # or a slow compiler would end the tests
    plain = tiny(steps=50, **{"every.checkpoint": 20})
    run = load(tmp_path / "stopped", plain)
    with one_program():
        for how, step in BUSY:
            with monkeypatch.context() as patch:
                how(patch)
                with pytest.raises(Stopped) as caught:
                    trainer.train(run)
            assert (caught.value.signum, caught.value.step) == (signal.SIGTERM, step)
            with Checkpoints(run.folder / workdir.CHECKPOINTS, read_only=True) as saved:
                assert saved.latest() == (step or None)
        trainer.train(run)
        trainer.train(run._replace(folder=tmp_path / "undisturbed"))
    same(tmp_path / "undisturbed", tmp_path / "stopped")


def test_what_training_saves_is_given_more_than_the_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that ends what does not come back in time leaves training alone."""
    left: list[str] = []
    monkeypatch.setattr(signals, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(signals, "exit_immediately", lambda line, signum: left.append(line))
    swallowed = contextlib.suppress(signals.Interrupted)
    with swallowed, signals.raise_on_signal(), swallowed:
        with signals.note_signals() as stopped:
            signal.raise_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert stopped() == signal.SIGTERM
        assert not left
    with contextlib.suppress(signals.Interrupted), signals.raise_on_signal():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            time.sleep(0.5)  # the interrupted code hangs in its cleanup
    assert left == [f"stopped by SIGTERM; {signals.RESUME_HINT}"]


STUCK = """if True:
    import sys, time
    from pathlib import Path
    from small import config
    from latentgen.sweeps.plan import changed
    from latentgen.system import watchdog
    from latentgen.training import hooks, setup, trainer

    def stuck_here(*_):
        print("ready", flush=True)
        time.sleep(600)

    watchdog.FIRST_FACTOR = 3.0  # times the floor, for what has not been done before
    if sys.argv[2:]:
        hooks.evaluate = stuck_here
    plain = config(steps=30, **{"every.sample": 30})
    trainer.train(setup.load(Path(sys.argv[1]), changed(plain, {}), None, None), stuck=3.0)
"""


@pytest.mark.long
def test_a_stuck_run_ends_with_its_stacks_and_continues(tmp_path: Path) -> None:
    place = tmp_path / "run"
    paths = os.pathsep.join(map(str, [ROOT, ROOT / "tests", ROOT / "tests/sweeps"]))
    process = start(["-c", STUCK, str(place), "stuck"], PYTHONPATH=paths)
    err = stderr(process, 60)
    said = err.splitlines()[-1]
    assert process.returncode == watchdog.EXIT_STUCK
    assert "in stuck_here" in err  # where
    line = "stuck: validation has not ended for 9 s; the same command continues from step 10."
    assert said == f"error: {line}"
    now = status.read(place)
    assert now is not None
    assert (now.status, now.reason) == (status.PREEMPTED, line)
    plain = config(steps=30, **{"every.sample": 30})
    with one_program():
        run = load(place, plain)
        trainer.train(run)
        trainer.train(run._replace(folder=tmp_path / "undisturbed"))
    same(tmp_path / "undisturbed", place)


def test_a_watch_asks_for_nothing_that_macos_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pipe2", raising=False)
    watcher = signals.SignalWatcher()
    ends = (watcher._read_fd, watcher._write_fd)
    assert not any(map(os.get_blocking, ends))
    assert not any(map(os.get_inheritable, ends))
    for end in ends:
        os.close(end)
