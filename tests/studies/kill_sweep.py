"""SIGKILL at every system call of a run and at random moments: the end is always the same bitwise.

    python -m tests.studies.kill_sweep [--method gan] [--kills 200] [--most N] [--folder DIR]

Trains a tiny run (the digits, 40 steps, a checkpoint every 10, the oldest of four deleted) and then

1. the same again with a picture of its folder before every system call that changes it, which is
   what a SIGKILL there leaves, and one with half of each write; continues from every picture that
   differs from the others, or with --most from so many of them;
2. others that are killed, several times each: in turn before a random system call, where what is
   left must be the picture taken just before, and at a random moment; until --kills have hit.

Every run must end as the undisturbed one: all leaves of the state and all pictures bitwise, the log
but for the time it took, with each step in it once. Prints a line a kill and a verdict; exits with
1 where something differs. Any file of experiments/ with a variant that learns the digits is a
--method: vae, gan:minimax, ... About ten minutes on two cores; needs a C compiler and Linux.
"""

import argparse
import os
import pickle
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.studies.faults import disk

STEPS = 40
LONGEST = 120  # most seconds of a tiny run on a busy machine
SEVERAL = 6  # kills of one run
SAME = "the same"


class Study(NamedTuple):
    """Settings that the parts share; all folders lie in `place`."""

    place: Path
    method: str

    @property
    def known(self) -> Path:
        return self.place / "undisturbed.pickle"


