"""Growth of a step's seconds with the batch, the codes, the runs at once and the image's size.

    python -m experiments.benchmarks.growth [--works batch codes runs pixels] [--plot FILE]

| work   | what                                                                         | peer |
|--------|------------------------------------------------------------------------------|------|
| batch  | MLP VAE 784-400-20-400-784, batches of 32 to 1,024                           | yes  |
| codes  | IWAE 784-200-200-50, 1 to 100 codes of each of 100 images                    | yes  |
| runs   | ring GAN, a population of 1 to 16 runs; a step of all of them                | *    |
| pixels | convolutional VAE (32 and 64 channels, 512 units), batch 64, images of 8x8   | yes  |
|        | (digits), 28x28, and padded to 32x32 and 64x64 (Fashion-MNIST)               |      |

* PyTorch trains the runs in turn.

Each size is timed in turns with its peer, PyTorch eager, as in `training`. The exponent is the
slope of log seconds over log size at the last three sizes; below 1 a larger size costs less for
each example.

Needs the `benchmark` extra and Fashion-MNIST (Debian: dataset-fashion-mnist), --plot the `plots`
extra. Takes some minutes on two cores. On a busy machine set OMP_WAIT_POLICY=passive: otherwise
PyTorch's threads wait for each other longer than a small step takes.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from experiments.benchmarks import in_pytorch, side_by_side
from experiments.benchmarks.population import Population
from experiments.benchmarks.side_by_side import OURS, Call, Row
from experiments.benchmarks.trainer import STILL, Trainer, loaded, repeated
from latentgen.core.errors import BadInput
from latentgen.training import setup

PYTORCH = "PyTorch"
LAST = 3  # sizes whose slope is taken
MOST_STEPS, LEAST_STEPS = 100, 3  # in one timed call
SIDES = {8: ("digits", 0), 28: ("fashion_mnist", 0), 32: ("fashion_mnist", 32)} | {
    64: ("fashion_mnist", 64)
}


class Work(NamedTuple):
    """A size that is varied, and how to train at each of its values.

    axis: the name of the size.
    sizes: those timed.
    budget: sizes times steps in one timed call, about.
    settings: size -> the experiment and what is changed in it.
    peer: (training data, size) -> a step in PyTorch.
    """

    what: str
    axis: str
    sizes: tuple[int, ...]
    budget: int
    settings: Callable[[int], tuple[str, dict[str, Any]]]
    peer: Callable[[torch.Tensor, int], in_pytorch.Step]

    def steps(self, size: int) -> int:
        return min(MOST_STEPS, max(LEAST_STEPS, self.budget // size))


def ring_gans(x: torch.Tensor, runs: int) -> in_pytorch.Step:
    """A step of so many runs, in turn."""
    members = [in_pytorch.ring_gan(x, False) for _ in range(runs)]

    def step() -> None:
        for member in members:
            member()

    return step


def padded(pixels: int) -> tuple[str, dict[str, Any]]:
    """The convolutional VAE on images of so many pixels."""
    name, pad_to = SIDES[round(pixels**0.5)]
    return "vae:conv", {"batch_size": 64, "data.name": name, "data.pad_to": pad_to}


def conv_vae(x: torch.Tensor, pixels: int) -> in_pytorch.Step:
    return in_pytorch.conv_vae(x, False, side=round(pixels**0.5), width=32)


WORKS = {
    "batch": Work(
        *("MLP VAE", "batch", (32, 64, 128, 256, 512, 1024), 12_800),
        lambda batch: ("vae:fashion", {"batch_size": batch}),
        lambda x, batch: in_pytorch.mlp_vae(x, False, batch),
    ),
    "codes": Work(
        *("IWAE", "codes", (1, 2, 5, 10, 20, 50, 100), 500),
        lambda k: ("vae:iwae", {"method.samples": k}),
        lambda x, k: in_pytorch.iwae(x, False, k),
    ),
    "runs": Work(
        *("ring GAN", "runs", (1, 2, 4, 8, 16), 200),
        lambda runs: ("gan:ring", STILL),
        ring_gans,
    ),
    "pixels": Work(
        *("convolutional VAE", "pixels", tuple(side**2 for side in SIDES), 16_000),
        *(padded, conv_vae),
    ),
}


def ways(name: str, size: int, run: setup.Run) -> dict[str, Call]:
    """latentgen's and PyTorch's calls of as many steps."""
    work = WORKS[name]
    steps = work.steps(size)
    data = torch.tensor(np.asarray(run.dataset.splits["train"].x))
    torch.manual_seed(0)
    ours = Population(run, list(range(size)), steps) if name == "runs" else Trainer(run, steps)
    return {OURS: ours, PYTORCH: repeated(work.peer(data, size), steps)}


def measured(name: str, size: int, repeats: int, manual_dir: str | None) -> list[Row]:
    """Measure one size, in a function of its own: its memory is freed before the next."""
    work = WORKS[name]
    experiment, changes = work.settings(size)
    calls = ways(name, size, loaded(experiment, changes, manual_dir))
    what = f"{work.what}, {work.axis} {size}"
    return side_by_side.compare(what, calls, repeats, work.steps(size))


def exponent(sizes: list[int], seconds: list[float]) -> float | None:
    """d log seconds / d log size at the last sizes, by least squares; None for fewer than two."""
    points = np.log([sizes, seconds])[:, -LAST:]
    return float(np.polyfit(*points, 1)[0]) if points.shape[1] > 1 else None


def curve(sizes: list[int], rows: list[Row]) -> dict[str, Any]:
    """Seconds of both ways by size, and their exponents."""
    found: dict[str, Any] = {"sizes": sizes, "seconds": {}, "exponent": {}}
    for way in (OURS, PYTORCH):
        seconds = [row.seconds for row in rows if row.way == way]
        found["seconds"][way] = seconds
        found["exponent"][way] = exponent(sizes, seconds)
    return found


def draw(path: Path, curves: dict[str, dict[str, Any]]) -> None:
    """The figure: seconds over size on logarithmic axes, a panel for each work."""
    from matplotlib.figure import Figure  # needed only to draw

    figure = Figure(figsize=(3.2 * len(curves), 3.2), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (name, found) in zip(panels, curves.items(), strict=True):
        for way, color in ((OURS, "tab:blue"), (PYTORCH, "tab:red")):
            slope = found["exponent"][way]
            label = way if slope is None else f"{way}, slope {slope:.2f}"
            axes.loglog(found["sizes"], found["seconds"][way], "o-", color=color, label=label)
        axes.set_xticks(found["sizes"], [f"{size}" for size in found["sizes"]], rotation=60)
        axes.tick_params(axis="x", which="minor", labelbottom=False)
        axes.set_title(WORKS[name].what)
        axes.set_xlabel(WORKS[name].axis)
        axes.legend(frameon=False)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("seconds of a step")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def main() -> None:
    flags = side_by_side.flags(__doc__)
    flags.add_argument("--works", nargs="+", default=list(WORKS), choices=list(WORKS))
    flags.add_argument("--first", type=int, help="only so many of the smallest sizes")
    flags.add_argument("--plot", type=Path, help="where to draw the figure (needs matplotlib)")
    flags.add_argument("--manual-dir", help="a folder with Fashion-MNIST's files")
    options = flags.parse_args()
    rows: list[Row] = []
    curves: dict[str, dict[str, Any]] = {}
    print(side_by_side.HEADER)
    for name in options.works:
        sizes = list(WORKS[name].sizes[: options.first])
        part: list[Row] = []
        for size in sizes:
            try:
                part += measured(name, size, options.repeats, options.manual_dir)
            except BadInput as error:
                sys.exit(str(error))
            side_by_side.show(part[-2:])
        curves[name] = curve(sizes, part)
        for way, slope in curves[name]["exponent"].items():
            if slope is not None:
                print(f"  {way}: seconds grow as {WORKS[name].axis} ^ {slope:.2f}")
        rows += part
    side_by_side.write(options.json, rows, curves=curves)
    if options.plot:
        draw(options.plot, curves)


if __name__ == "__main__":
    main()
