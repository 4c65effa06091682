"""The watchdog: its time limits, and how it ends a process."""

import signal
import subprocess
import sys
import threading
import time

from latentgen.system.watchdog import EXIT_STUCK, FIRST_FACTOR, MEDIAN_FACTOR, Watchdog


def watched(floor: float) -> tuple[Watchdog, threading.Event, list[str]]:
    ended, said = threading.Event(), []

    def end(line: str) -> None:
        said.append(line)
        ended.set()

    return Watchdog(floor, lambda what, waited: f"{what} {waited:.2f}", end), ended, said


def test_what_took_long_before_may_take_long_again() -> None:
    dog, _, _ = watched(1.0)
    dog.begin("chunk")
    assert dog.time_limit == FIRST_FACTOR
    for took in (0.5, 0.25, 0.5):
        dog._elapsed = took  # as its thread counts
        dog.begin("chunk")
    assert dog.time_limit == MEDIAN_FACTOR * 0.5
    dog.begin("picture")
    assert dog.time_limit == FIRST_FACTOR
    dog._elapsed = 0.01
    dog.begin("picture")
    assert dog.time_limit == 1.0  # never less than the floor


def test_hooks_within_chunks_leave_the_chunks_bound_as_it_is() -> None:
    """Follow a run: a chunk, then pictures, a save, a validation, then the next chunk."""
    dog, _, _ = watched(1.0)
    dog.begin("chunk")
    for _ in range(5):
        dog._elapsed = 2.0  # as its thread counts
        dog.begin("chunk")
        for name in ("picture", "save", "validation"):
            with dog.within(name):
                assert dog.time_limit == (1.0 if name in dog._durations else FIRST_FACTOR)
                dog._elapsed = 0.01
        assert (dog._action, dog._elapsed) == ("chunk", 0.0)
        assert dog.time_limit == MEDIAN_FACTOR * 2.0
    dog._elapsed = 0.5
    with dog.within("picture"):
        dog._elapsed = 0.01
    assert dog._elapsed == 0.5  # goes on where it was


def test_it_barks_once_the_bound_is_over_and_not_before() -> None:
    dog, ended, said = watched(0.2)
    with dog:
        for _ in range(10):
            dog.begin("chunk")
            time.sleep(0.02)
        assert not said
        began = time.monotonic()
        dog.begin("chunk")
        assert ended.wait(timeout=10)
        assert time.monotonic() - began > 0.15
    assert len(said) == 1
    assert float(said[0].removeprefix("chunk ")) >= 0.2


def test_nothing_is_too_long_for_what_has_no_bound() -> None:
    dog, ended, _ = watched(0.05)
    with dog:
        dog.begin("chunk")
        dog.begin("chunk")
        dog.begin("")
        assert not ended.wait(timeout=0.5)


def test_the_time_in_which_the_process_itself_was_stopped_does_not_count() -> None:
    code = """if True:
        import time
        from latentgen.system.watchdog import Watchdog
        with Watchdog(1.0, lambda what, waited: "stuck") as dog:
            for _ in range(2):
                dog.begin("chunk")
            print("ready", flush=True)
            time.sleep(0.3)
            dog.begin("")
        print("done")
    """
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        child.send_signal(signal.SIGCONT)
        assert child.stdout.read() == "done\n"
    assert child.returncode == 0


def test_it_ends_a_process_whose_main_thread_is_stuck_with_stacks_and_a_line() -> None:
    code = """if True:
        import threading
        from latentgen.system.watchdog import Watchdog
        def stuck_here():
            threading.Lock().acquire() and threading.Event().wait()
        with Watchdog(0.1, lambda what, waited: f"no {what}, it seems") as dog:
            dog.begin("chunk")
            dog.begin("chunk")
            stuck_here()
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == EXIT_STUCK
    assert "stuck_here" in done.stderr
    assert done.stderr.endswith("error: no chunk, it seems\n")
