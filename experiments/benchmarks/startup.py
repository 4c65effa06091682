"""Seconds from starting `python -m latentgen.run` to the first line of its log, cold and warm.

    python -m experiments.benchmarks.startup [--repeats N] [--json FILE]

The digits VAE and GAN with their own settings, as whole processes in temporary folders. Cold: no
program has been compiled before. Warm: the same command has run once, and its compiled programs are
in the persistent cache. The first line comes after 250 steps, which are part of the time.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.benchmarks import side_by_side
from experiments.benchmarks.side_by_side import Row, Took

EXPERIMENTS = Path(__file__).parents[1]
LIMIT = 120  # seconds


def first_line(name: str, cache: Path) -> Took:
    """Runs the experiment in a new folder until it has logged something."""
    cores = side_by_side.cores()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "latentgen.run", f"--config={EXPERIMENTS}/{name}.py"]
        before, began = os.times(), time.perf_counter()
        log = Path(folder, "run", "metrics.jsonl")
        with subprocess.Popen(
            [*command, f"--workdir={folder}/run"],
            cwd=EXPERIMENTS.parent,
            env={k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
            | {"XDG_CACHE_HOME": str(cache)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            while not (log.exists() and log.stat().st_size):
                if process.poll() is not None or time.perf_counter() - began > LIMIT:
                    sys.exit(f"{name}: no line of the log after {LIMIT} s, or the run ended.")
                time.sleep(0.01)
            wall = time.perf_counter() - began
            process.kill()
        after = os.times()
    cpu = after.children_user + after.children_system
    return Took(wall, (cpu - before.children_user - before.children_system) / cores)


def measured(name: str, repeats: int) -> list[Row]:
    """Cold and warm in turns; the ratio is of warm."""
    took: dict[str, list[Took]] = {"warm": [], "cold": []}
    with tempfile.TemporaryDirectory() as kept:
        first_line(name, Path(kept))
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as empty:
                took["cold"].append(first_line(name, Path(empty)))
            took["warm"].append(first_line(name, Path(kept)))
    return [
        Row(
            f"first line of the digits {name}",
            *(way, "start", side_by_side.median(each), side_by_side.median(each, "cpu")),
            *(side_by_side.ratio(each, took["warm"]), None),
        )
        for way, each in took.items()
    ]


def main() -> None:
    options = side_by_side.flags(__doc__).parse_args()
    print(side_by_side.HEADER)
    rows = [row for name in ("vae", "gan") for row in measured(name, options.repeats)]
    side_by_side.show(rows)
    side_by_side.write(options.json, rows)


if __name__ == "__main__":
    main()
