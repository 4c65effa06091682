"""Small runs of every method, and how far two of them lie apart."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.accelerator.configs import both, config
from latentgen import configs
from latentgen.core.game import run_chunk
from latentgen.core.keys import run_key
from latentgen.core.types import Batch, Method
from latentgen.storage.checkpoint import by_path, describe

SHAPE, BATCH = (8, 8, 1), 16
CONV = {"network": "conv", "hidden": (16,), "channels": (4, 8)}
RESNET = {"network": "resnet", "hidden": (), "channels": (4,)}
BATCH_NORM = {"norm": "batch"}
PLAIN = {"data.pad_to": 0, "method.ema_images": 0.0, "method.ema_decay": 0.0}

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "vae": ("vae", {}),
    "gan": ("gan", {}),
    "gan, convolutions, batch norm": (
        *("gan", both("generator", "discriminator", **CONV, **BATCH_NORM)),
    ),
    "vae, convolutions": ("vae", both("encoder", "decoder", **CONV)),
    "gan, residual, spectral norm, hinge": (
        "gan",
        {"method.loss": "hinge", "generator.norm": "none", "discriminator.norm": "spectral"}
        | both("generator", "discriminator", **RESNET),
    ),
    "gan, relativistic, R1 and R2": (
        "gan",
        {"method.loss": "relativistic", "method.penalty": "r1_r2", "method.penalty_weight": 5.0}
        | both("generator", "discriminator", **CONV),
    ),
    "gan, R3GAN": (
        "gan:r3gan",
        PLAIN | both("generator", "discriminator", channels=(4, 8), groups=(1, 2)),
    ),
    "gan, StyleGAN2": (
        "gan:stylegan2",
        PLAIN
        | {"method.code_dim": 8, "mapping.width": 8}
        | both("generator", "discriminator", channel_base=64, channel_max=8),
    ),
    "aae": ("hybrids:aae", {}),
    "vaegan": ("hybrids:vaegan", {}),
    "bigan": ("hybrids:bigan", {}),
    "classifier": ("classifier:digits", {"encoder.channels": (4, 8)}),
}
FIRST = ("vae", "gan")
"""Those of a dry run."""

MOVED = {"gan, R3GAN": 0.1}
"""Standard deviation of what is added to initial parameters.

R3GAN's blocks end in convolutions of zeros: gradients further in are 0 but for rounding, and Adam
takes whole steps along it.
"""


class Start(NamedTuple):
    """The initial state and data of a run, in the host's memory."""

    method: Method
    state: Any
    data: Batch
    steps: int


def start(name: str, steps: int) -> Start:
    """The run of this name, initialized on the CPU."""
    method = configs.experiment(config(*METHODS[name])).plan.wire(SHAPE)
    shape = (steps, method.draws, BATCH)
    random = np.random.default_rng(0)
    x = random.random((*shape, *SHAPE), dtype=np.float32)
    label = random.integers(0, 10, shape, dtype=np.int32)
    with jax.default_device(jax.devices("cpu")[0]):
        state = jax.device_get(jax.jit(method.init)(run_key(0)))
    if spread := MOVED.get(name):
        moved = jax.tree.map(
            lambda a: np.asarray(a + spread * random.standard_normal(a.shape), a.dtype),
            state.params,
        )
        state = state._replace(params=moved)
    return Start(method, state, Batch(x, label), steps)


def lowered(begin: Start, device: jax.Device) -> Callable[[], Callable[[], Any]]:
    """The run on this device: call it to compile, and what it returns to train.

    To compile is a call of its own, because programs for two devices can be compiled at a time.
    """
    key = run_key(0)

    def chunk(state: Any, data: Batch) -> Any:
        numbers = jnp.arange(begin.steps)
        return run_chunk(begin.method, lambda _, row, *__: row, state, numbers, data, (), key)[0]

    with jax.default_matmul_precision("highest"), jax.default_device(device):
        args = jax.device_put((begin.state, begin.data), device)
        program = jax.jit(chunk).lower(*args)

    def compile_() -> Callable[[], Any]:
        run = program.compile()
        return lambda: jax.device_get(run(*args))

    return compile_


def apart(begin: Any, a: Any, b: Any) -> dict[str, float]:
    """Distance of each leaf of a from b, relative to the distance of b from `begin`.

    |a - b| / |b - begin|, in the Euclidean norm; of a leaf that has not moved |a - b| / |b|, and of
    integers 0 or infinity.
    """
    found = {}
    ways = zip(*(by_path(tree).items() for tree in (begin, a, b)), strict=True)
    for (path, first), (_, x), (_, y) in ways:
        first, x, y = np.asarray(first), np.asarray(x), np.asarray(y)
        if not np.issubdtype(y.dtype, np.floating):
            found[path] = 0.0 if np.array_equal(x, y) else np.inf
            continue
        error = np.linalg.norm(np.float64(x) - y)
        way = np.linalg.norm(np.float64(y) - first) or np.linalg.norm(np.float64(y))
        found[path] = float(error / way) if error else 0.0
    return {path: value if value == value else np.inf for path, value in found.items()}


def digest(state: Any) -> str:
    """SHA-256 of all leaves' bytes."""
    leaves = sorted((path, leaf["sha256"]) for path, leaf in describe(state).items())
    return hashlib.sha256(repr(leaves).encode()).hexdigest()
