"""Seeds as one program: images a second of all runs together."""

import functools

import jax

from experiments.benchmarks.accelerator.configs import both, config, images, run_of
from experiments.benchmarks.accelerator.parts import Context, Item, Row
from experiments.benchmarks.population import Population
from experiments.benchmarks.side_by_side import in_turns, median
from experiments.benchmarks.trainer import STILL

SEEDS, DRY_SEEDS = (1, 8, 64), (1, 2)
BATCH, DRY_BATCH = 64, 4
EXAMPLES = 2048
SMALL = both("generator", "discriminator", channels=(16, 32), hidden=(128,))


def items(context: Context) -> list[Item]:
    """Two works, each with more and more seeds."""
    narrow = both("encoder", "decoder", hidden=(8,)) if context.dry else {}
    works = {
        "MLP VAE 784-400-20": ("vae:fashion", narrow, 4 if context.dry else 200),
        "small convolutional GAN 28x28": (
            "gan:fashion",
            STILL | SMALL,
            20,
        ),
    }
    return [
        Item(f"{what}, {n} seeds", functools.partial(measured, what, *work, n, context.dry))
        for n in (DRY_SEEDS if context.dry else SEEDS)
        for what, work in works.items()
        if not (context.dry and "GAN" in what)  # it takes long to compile
    ]


def measured(
    what: str, experiment: str, changes: dict, steps: int, seeds: int, dry: bool
) -> list[Row]:
    """A population of so many seeds."""
    batch = DRY_BATCH if dry else BATCH
    plain = config(experiment, changes | {"batch_size": batch})
    together = Population(run_of(plain, images(EXAMPLES, (28, 28, 1))), list(range(seeds)), steps)
    took = in_turns({what: together}, 1 if dry else 5)[what]
    stats = jax.devices()[0].memory_stats() or {}
    rate = steps / median(took)
    return [
        {
            "work": what,
            "seeds": seeds,
            "batch": batch,
            "steps_per_second": rate,
            "images_per_second": seeds * batch * rate,
            "bytes": stats.get("bytes_in_use"),
        }
    ]
