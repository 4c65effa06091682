"""Reading Fashion-MNIST: from files to arrays, and from arrays to batches, beside PyTorch's ways.

    python -m experiments.benchmarks.reading [--repeats N] [--json FILE]

Files: the training split as arrays in memory, in a new process each time, imports not counted and
the files in the system's cache. latentgen reads what it has prepared once, in a temporary folder;
PyTorch reads the published IDX files with gzip and `torch.frombuffer`. Preparing is timed apart.

Batches: 400 shuffled batches of 128, each as floats in [0, 1], and summed so that none is left out.
latentgen gathers them inside a compiled scan, as it trains; PyTorch by index from one tensor; by a
`DataLoader` over a `TensorDataset`, and by one with two workers, which stay for all rounds. The
workers' CPU time is not in the table. On a busy machine set OMP_WAIT_POLICY=passive.

Needs the `benchmark` extra and Fashion-MNIST (Debian: dataset-fashion-mnist). Takes a minute.
"""

import itertools
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

from experiments.benchmarks import in_pytorch, side_by_side
from experiments.benchmarks.side_by_side import OURS, Call, Row, Took
from latentgen.core.errors import BadInput
from latentgen.core.keys import run_key
from latentgen.data import originals, pipeline, sources
from latentgen.data.preprocess import preprocess_for

NAME, BATCH, BATCHES = "fashion_mnist", 128, 400
# What a new process does; the copy brings a file that is only mapped into memory.
OF_OURS = """
import sys, numpy as np
from experiments.benchmarks.side_by_side import timed
from latentgen.data import sources
def read():
    train = sources.load("fashion_mnist", validation=0, data_dir=sys.argv[1]).splits["train"]
    return np.array(train.x), np.array(train.label)
"""
OF_TORCH = """
import gzip, sys, torch
from experiments.benchmarks.side_by_side import timed
def plain(file, start):
    with gzip.open(file) as opened:
        return torch.frombuffer(bytearray(opened.read()), dtype=torch.uint8, offset=start)
def read():
    return plain(sys.argv[1], 16).view(-1, 28, 28, 1), plain(sys.argv[2], 8)
"""
TOLD = """
took, (x, label) = timed(read)
print(*took, *x.shape, int(x.sum()), int(label.sum()))
"""


def in_new_process(code: str, *arguments: Path) -> tuple[Took, list[str]]:
    """Time reading in a new process; return the time, and the shape and sums of what was read."""
    command = [sys.executable, "-c", code + TOLD, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"a process that reads failed:\n{done.stderr}")
    wall, cpu, *read = done.stdout.split()
    return Took(float(wall), float(cpu)), read


def files(manual_dir: str | None) -> list[Path]:
    """The published images and labels of the training split.

    Raises:
        BadInput: they are not there.
    """
    folder = Path(manual_dir).expanduser() if manual_dir else originals.DEBIAN[NAME]
    found, missing = originals.find(NAME, folder)
    if missing:
        raise BadInput(f"{folder} lacks {', '.join(missing)}; name another by --manual-dir.")
    return found["train"]


def from_files(data_dir: Path, published: list[Path], repeats: int) -> list[Row]:
    """Both ways in turns, each time in a new process."""
    took: dict[str, list[Took]] = {OURS: [], "PyTorch, gzip": []}
    for _ in range(repeats):
        ours, read = in_new_process(OF_OURS, data_dir)
        theirs, also_read = in_new_process(OF_TORCH, *published)
        if read != also_read:
            sys.exit(f"not the same data: {read} and {also_read}.")
        for each, seconds in zip(took.values(), (ours, theirs), strict=True):
            each.append(seconds)
    median, ratio = side_by_side.median, side_by_side.ratio
    return [
        Row(
            *("training split, from files", way, "split"),
            *(median(each), median(each, "cpu"), ratio(each, took[OURS]), None),
        )
        for way, each in took.items()
    ]


def ours(train: sources.Examples) -> Call:
    """latentgen's feed inside a compiled chunk."""
    key = run_key(0)
    feed = pipeline.feed(train, preprocess_for("unit", train.x.dtype), BATCH, 1, key)

    @jax.jit
    def chunk(resident: Any, rows: Any, steps: jax.Array) -> jax.Array:
        def step(total: jax.Array, inputs: Any) -> tuple[jax.Array, None]:
            batch = feed.batches(resident, inputs[0], key, inputs[1])
            # The barrier: a batch is made before it is summed, as one is for a network.
            x, label = jax.lax.optimization_barrier((batch.x, batch.label))
            return total + x.sum() + label.sum(), None

        return jax.lax.scan(step, jnp.float32(0), (rows, steps))[0]

    starts = itertools.count(0, BATCHES)

    def call() -> jax.Array:
        start = next(starts)
        steps = np.arange(start, start + BATCHES, dtype=np.int32)
        return chunk(feed.resident, feed.rows(start, BATCHES), steps)

    return call


def summed(batches: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> Callable[[], float]:
    """Takes the next batches, of bytes."""

    def call() -> float:
        total = torch.zeros(())
        for x, label in itertools.islice(batches, BATCHES):
            total += (x.float() / 255).sum() + label.sum()
        return float(total)

    return call


def gathered(x: torch.Tensor, label: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for rows in in_pytorch.batches(torch.arange(len(x)), BATCH):
        yield x[rows], label[rows]


def loaded(data: TensorDataset, workers: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """A DataLoader's batches, epoch after epoch."""
    # spawn: a process that has JAX's threads must not be forked.
    of_workers = {"multiprocessing_context": "spawn", "persistent_workers": True} if workers else {}
    loader = DataLoader(
        data, BATCH, shuffle=True, drop_last=True, num_workers=workers, **of_workers
    )
    while True:
        yield from loader


def of_batches(train: sources.Examples, repeats: int) -> list[Row]:
    x, label = torch.tensor(train.x), torch.tensor(train.label)
    data = TensorDataset(x, label)
    ways: dict[str, Call] = {
        OURS: ours(train),
        "PyTorch, by index": summed(gathered(x, label)),
        "DataLoader": summed(loaded(data, 0)),
        "DataLoader, 2 workers": summed(loaded(data, 2)),
    }
    return side_by_side.compare(f"a batch of {BATCH}", ways, repeats, BATCHES, unit="batch")


def main() -> None:
    flags = side_by_side.flags(__doc__)
    flags.add_argument("--manual-dir", help="a folder with Fashion-MNIST's files")
    options = flags.parse_args()
    try:
        published = files(options.manual_dir)
        with tempfile.TemporaryDirectory() as folder:
            where = {"data_dir": folder, "manual_dir": options.manual_dir}
            prepare = lambda: sources.load(NAME, validation=0, **where)  # noqa: E731
            (seconds, _), dataset = side_by_side.timed(prepare)
            train = sources.Examples(*map(np.array, dataset.splits["train"]))
            print(f"prepared, once, in {seconds:.1f} s; {len(train.label):,} examples")
            print(side_by_side.HEADER)
            rows = from_files(Path(folder), published, options.repeats)
        side_by_side.show(rows)
    except BadInput as error:
        sys.exit(str(error))
    rows += of_batches(train, options.repeats)
    side_by_side.show(rows[2:])
    for row in rows[2:]:
        print(f"  {row.way}: {1 / row.seconds:,.0f} batches/s")
    side_by_side.write(options.json, rows, seconds_to_prepare=seconds)


if __name__ == "__main__":
    main()
