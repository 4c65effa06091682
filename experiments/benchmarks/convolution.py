"""What the CPU's own lowering of convolutions is worth: milliseconds, native / ours, and the ratio.

    python -m experiments.benchmarks.convolution

First the four convolutions of the InfoGAN networks on 28x28 images, alone and inside a `lax.scan`;
then whole steps of a non-saturating GAN on them, with batch norm in the generator. Takes some
minutes on two cores; the ratios travel, the milliseconds do not. On a GPU both columns would be
native: run it where the default device is a CPU.
"""

import contextlib
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import optax
from jax import lax

from latentgen.networks import conv, convolution

BATCH = 64
STEPS = 5
REPEATS = 5
SHAPES = [
    ("conv 28 -> 14, 1 -> 64", "conv", (28, 28, 1), 64),
    ("conv 14 -> 7, 64 -> 128", "conv", (14, 14, 64), 128),
    ("transposed 7 -> 14, 128 -> 64", "conv_transpose", (7, 7, 128), 64),
    ("transposed 14 -> 28, 64 -> 1", "conv_transpose", (14, 14, 64), 1),
]


PASSES = {
    "forward": lambda f: lambda x, k, dy: f(x, k, stride=2),
    "dW": lambda f: lambda x, k, dy: jax.vjp(partial(f, x, stride=2), k)[1](dy),
    "dX": lambda f: lambda x, k, dy: jax.vjp(partial(f, kernel=k, stride=2), x)[1](dy),
}


def looped(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f` run STEPS times by a scan, each on what came before, so that no run can be left out."""

    def body(nudge, args):
        y = f(*jax.tree.map(lambda a: a * (1 + nudge), args))
        return 1e-20 * sum(jnp.sum(leaf) for leaf in jax.tree.leaves(y))

    return lambda *args: lax.scan(lambda c, _: (body(c, args), None), 0.0, None, STEPS)[0]


def milliseconds(functions: dict[str, Callable[..., Any]], *args: Any) -> dict[str, float]:
    """Median time of each, taken in turns."""
    compiled = {name: jax.jit(f).lower(*args).compile() for name, f in functions.items()}
    times: dict[str, list[float]] = {name: [] for name in compiled}
    for repeat in range(REPEATS + 1):
        for name, f in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(f(*args))
            if repeat:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def row(name: str, native: float, ours: float) -> None:
    print(f"{name:48} {native:9.1f} {ours:9.1f} {native / ours:8.2f}", flush=True)


def layers() -> None:
    for name, operation, shape, features in SHAPES:
        keys = jax.random.split(jax.random.key(0), 3)
        x = jax.random.normal(keys[0], (BATCH, *shape))
        kernel = jax.random.normal(keys[1], (4, 4, shape[-1], features))
        ways = {
            "native": getattr(convolution, f"{operation}_native"),
            "ours": getattr(convolution, operation),
        }
        dy = jax.random.normal(keys[2], ways["ours"](x, kernel, 2).shape)
        for what, of in PASSES.items():
            alone = {way: of(f) for way, f in ways.items()}
            row(f"{name}: {what}", **milliseconds(alone, x, kernel, dy))
            inside = milliseconds({way: looped(f) for way, f in alone.items()}, x, kernel, dy)
            row(f"{name}: {what}, in a scan", *(inside[way] / STEPS for way in ways))


def gan() -> tuple[Callable[..., Any], Any]:
    """One step of a non-saturating GAN, both players, and its initial state."""
    generator = conv.decoder((28, 28, 1), norm="batch", init="normal02")
    discriminator = conv.encoder(outputs=1, init="normal02")
    tx = optax.adam(2e-4, b1=0.5)
    x = jax.random.uniform(jax.random.key(0), (BATCH, 28, 28, 1))
    g, stats = generator.init(jax.random.key(1), jnp.zeros((BATCH, 64)))
    d, _ = discriminator.init(jax.random.key(2), x)

    def score(d, x):
        return discriminator.apply(d, {}, x, train=True)[0]

    def step(state, key):
        g, d, stats, opt_g, opt_d = state
        z = jax.random.uniform(key, (2, BATCH, 64), minval=-1)
        fake, _ = generator.apply(g, stats, z[0], train=True)
        loss_d = lambda d: jnp.mean(  # noqa: E731
            jax.nn.softplus(-score(d, x)) + jax.nn.softplus(score(d, jax.nn.sigmoid(fake)))
        )
        updates, opt_d = tx.update(jax.grad(loss_d)(d), opt_d)
        d = optax.apply_updates(d, updates)

        def loss_g(g):
            fake, moved = generator.apply(g, stats, z[1], train=True)
            return jnp.mean(jax.nn.softplus(-score(d, jax.nn.sigmoid(fake)))), moved

        grads, stats = jax.grad(loss_g, has_aux=True)(g)
        updates, opt_g = tx.update(grads, opt_g)
        return (optax.apply_updates(g, updates), d, stats, opt_g, opt_d), None

    return step, (g, d, stats, tx.init(g), tx.init(d))


def steps() -> None:
    """Steps of the GAN: one a dispatch, in a scan, and four GANs at a time."""
    took = {}
    for way, patch in {"native": True, "ours": False}.items():
        step, state = gan()  # anew: JAX remembers how it traced a function
        keys = jax.random.split(jax.random.key(3), STEPS)
        four = jax.tree.map(lambda a: jnp.stack([a] * 4), state)
        with contextlib.ExitStack() as stack:
            for name in ("conv", "conv_transpose") if patch else ():
                other = getattr(convolution, f"{name}_native")
                stack.enter_context(mock.patch.object(convolution, name, other))
            alone = milliseconds({way: step}, state, keys[0])[way]
            loop = milliseconds({way: lambda s, k: lax.scan(step, s, k)}, state, keys)[way]  # noqa: B023
            many = milliseconds({way: jax.vmap(step, (0, None))}, four, keys[0])[way]
        took[way] = alone, loop / STEPS, many / 4
    names = ("GAN step", "GAN step, in a scan", "GAN step, four GANs at a time, for one")
    for name, native, ours in zip(names, took["native"], took["ours"], strict=True):
        row(name, native, ours)


if __name__ == "__main__":
    print(f"{'milliseconds':48} {'native':>9} {'ours':>9} {'ratio':>8}")
    layers()
    steps()