def forked(work: Callable[[], None]) -> int:
    """Fork a process that calls this, before JAX has started; return its pid."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def ended(pid: int, wait: float = 0.0) -> int:
    """Wait for a process, kill it after `wait` seconds if not 0; return -n for signal n."""
    last = time.monotonic() + wait
    while True:
        found, code = os.waitpid(pid, os.WNOHANG if wait else 0)
        if found:
            return os.waitstatus_to_exitcode(code)
        if time.monotonic() > last:
            os.kill(pid, signal.SIGKILL)
            wait = 0.0
        time.sleep(0.002)


def begin(study: Study) -> None:
    """The undisturbed run."""
    from tests.studies.faults import small

    run = small.loaded(study.place / "undisturbed", study.method, STEPS)
    small.train(run)
    study.known.write_bytes(pickle.dumps(small.end(run)))


def every_call(study: Study, most: int | None) -> None:
    """Continue after a kill at each system call; exit with 1 if a result differs."""
    from tests.studies.faults import crashes, small

    begin(study)
    undisturbed = pickle.loads(study.known.read_bytes())
    run = small.loaded(study.place / "watched", study.method, STEPS)
    with small.compiled_once():
        with crashes.watching(disk.Disk(), run.folder) as watched:
            small.train(run)
        print(told(watched.calls, watched.crashes))
        wrong = [f"changed by no call that was seen: {path}" for path in watched.unseen]
        if (found := small.difference(undisturbed, run)) is not None:
            wrong.append(f"the watched run: {found}")
        for crash in crashes.spread(watched.crashes, most):
            folder = run.folder.with_name("continued")
            crashes.put(crash.tree, folder)
            began = time.monotonic()
            found = outcome(lambda: small.train(run._replace(folder=folder)))  # noqa: B023
            found = found or small.difference(undisturbed, run._replace(folder=folder))
            line = f"call {crash.n:4}, before {crash.before}: {found or SAME}"
            print(f"{line} ({time.monotonic() - began:.1f} s)", flush=True)
            wrong += [line] if found else []
        done = len(crashes.spread(watched.crashes, most))
    print(f"{done} crashes continued, {len(wrong)} differ")
    if wrong:
        raise AssertionError("; ".join(wrong))


def outcome(work: Callable[[], None]) -> str | None:
    """The error that it ends with, in a line."""
    try:
        work()
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return None


def told(calls: list[str], crashes: list) -> str:
    """Describe the system calls: how many there are, and how many of them one save makes."""
    save = [call for call in calls if f"checkpoints/{STEPS}" in call]
    return (
        f"{len(calls)} calls change the folder, {len(save)} of them save checkpoint {STEPS}; "
        f"{len(crashes)} crashes differ"
    )


def trains(study: Study, folder: Path, at: int, verdict: Path) -> None:
    """Train, with a kill before call `at` if it is not 0; write how the end compares."""
    from tests.studies.faults import crashes, small

    if at:
        mine = disk.Disk()
        mine.watch(folder)
        picture = folder.with_suffix(".picture")

        def seen(n: int, name: str, path: str) -> None:
            if n == at:
                picture.write_bytes(pickle.dumps((f"{name} {path}", crashes.tree(folder))))

        mine.see(seen)
        mine.order(at, disk.KILL)
    run = small.loaded(folder, study.method, STEPS)
    small.train(run)
    undisturbed = pickle.loads(study.known.read_bytes())
    verdict.write_text(small.difference(undisturbed, run) or SAME)


class Kill(NamedTuple):
    """Time of a kill: at system call `at` if it is not 0, else after `moment` seconds."""

    at: int
    moment: float


def drawn(chance: random.Random, number: int, took: float) -> Kill:
    """Draw every other kill at a system call, the rest at a random moment."""
    if number % 2:
        return Kill(0, chance.uniform(0, took))
    return Kill(chance.randint(1, 150), LONGEST)


def left(folder: Path, kill: Kill) -> tuple[str, bool]:
    """(where it was killed, whether the folder is what the picture before the call shows)."""
    from tests.studies.faults import crashes

    picture = folder.with_suffix(".picture")
    if not kill.at:
        return f"after {kill.moment:.3f} s", True
    call, seen = pickle.loads(picture.read_bytes())
    picture.unlink()
    return f"before call {kill.at}, {call.replace(str(folder), '')}", seen == crashes.tree(folder)


def one_run(study: Study, chance: random.Random, most: int, took: float) -> tuple[int, str]:
    """(how often a run was killed, how it ended)."""
    folder = study.place / f"killed{chance.getrandbits(32):08x}"
    verdict, hits = folder.with_suffix(".verdict"), 0
    while not verdict.exists():
        kill = drawn(chance, hits, took) if hits < most else Kill(0, LONGEST)
        began = time.monotonic()
        code = ended(forked(lambda: trains(study, folder, kill.at, verdict)), kill.moment)  # noqa: B023
        spent = time.monotonic() - began
        if code > 0 or (code and spent >= LONGEST):
            return hits, f"it ended with {code} after {spent:.0f} s"
        if code and not verdict.exists():
            hits += 1
            where, as_seen = left(folder, kill)
            print(f"  kill {hits} {where}", flush=True)
            if not as_seen:
                return hits, "what was left is not the picture before the call"
    return hits, verdict.read_text()


def kills(study: Study, number: int, seed: int) -> int:
    """Kill runs until `number` kills have hit; return how many runs ended differently."""
    chance, hits, runs, wrong, took = random.Random(seed), 0, 0, 0, 3.0
    while hits < number:
        began = time.monotonic()
        more, found = one_run(study, chance, min(SEVERAL, number - hits), took)
        hits, runs, wrong = hits + more, runs + 1, wrong + (found != SAME)
        took = 0.7 * took + 0.3 * (time.monotonic() - began) / (more + 1)
        print(f"run {runs}, after {more} kills: {found}", flush=True)
    print(f"{hits} kills of {runs} runs, {wrong} runs differ")
    return wrong


def main() -> None:
    flags = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    flags.add_argument("--method", default="gan")
    flags.add_argument("--kills", type=int, default=200)
    flags.add_argument("--most", type=int, help="how many crashes to continue from; default: all")
    flags.add_argument("--seed", type=int, default=0)
    flags.add_argument("--folder", type=Path, help="default: a temporary one")
    options = flags.parse_args()
    place = disk.start_over_preloaded("tests.studies.kill_sweep", options.folder)
    study = Study(place, options.method)
    began = time.monotonic()
    wrong = ended(forked(lambda: every_call(study, options.most)))
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    if study.known.exists():
        import latentgen.training.trainer  # noqa: F401  # before the forks, which then need not

        began = time.monotonic()
        wrong += kills(study, options.kills, options.seed)
        print(f"{time.monotonic() - began:.0f} s")
    print("DIFFERENT" if wrong else "all the same bitwise")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
