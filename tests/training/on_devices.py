"""Run with 8 virtual devices by test_mesh.py: what a chunk's program says between devices."""

import json
import re
import sys

import jax
import numpy as np
from test_config import config_of

from latentgen import configs
from latentgen.core.keys import run_key
from latentgen.data import pipeline
from latentgen.data.dataset import Examples
from latentgen.data.preprocess import PREPROCESS
from latentgen.training import loop, mesh

COLLECTIVE = re.compile(
    r"= (.*?) (all-reduce|all-gather|all-to-all|collective-\w+|reduce-scatter)(-start)?\("
)
PLAYERS = {"vae": ("encoder", "decoder"), "gan": ("generator", "discriminator")}
BATCH, STEPS, SHAPE = 32, 3, (8, 8, 1)
mesh.LARGE = 256  # so that small networks have large parameters


def setting(name: str, norm: str, devices: int, fsdp: int, stream_above: int) -> tuple:
    """(program, state, steps, rows, resident, key) of a small method on so many devices."""
    file, _, variant = name.partition(":")
    config = config_of(file, *filter(None, (variant,)))
    for player in PLAYERS[file]:
        config[player] |= {"hidden": (16,), "norm": norm}
    where = mesh.make(devices, fsdp)
    method = mesh.shard_method(configs.experiment(config).plan.wire(SHAPE), where)
    x = np.random.default_rng(0).integers(0, 256, (64, *SHAPE)).astype(np.uint8)
    feed = pipeline.feed(
        *(Examples(x, np.zeros(64, np.int32)), PREPROCESS["unit"], BATCH, method.draws, run_key(0)),
        stream_above,
        mesh.placement(where, BATCH),
    )
    state = jax.jit(method.init)(run_key(0))
    rows = feed.rows(0, STEPS)
    steps = np.arange(STEPS, dtype=np.int32)
    return loop.program(method, feed, True), state, steps, rows, feed.resident, run_key(0)


def collectives(text: str) -> list[tuple[str, list]]:
    """Each collective within the loop over steps: its kind, and the shapes that it carries."""
    found = []
    for line in text.splitlines():
        if (match := COLLECTIVE.search(line)) and "/while/" in line:
            shapes = re.findall(r"\w+\[([\d,]*)\]", match[1])
            found.append((match[2], [[int(n) for n in s.split(",") if n] for s in shapes]))
    return found


def done(name: str, norm: str, devices: int, fsdp: int, kind: str) -> dict:
    """A chunk: what devices say in it, metrics, state, how it lies before and after."""
    above = {"resident": 2**30, "streamed": 0}[kind]
    program, state, *inputs = setting(name, norm, devices, fsdp, above)
    before, old = [str(x.sharding) for x in jax.tree.leaves(state)], jax.tree.leaves(state)
    program = program.lower(state, *inputs).compile()
    state, metrics, fine = program(state, *inputs)
    leaves = jax.tree.leaves(state)
    return {
        "collectives": collectives(program.as_text()),
        "donated": all(x.is_deleted() for x in old),
        "stays": before == [str(x.sharding) for x in leaves],
        "split": sum(not x.is_fully_replicated for x in leaves),
        "held": sum(x.addressable_shards[0].data.size for x in leaves),
        "fine": bool(fine),
        "metrics": {k: np.asarray(v).tolist() for k, v in metrics.items()},
        "state": [np.asarray(x).tolist() for x in jax.tree.leaves(mesh.local(state))],
    }


if __name__ == "__main__":
    settings = (
        *(("vae:iwae", "none", 8, 1, "streamed"), ("vae:iwae", "none", 1, 1, "resident")),
        *(("gan", "none", 8, 1, "resident"), ("gan", "none", 8, 2, "resident")),
        *(("gan", "batch", 1, 1, "resident"), ("gan", "batch", 8, 1, "resident")),
        ("gan", "batch", 4, 4, "streamed"),
    )
    json.dump({" ".join(map(str, s)): done(*s) for s in settings}, sys.stdout)
