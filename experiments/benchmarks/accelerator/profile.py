"""Profiles of the two slowest works' kernels, and of transposed convolutions.

jax.lax.conv_transpose lowers to a forward convolution of a dilated input with a kernel that is not
turned around. The same map is the gradient of a forward convolution in its input, for which cuDNN
has routines of its own. Either way JAX derives a weight gradient that is a forward convolution of a
dilated image again; the third form gives it as the weight gradient of that forward convolution. All
forms are compiled, compared and timed here.
"""

import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import lax

from experiments.benchmarks.accelerator import ours, results, trace, works
from experiments.benchmarks.accelerator.parts import Context, Item, Row
from experiments.benchmarks.accelerator.works import PRECISIONS, Work
from latentgen.networks.convolution import conv_native, conv_transpose_native

DEFAULT = ("dcgan", "sngan")  # where nothing has been compared with PyTorch
PRECISION, BATCH, DRY_BATCH = "TF32", 64, 4
SHAPES = [(4, 512, 256), (8, 256, 128), (16, 128, 64), (32, 64, 3)]  # side, channels before, after
DRY_SHAPES = [(4, 8, 4)]
CALLS = 3


def items(context: Context) -> list[Item]:
    """Transposed convolutions in both forms, then the profiles."""
    shapes = DRY_SHAPES if context.dry else SHAPES
    batch = DRY_BATCH if context.dry else BATCH
    found = [
        Item(
            f"transposed convolution {side}x{side}, {i} to {o}, {precision}",
            functools.partial(transposed, (batch, side, i, o), precision, context.dry),
            True,
        )
        for precision in ("TF32", "bfloat16")[: 1 if context.dry else 2]
        for side, i, o in shapes
    ]
    all_works = works.works(context.dry)
    for name in ("mlp_vae",) if context.dry else slowest(context):
        call = functools.partial(profiled, all_works[name], batch)
        found.insert(1, Item(f"profile of {all_works[name].what}", call))
    return found


def slowest(context: Context) -> list[str]:
    """The two timed works that are slowest relative to PyTorch's fastest."""
    names = {work.what: name for name, work in works.works(context.dry).items()}
    found: dict[str, float] = {}
    for row in results.rows(context.results, ["speed"]):
        if row.get("ratios") and row["work"] in names and row["batch"] in (BATCH, DRY_BATCH):
            name = names[row["work"]]
            found[name] = min(found.get(name, np.inf), *row["ratios"].values())
    chosen = sorted(found, key=lambda name: found[name])[:2]
    return [*chosen, *(name for name in DEFAULT if name not in chosen)][:2]


def profiled(work: Work, batch: int) -> list[Row]:
    """Profile the kernels of some calls of a work."""
    ours.build(work.what, work, PRECISION, batch, work.steps)
    trainer = ours.HELD.pop(work.what)
    program = trainer.step.as_text()  # type: ignore[attr-defined]
    jax.block_until_ready(trainer())
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready([trainer() for _ in range(CALLS)])
        run = trace.read(Path(folder))
    seconds = trace.shares(run, trace.scopes(program))
    steps = CALLS * work.steps
    return [
        {
            "work": work.what,
            "batch": batch,
            "precision": PRECISION,
            "kernels_per_step": len(run) / steps,
            "seconds_per_step": {kind: value / steps for kind, value in seconds.items()},
            "longest": trace.longest(run),
            "calls": trace.calls(program),
        }
    ]


def dilated_form(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`conv_transpose_native` as a forward convolution of a dilated image."""
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_transpose(x, kernel, (stride, stride), "SAME", dimension_numbers=layout)


def gradient_form(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`conv_transpose_native` as the gradient of `conv_native` in its input."""
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    n, h, w, _ = x.shape
    image = jax.ShapeDtypeStruct((n, h * stride, w * stride, kernel.shape[-1]), x.dtype)
    (y,) = jax.linear_transpose(lambda y: conv_native(y, turned, stride), image)(x)
    return y


FORMS = {
    "dilated forward": dilated_form,
    "gradient of forward": gradient_form,
    "gradient of forward, both gradients": conv_transpose_native,
}


def transposed(sizes: tuple[int, int, int, int], precision: str, dry: bool) -> list[Row]:
    """Compile and time all forms of a layer, forward and backward."""
    batch, side, i, o = sizes
    keys = jax.random.split(jax.random.key(0), 2)
    products, compute = PRECISIONS[precision]
    x = jax.random.normal(keys[0], (batch, side, side, i), compute)
    kernel = 0.02 * jax.random.normal(keys[1], (4, 4, i, o), compute)
    row: Row = {"layer": f"{side}x{side}, {i} to {o}", "batch": batch, "precision": precision}
    values = {}
    for form, operation in FORMS.items():
        passes = {"forward": operation, "both": differentiated(operation)}
        for name, function in passes.items():
            with jax.default_matmul_precision(products):
                program = jax.jit(functools.partial(function, stride=2)).lower(x, kernel).compile()
            row[f"{form}, {name}: calls"] = trace.calls(program.as_text())
            row[f"{form}, {name}: seconds"] = seconds(program, (x, kernel), 2 if dry else 20)
            if name == "both":
                leaves = jax.tree.leaves(program(x, kernel))
                values[form] = [np.asarray(leaf, np.float64) for leaf in leaves]
    first, *others = values.values()
    error = max(
        float(np.linalg.norm(a - b) / np.linalg.norm(a))
        for other in others
        for a, b in zip(first, other, strict=True)
    )
    tolerance = 1e-2 if precision == "bfloat16" else 3e-3
    return [row | {"check": "all forms are one map", "error": error, "ok": error < tolerance}]


def differentiated(operation: Callable[..., jax.Array]) -> Callable[..., Any]:
    """The layer and its gradients in input and kernel."""

    def both(x: jax.Array, kernel: jax.Array, stride: int) -> Any:
        y, back = jax.vjp(functools.partial(operation, stride=stride), x, kernel)
        return y, back(lax.stop_gradient(y))

    return both


def seconds(program: Any, args: tuple[Any, ...], repeats: int) -> float:
    """Seconds of a call: the median over five rounds of `repeats` calls in a row."""
    jax.block_until_ready(program(*args))
    found = []
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready([program(*args) for _ in range(repeats)])
        found.append((time.perf_counter() - began) / repeats)
    return statistics.median(found)
