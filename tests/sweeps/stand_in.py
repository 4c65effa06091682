"""Stands in for the worker: FOLDER STEPS INTERRUPTIONS.

It takes 20 steps a second and keeps those of each attempt when it ends or, on SIGTERM, after a
second of saving. Until it has been interrupted that often it stops short of its end and waits.
"""

import fcntl
import json
import signal
import sys
import time
from pathlib import Path

signals = []


def append(path, line):
    with open(path, "a") as file:
        file.write(line + "\n")


signal.signal(signal.SIGTERM, lambda signum, frame: signals.append(signum))
folder, steps, interruptions = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
lock = open(folder / "lock", "a")  # noqa: SIM115
fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
attempts = folder / "attempts.txt"
append(attempts, Path("version.txt").read_text().strip() if Path("version.txt").exists() else "?")
attempt = len(attempts.read_text().splitlines())
print("attempt", attempt, flush=True)
if (folder / "summary.json").exists():
    sys.exit(0)
done = folder / "steps.txt"
first = len(done.read_text().splitlines()) if done.exists() else 0
last = steps if attempt > interruptions else steps * attempt // (interruptions + 1)
step = first
while not signals and step < last:
    time.sleep(0.05)
    step += 1
if attempt <= interruptions:
    (folder / "ready").touch()
    end = time.monotonic() + 300  # whoever would have interrupted it may be dead
    while not signals and time.monotonic() < end:
        time.sleep(0.05)
if signals:
    time.sleep(1)
append(done, "\n".join(f"{attempt} {n}" for n in range(first, step))) if step > first else None
(folder / "ready").unlink(missing_ok=True)
if step < steps:
    print("saved", flush=True)
    sys.exit(143)
(folder / "config.json").write_text(json.dumps({"steps": step}))
summary = {"attempts": attempt, "steps": step, "final": {}}
(folder / "summary.json").write_text(json.dumps(summary))
