"""Speed of latentgen's lowering of convolutions on a CPU against XLA's native one.

    python -m experiments.benchmarks.convolution [--repeats N] [--json FILE]

First the four convolutions of the InfoGAN networks on 28x28 images, two of them transposed,
alone and inside a `lax.scan`; then whole steps of a non-saturating GAN on them, with batch norm in
the generator. Takes some minutes on two cores; ratios carry over to other machines, seconds do not.
On a GPU both ways would be native: run it where the default device is a CPU.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import optax
from jax import lax

from experiments.benchmarks import side_by_side
from experiments.benchmarks.side_by_side import OURS, Row
from latentgen.networks import conv, convolution

BATCH = 64
STEPS = 5
MANY = 4  # GANs at a time
NATIVE = "native"
SHAPES = [
    ("28 -> 14, 1 -> 64", "conv", (28, 28, 1), 64),
    ("14 -> 7, 64 -> 128", "conv", (14, 14, 64), 128),
    ("7 -> 14, 128 -> 64", "conv_transpose", (7, 7, 128), 64),
    ("14 -> 28, 64 -> 1", "conv_transpose", (14, 14, 64), 1),
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


def compiled(f: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """A call of `f`, which is traced now."""
    program = jax.jit(f).lower(*args).compile()
    return lambda: program(*args)


def layers(repeats: int) -> list[Row]:
    rows = []
    for name, operation, shape, features in SHAPES:
        keys = jax.random.split(jax.random.key(0), 3)
        x = jax.random.normal(keys[0], (BATCH, *shape))
        kernel = jax.random.normal(keys[1], (4, 4, shape[-1], features))
        ways = {
            OURS: getattr(convolution, operation),
            NATIVE: getattr(convolution, f"{operation}_native"),
        }
        args = x, kernel, jax.random.normal(keys[2], ways[OURS](x, kernel, 2).shape)
        for what, of in PASSES.items():
            alone = {way: compiled(of(f), *args) for way, f in ways.items()}
            scan = {way: compiled(looped(of(f)), *args) for way, f in ways.items()}
            found = side_by_side.compare(f"{name}: {what}", alone, repeats, unit="call")
            found += side_by_side.compare(f"{name}: {what}, scan", scan, repeats, STEPS, "call")
            side_by_side.show(found)
            rows += found
    return rows


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


def programs(native: bool) -> list[Callable[[], Any]]:
    """Steps of the GAN: one a dispatch, in a scan, and MANY GANs at a time."""
    step, state = gan()  # anew: JAX remembers how it traced a function
    keys = jax.random.split(jax.random.key(3), STEPS)
    many = jax.tree.map(lambda a: jnp.stack([a] * MANY), state)
    with contextlib.ExitStack() as stack:
        for name in ("conv", "conv_transpose") if native else ():
            other = getattr(convolution, f"{name}_native")
            stack.enter_context(mock.patch.object(convolution, name, other))
        return [
            compiled(step, state, keys[0]),
            compiled(lambda s, k: lax.scan(step, s, k), state, keys),
            compiled(jax.vmap(step, (0, None)), many, keys[0]),
        ]


def steps(repeats: int) -> list[Row]:
    names = {"GAN step": 1, "GAN step, scan": STEPS, f"GAN step, {MANY} GANs at a time": MANY}
    pairs = zip(programs(native=False), programs(native=True), strict=True)
    rows = []
    for (name, units), (ours, native) in zip(names.items(), pairs, strict=True):
        rows += side_by_side.compare(name, {OURS: ours, NATIVE: native}, repeats, units)
        side_by_side.show(rows[-2:])
    return rows


def main() -> None:
    flags = side_by_side.flags(__doc__)
    flags.set_defaults(repeats=5)
    options = flags.parse_args()
    print(side_by_side.HEADER)
    side_by_side.write(options.json, layers(options.repeats) + steps(options.repeats))


if __name__ == "__main__":
    main()
