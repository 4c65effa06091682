"""The n-th writing system call fails: the run reports it, loses nothing and can go on.

    python -m tests.studies.failing_writes [--method gan] [--most N] [--part I/N] [--folder F]

Trains a tiny run (see kill_sweep.py) again and again; call n of those that change its folder fails
with ENOSPC, EIO or EROFS, alone or with all that follow, for every n (with --most for so many).
Each time the run must end within a minute, with an error that names a file, or else as if nothing
had happened; and when the disk works again the same command must go on to the end
of the undisturbed run: state, log and pictures bitwise. Prints a line for each n that fails, its
progress every hundred faults, and a verdict; exits with 1 if any n fails. All take 40 minutes of a
core's time; --part 1/2 does every second one, for two processes. Needs a C compiler and Linux.
"""

import argparse
import errno
import faulthandler
import itertools
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.studies.faults import disk

STEPS = 40
LONGEST = 60
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS)
HOWS = {disk.FAIL_ONCE: "once", disk.FAIL_ON: "from there on"}
TOLD, UNHARMED = "told", "unharmed"


class Hangs(Exception):
    """A run has not ended in time."""


def faults(calls: int, most: int | None) -> Iterator[tuple[int, int, int]]:
    """(n, errno, how), all of them, or so many from the first call to the last."""
    every = [(n, error, how) for n in range(1, calls + 1) for error in ERRORS for how in HOWS]
    if most is None or most >= len(every):
        yield from every
        return
    kinds = [(error, how) for error in ERRORS for how in HOWS]
    for i in range(most):  # the kinds take turns
        yield (1 + i * (calls - 1) // max(most - 1, 1), *kinds[i % len(kinds)])


def outcome(train) -> str:
    """Train a run whose disk fails; return its outcome in a line."""
    from latentgen.core.errors import BadInput

    def alarm(*_):
        raise Hangs

    signal.signal(signal.SIGALRM, alarm)
    signal.alarm(LONGEST)
    # Python's handler runs between two of its instructions; this ends what hangs in C.
    faulthandler.dump_traceback_later(2 * LONGEST, exit=True)
    try:
        train()
    except BadInput as error:
        return f"{TOLD}: {error}"
    except OSError as error:
        return f"{TOLD}: {error}" if error.filename else f"an OSError without a file: {error}"
    except Hangs:
        return f"it has not ended after {LONGEST} s"
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
    return UNHARMED


def broken(folder: Path, log: list[dict[str, Any]]) -> str | None:
    """A complaint if the log is not the beginning of the undisturbed run's."""
    from tests.studies.faults import small

    there = small.figures(folder) if (folder / "metrics.jsonl").exists() else []
    return None if there == log[: len(there)] else "its log had other lines"


def settle(mine: disk.Disk) -> None:
    """Wait for tensorstore's threads, which go on writing for a moment after a failed save.

    A new process would begin without them.
    """
    before = -1
    while before != (before := mine.calls()):
        time.sleep(0.1)


def study(place: Path, method: str, most: int | None, part: tuple[int, int]) -> int:
    """Count the faults with a wrong outcome."""
    from tests.studies.faults import small

    shutil.rmtree(place / "undisturbed", ignore_errors=True)
    mine, run = disk.Disk(), small.loaded(place / "undisturbed", method, STEPS)
    wrong, counts = 0, Counter[str]()
    with small.compiled_once():
        mine.watch(run.folder)
        small.train(run)
        calls, undisturbed = mine.calls(), small.end(run)
        print(f"{calls} calls change the folder", flush=True)
        for n, error, how in itertools.islice(faults(calls, most), part[0] - 1, None, part[1]):
            again = run._replace(folder=place / "again")
            shutil.rmtree(again.folder, ignore_errors=True)
            mine.watch(again.folder)
            mine.order(n, how, error)
            found = outcome(lambda: small.train(again))  # noqa: B023
            mine.order(0, disk.NOTHING)
            settle(mine)
            kind = found.partition(":")[0]
            counts[kind if kind in (TOLD, UNHARMED) else "wrong"] += 1
            if counts.total() % 100 == 0:
                print(f"{counts.total()} faults, up to call {n}; {wrong} wrong", flush=True)
            between = broken(again.folder, undisturbed.log)
            if found == UNHARMED:
                between = between or small.difference(undisturbed, again)
            after = outcome(lambda: small.train(again))  # noqa: B023
            differs = small.difference(undisturbed, again) if after == UNHARMED else after
            differs = between or differs
            if kind not in (TOLD, UNHARMED) or differs is not None:
                wrong += 1
                words = f"{errno.errorcode[error]} at call {n}, {HOWS[how]}"
                print(f"{words}: {found}; then {differs or 'the same'}", flush=True)
    print(f"{counts.total()} faults: {dict(counts)}; {wrong} wrong")
    return wrong


def main() -> None:
    flags = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    flags.add_argument("--method", default="gan")
    flags.add_argument("--most", type=int, help="how many faults; default: all")
    flags.add_argument("--part", default="1/1", help="I/N: the I-th of every N faults")
    flags.add_argument("--folder", type=Path, help="default: a temporary one")
    options = flags.parse_args()
    place = disk.start_over_preloaded("tests.studies.failing_writes", options.folder)
    part, parts = map(int, options.part.split("/"))
    sys.exit(bool(study(place, options.method, options.most, (part, parts))))


if __name__ == "__main__":
    main()
