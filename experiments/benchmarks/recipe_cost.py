"""Parameters, operations and estimated GPU-hours of recipes in full.

    python -m experiments.benchmarks.recipe_cost gan.py:sngan_cifar10 gan.py:r3gan_cifar10 ...

Operations are the multiplications and additions of matrix products and convolutions in one step,
counted in the traced program: nothing is compiled, and no data are read. Turns that are played in
every k-th step count in each, so that the sums of StyleGAN2 are bounds. Hours are at the rate
`--tflops`. Its default is what SNGAN at full width and batch 64 reached on an H100 in TF32
(experiments/benchmarks/cards); larger networks and batches, and bfloat16, reach more. So the hours
are an estimate, not a measurement.
"""

import argparse
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from experiments.benchmarks.accelerator import flops
from latentgen import configs
from latentgen.configs import recipes
from latentgen.configs.section import plain
from latentgen.core.types import Batch, Method

SHAPES = {"cifar10": (32, 32, 3), "digits": (8, 8, 1), "sprites": (32, 32, 3)}
"""Data set -> shape of an example, where the config does not say it; else 28x28, grey."""

REACHED = 124.0
"""TFLOP/s: 46.4 steps/s of 2.67 TFLOP."""


def shape(data: configs.Data) -> tuple[int, ...]:
    """Return the shape of an example of a recipe's data."""
    h, w, c = SHAPES.get(data.name, (28, 28, 3 if data.name.startswith("stacked") else 1))
    if data.size:
        return data.size, data.size, 1 if data.color == "grey" else 3
    return (data.pad_to, data.pad_to, c) if data.pad_to else (h, w, c)


def parameters(method: Method) -> dict[str, int]:
    """Return the number of each player's parameters."""
    state = jax.eval_shape(method.init, jax.random.key(0))
    while hasattr(state, "state"):  # of a moving average
        state = state.state
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))  # noqa: E731
    return {name: n for name, tree in state.params.items() if (n := count(tree))}


def operations(method: Method, example: tuple[int, ...], batch: int) -> float:
    """Return the operations of one step."""
    state = jax.eval_shape(method.init, jax.random.key(0))
    draws = method.draws
    shaped: Any = jax.ShapeDtypeStruct
    batches = Batch(
        shaped((draws, batch, *example), jnp.float32), shaped((draws, batch), jnp.int32)
    )
    step = jax.make_jaxpr(method.step)(state, jnp.int32(0), batches, jax.random.key(0))
    return flops.counted(step)


def row(name: str, tflops: float) -> str:
    """Return a line of the table."""
    config: Mapping[str, Any] = plain(recipes.load(f"experiments/{name}").to_dict())
    experiment = configs.experiment(config)
    example = shape(experiment.data)
    method = experiment.plan.wire(example)
    per_step = operations(method, example, experiment.batch_size)
    total = per_step * experiment.steps
    images = experiment.steps * experiment.batch_size * method.draws
    sizes = ", ".join(f"{player} {n / 1e6:.2f}" for player, n in parameters(method).items())
    cells = [
        *(f"`{name}`", "x".join(map(str, example)), sizes, f"{images / 1e6:.3g}"),
        *(f"{per_step / 1e12:.3g}", f"{total / 1e18:.3g}", f"{total / tflops / 1e12 / 3600:.3g}"),
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--tflops", type=float, default=REACHED, help="operations per second, 1e12")
    options = parser.parse_args()
    print(
        "| recipe | image | parameters, millions | images, millions | TFLOP a step | EFLOP "
        f"| GPU-hours at {options.tflops:g} TFLOP/s |\n" + "|---" * 7 + "|"
    )
    for name in options.recipes:
        print(row(name, options.tflops), flush=True)


if __name__ == "__main__":
    main()
