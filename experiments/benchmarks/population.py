"""A population of runs as one program against the runs in turn: seconds of one run's step.

    python -m experiments.benchmarks.population [--works vae ring gan conv] [--members 8]

The digits VAE and GAN, the ring GAN (MLPs), and a small convolutional GAN on Fashion-MNIST
(channels 16 and 32, batch 32). The population is `vmap` of the step over the seeds; in turn, one
compiled chunk runs for each state. A ratio above 1: the population is faster.
"""

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import side_by_side
from experiments.benchmarks.side_by_side import Row
from experiments.benchmarks.trainer import STILL, Trainer, loaded
from latentgen import configs
from latentgen.core.errors import BadInput
from latentgen.core.keys import run_key
from latentgen.core.wrappers import population, population_batches
from latentgen.training import setup
from latentgen.training.loop import program

SMALL = {
    f"{player}.{key}": value
    for player in ("generator", "discriminator")
    for key, value in (("channels", (16, 32)), ("hidden", (128,)))
}
WORKS: dict[str, tuple[str, dict[str, Any], int]] = {
    "vae": ("vae:digits", {}, 200),
    "gan": ("gan:nonsaturating", STILL, 100),
    "ring": ("gan:ring", STILL, 100),
    "conv": ("gan:fashion", STILL | SMALL | {"batch_size": 32}, 5),
}


class Population:
    """A population trained as one program; each call does the next chunk of steps."""

    def __init__(self, run: setup.Run, seeds: list[int], chunk: int) -> None:
        self.chunk, self.done, self.key = chunk, 0, jax.random.key(0)
        many = jnp.array(seeds)
        make = configs.make(run.config, run.dataset.shape)
        method = population(make, {}, many)
        self.feeds = [setup.feed_of(seeded(run, seed)) for seed in seeds]
        feed = self.feeds[0]._replace(batches=population_batches(self.feeds[0].batches, many))
        self.resident = feed.resident
        self.state = jax.jit(method.init)(self.key)
        self.step = program(method, feed, donate=True)

    def __call__(self) -> Any:
        rows = np.stack([feed.rows(self.done, self.chunk) for feed in self.feeds], axis=1)
        numbers = np.arange(self.done, self.done + self.chunk, dtype=np.int32)
        self.state, _, fine = self.step(self.state, numbers, rows, self.resident, self.key)
        self.done += self.chunk
        return fine


def seeded(run: setup.Run, seed: int) -> setup.Run:
    return run._replace(experiment=run.experiment._replace(seed=seed))


class InTurn:
    """The members one after the other, by one compiled program."""

    def __init__(self, run: setup.Run, seeds: list[int], chunk: int) -> None:
        self.members = [Trainer(seeded(run, seed), chunk) for seed in seeds]
        for member in self.members:
            member.step = self.members[0].step

    def __call__(self) -> Any:
        return [member() for member in self.members][-1]


def same(together: Population, in_turn: InTurn) -> None:
    """Members begin as the runs alone do."""
    for i, member in enumerate(in_turn.members):
        for a, b in zip(
            jax.tree.leaves(together.state), jax.tree.leaves(member.state), strict=True
        ):
            np.testing.assert_allclose(a[i], b, rtol=1e-5, atol=1e-6)


def measured(name: str, members: int, repeats: int, manual_dir: str | None) -> list[Row]:
    experiment, changes, chunk = WORKS[name]
    run = loaded(experiment, changes, manual_dir)
    seeds = list(range(members))
    together, in_turn = Population(run, seeds, chunk), InTurn(run, seeds, chunk)
    assert all(
        run_key(s) == member.run.key for s, member in zip(seeds, in_turn.members, strict=True)
    )
    same(together, in_turn)
    ways = {f"population of {members}": together, f"{members} runs in turn": in_turn}
    return side_by_side.compare(
        f"{experiment}, one run's step", ways, repeats, chunk * members, unit="step of a run"
    )


def main() -> None:
    flags = side_by_side.flags(__doc__)
    flags.add_argument("--works", nargs="+", default=list(WORKS), choices=list(WORKS))
    flags.add_argument("--members", type=int, default=8, help="runs in the population")
    flags.add_argument("--manual-dir", help="a folder with Fashion-MNIST's files")
    options = flags.parse_args()
    print(side_by_side.HEADER)
    rows: list[Row] = []
    try:
        for name in options.works:
            rows += measured(name, options.members, options.repeats, options.manual_dir)
            side_by_side.show(rows[-2:])
    except BadInput as error:
        sys.exit(str(error))
    side_by_side.write(options.json, rows)


if __name__ == "__main__":
    main()
