"""The compiled program of a chunk: its operations, for every platform."""

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_config import config_of

from latentgen import configs
from latentgen.core.keys import run_key
from latentgen.core.types import Batch, Method
from latentgen.data import pipeline
from latentgen.data.dataset import Examples
from latentgen.data.preprocess import PREPROCESS
from latentgen.training.loop import program

SHAPE = (8, 8, 1)
STEPS = 3
SMALL = {"network": "conv", "channels": (4,), "hidden": (8,)}
CONFIGS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "vae": ("vae", ("encoder", "decoder"), {}),
    "gan": ("gan", ("generator", "discriminator"), {}),
    "r3gan": (
        "gan",
        ("generator", "discriminator"),
        {"loss": "relativistic", "penalty": "r1_r2", "ema_decay": 0.0},
    ),
}
TO_HOST = r"callback|infeed|outfeed|stablehlo\.send|stablehlo\.recv"


@functools.cache
def chunk(name: str) -> tuple[Any, Any]:
    """A program of three steps of small convolutional networks, and its inputs, the state first."""
    file, players, changes = CONFIGS[name]
    config = config_of(file)
    config["method"] |= changes
    for player in players:
        config[player] |= SMALL
    method: Method = configs.experiment(config).plan.wire(SHAPE)
    feed = pipeline.feed(
        Examples(np.zeros((32, *SHAPE), np.uint8), np.zeros(32, np.int32)),
        PREPROCESS["unit"],
        *(8, method.draws, run_key(0)),
    )
    state = jax.eval_shape(method.init, run_key(0))
    inputs = (np.arange(STEPS, dtype=np.int32), feed.rows(0, STEPS), feed.resident, run_key(0))
    return program(method, feed, donate=True), (state, *inputs)


@functools.cache
def lowered(name: str, platform: str) -> Any:
    """The chunk lowered for a platform; each has its own way to compute a convolution."""
    program, inputs = chunk(name)
    return program.trace(*inputs).lower(lowering_platforms=(platform,))


@functools.cache
def text(name: str, platform: str) -> str:
    return lowered(name, platform).as_text()


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_leaves_the_device_within_a_chunk(name: str, platform: str) -> None:
    assert "stablehlo.while" in text(name, platform)
    assert not re.findall(TO_HOST, text(name, platform))


def test_a_call_of_the_host_would_be_seen() -> None:
    def calls(x: jax.Array) -> jax.Array:
        return jax.pure_callback(np.asarray, jax.ShapeDtypeStruct((), jnp.float32), x)

    assert re.findall(TO_HOST, jax.jit(calls).lower(jnp.float32(0)).as_text())


@pytest.mark.parametrize("name", CONFIGS)
def test_accelerators_get_native_convolutions_and_cpus_none(name: str) -> None:
    native = {
        platform: text(name, platform).count("stablehlo.convolution")
        for platform in ("cpu", "cuda", "tpu")
    }
    assert native["cpu"] == 0
    assert native["cuda"] == native["tpu"] >= 5  # forwards, weight gradients, dx


@pytest.mark.parametrize("name", CONFIGS)
def test_a_state_is_held_once(name: str) -> None:
    """Every leaf of the old state is donated to the new one: no second copy."""
    state = chunk(name)[1][0]
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    assert lowered(name, "cpu").compile().memory_analysis().alias_size_in_bytes >= size > 0


def test_the_feed_is_not_copied_for_each_step() -> None:
    """Batches are gathered inside the loop: memory does not grow with the steps of a chunk."""
    method = configs.experiment(config_of("vae")).plan.wire(SHAPE)
    state = jax.eval_shape(method.init, run_key(0))
    examples = Batch(np.zeros((512, *SHAPE), np.uint8), np.zeros(512, np.int32))

    def needed(steps: int) -> int:
        feed = pipeline.feed(Examples(*examples), PREPROCESS["unit"], 64, method.draws, run_key(0))
        inputs = (np.arange(steps, dtype=np.int32), feed.rows(0, steps), feed.resident, run_key(0))
        compiled = program(method, feed, donate=True).lower(state, *inputs).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert needed(64) < needed(8) + 64 * 64  # a batch of one step has 16,384 bytes
