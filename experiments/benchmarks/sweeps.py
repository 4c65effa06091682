"""A sweep by `--engine auto` against its runs in turn: seconds of the whole command.

    python -m experiments.benchmarks.sweeps [--steps 2000] [--json FILE]

The digits GAN, two learning rates of the generator x two games x three seeds. In turn is `--engine
local --jobs 1`: a process after the other. Auto trains two programs of six runs, or one by one in
one process, after it has measured which is faster; the measuring is part of its time. Both start
without compiled programs on disk.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.benchmarks import side_by_side

ROOT = Path(__file__).parents[2]
SWEEP = [
    "--config=experiments/gan.py",
    "--grid=config.generator_optimizer.lr=1e-4,3e-4",
    "--grid=config.method.loss=minimax,nonsaturating",
    "--seeds=0:3",
]
WAYS = {"auto": ["--engine=auto"], "in turn": ["--engine=local", "--jobs=1"]}


def seconds(way: str, steps: int) -> float:
    """Time one sweep, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subprocess.run(
            [
                *(sys.executable, "-m", "latentgen.sweep", *SWEEP, *WAYS[way]),
                *(f"--workdir={folder}/sweep", f"--config.steps={steps}"),
            ],
            cwd=ROOT,
            env=os.environ | {"XDG_CACHE_HOME": folder},
            check=True,
            capture_output=True,
        )
        return time.perf_counter() - began


def main() -> None:
    flags = side_by_side.flags(__doc__)
    flags.set_defaults(repeats=2)
    flags.add_argument("--steps", type=int, default=2_000, help="of each run")
    options = flags.parse_args()
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.repeats):
        for way in WAYS:
            found[way].append(seconds(way, options.steps))
            print(f"{way:8} {found[way][-1]:7.1f} s", flush=True)
    ratios = [a / b for a, b in zip(found["auto"], found["in turn"], strict=True)]
    print(f"auto takes {', '.join(f'{ratio:.2f}' for ratio in ratios)} of the time in turn")
    side_by_side.write(options.json, [], sweeps=found, steps=options.steps)


if __name__ == "__main__":
    main()
