"""Spectral normalization: against SVDs, a step by hand, finite differences; scan and vmap."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.networks import DECODERS, ENCODERS, convolution, mlp
from latentgen.networks.conv import Conv
from latentgen.networks.net import from_linen
from latentgen.networks.norms import linear

KEY = jax.random.key(0)
KINDS = [("mlp", "encoder"), ("conv", "encoder"), ("conv", "decoder"), ("resnet", "encoder")]


def twins(kind, side, **options):
    """A small network with the norm 'spectral', the same without a norm, and an input."""
    widths = {"hidden": (7,)} if kind == "mlp" else {"channels": (3, 4), "dense": (7,)}
    rng = np.random.default_rng(0)
    if side == "encoder":
        x, make = rng.normal(size=(2, 8, 8, 2)), partial(ENCODERS[kind], outputs=3)
    else:
        x, make = rng.normal(size=(2, 5)), partial(DECODERS[kind], (8, 8, 2))
    nets = [make(**widths, **options, norm=norm) for norm in ("spectral", "none")]
    return *nets, jnp.asarray(x, options.get("dtype", jnp.float32))


def start(net, x, seed=0):
    """Parameters and stats of a net's own shapes, in the dtype of x."""
    rng = np.random.default_rng(seed)
    like = jax.eval_shape(net.init, KEY, x)
    return jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), x.dtype), like)


def trained(net, params, stats, x, n):
    """The stats after n applications in training."""

    @jax.jit
    def run(stats):
        move = lambda stats, _: (net.apply(params, stats, x, train=True)[1], None)  # noqa: E731
        return jax.lax.scan(move, stats, None, length=n)[0]

    return run(stats)


def matrix(kernel):
    return np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])


def largest(kernel):
    return np.linalg.svd(matrix(kernel), compute_uv=False)[0]


def divided(params, sigma):
    """`params` with each kernel divided by sigma(path, kernel)."""

    def divide(path, a):
        keys = [entry.key for entry in path]
        return a / sigma(keys, a) if keys[-1] == "kernel" else a

    return jax.tree_util.tree_map_with_path(divide, params)


@pytest.mark.parametrize(("kind", "side"), KINDS)
def test_every_kernel_is_divided_by_its_largest_singular_value(kind, side):
    net, plain, x = twins(kind, side)
    params, stats = start(net, x)
    assert jax.tree.structure(params) == jax.tree.structure(start(plain, x)[0])
    kernels = [a for a in jax.tree.leaves(params) if a.ndim > 1]
    assert all(abs(largest(a) - 1) > 0.1 for a in kernels)
    assert len(jax.tree.leaves(stats)) == 2 * len(kernels)
    stats = trained(net, params, stats, x[:1], 300)
    expected = divided(params, lambda _, kernel: np.float32(largest(kernel)))
    y, _ = jax.jit(partial(net.apply, train=False))(params, stats, x)
    y_, _ = jax.jit(partial(plain.apply, train=False))(expected, {}, x)
    np.testing.assert_allclose(y, y_, rtol=1e-3, atol=1e-4)


def test_the_kernel_of_a_dense_layer_by_its_basis():
    net = mlp.encoder((), outputs=4, norm="spectral")
    x = jnp.concatenate([jnp.eye(6), jnp.zeros((1, 6))])
    params, stats = start(net, x)
    y, _ = net.apply(params, trained(net, params, stats, x, 200), x, train=False)
    kernel = y[:-1] - y[-1:]
    np.testing.assert_allclose(largest(kernel), 1, atol=1e-3)
    whole = params["Linear_0"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(kernel * largest(whole), whole, atol=1e-3)


class Convolution(nn.Module):
    """One 3x3 convolution."""

    @nn.compact
    def __call__(self, x, train):
        init = nn.initializers.lecun_normal()
        layer = Conv(4, convolution.conv, init, False, jnp.float32, size=3, stride=1)
        return linear(layer, "spectral", x, train)


def test_the_kernel_of_a_convolution_by_its_impulses():
    net = from_linen(Convolution())
    x = np.zeros((2, 5, 5, 2), np.float32)
    x[0, 2, 2, 0] = x[1, 2, 2, 1] = 1
    x = jnp.asarray(x)
    params, stats = start(net, x)
    y, _ = net.apply(params, trained(net, params, stats, x, 200), x, train=False)
    kernel = np.asarray(y)[:, 3:0:-1, 3:0:-1].transpose(1, 2, 0, 3)  # y[p] = kernel[3 - p]
    np.testing.assert_allclose(largest(kernel), 1, atol=1e-3)
    whole = params["Conv_0"]["kernel"]
    np.testing.assert_allclose(kernel * largest(whole), whole, atol=1e-3)


def iterated(w, u):
    """sigma and the next u of one power iteration."""
    v = w @ u / np.linalg.norm(w @ u)
    u = w.T @ v / np.linalg.norm(w.T @ v)
    return v @ w @ u, u


def test_one_iteration_for_each_application():
    net = mlp.encoder((), outputs=4, norm="spectral")
    x = jnp.asarray(np.random.default_rng(1).normal(size=(5, 6)), jnp.float32)
    params, stats = start(net, x)
    layer = params["Linear_0"]["Dense_0"]
    w, b = matrix(layer["kernel"]), np.asarray(layer["bias"])[None]

    def held(stats):
        return stats["batch_stats"]["Linear_0"]["SpectralNorm_0"]["Dense_0/kernel/u"][0]

    u = np.asarray(held(stats), np.float64)
    for _ in range(3):
        sigma, following = iterated(w, u)
        # Evaluation does the iteration too, and forgets it.
        for train in (False, True):
            y, stats = net.apply(params, stats, x, train=train)
            np.testing.assert_allclose(y, np.asarray(x) @ w / sigma + b, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(held(stats), following if train else u, rtol=1e-4, atol=1e-5)
        u = following


def value(net, stats, x, params):
    """A loss and a penalty on its slope."""

    def loss(x):
        return jnp.sum(jnp.sin(net.apply(params, stats, x, train=True)[0]))

    return loss(x) + jnp.sum(jax.grad(loss)(x) ** 2)


@pytest.mark.parametrize(("kind", "side"), KINDS[:3])
def test_gradients_hold_the_singular_vectors_fixed(kind, side):
    with jax.enable_x64(True):
        net, plain, x = twins(kind, side, activation="tanh", dtype=jnp.float64)
        params, stats = start(net, x)
        way = start(net, x, seed=1)[0]

        fixed = {}

        def note(keys, kernel):
            *outer, layer, _ = keys
            node = stats["batch_stats"]
            for key in outer:
                node = node[key]
            (u,) = [m[name][0] for m in node.values() for name in m if name == f"{layer}/kernel/u"]
            w = matrix(kernel)
            v = w @ u / np.linalg.norm(w @ u)
            fixed[tuple(keys)] = v, w.T @ v / np.linalg.norm(w.T @ v)
            return 1.0

        divided(params, note)

        def sigma(keys, kernel):
            v, u = fixed[tuple(keys)]
            return v @ kernel.reshape(-1, kernel.shape[-1]) @ u

        @jax.jit
        def independent(t):
            moved = jax.tree.map(lambda a, d: a + t * d, params, way)
            return value(plain, {}, x, divided(moved, sigma))

        gradient = jax.jit(jax.grad(partial(value, net, stats, x)))(params)
        along = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, gradient, way)))
        t = 1e-5
        assert abs(along) > 1e-3
        np.testing.assert_allclose(along, (independent(t) - independent(-t)) / (2 * t), rtol=1e-5)


def test_within_vmap_as_alone():
    net, _, x = twins("conv", "encoder")
    each = [start(net, x, seed) for seed in range(3)]
    params, stats = jax.tree.map(lambda *a: jnp.stack(a), *each)
    step = jax.jit(lambda p, s: net.apply(p, s, x, train=True))
    y, moved = jax.jit(jax.vmap(step))(params, stats)
    for i, alone in enumerate(each):
        got = jax.tree.map(lambda a, i=i: a[i], (y, moved))
        for a, b in zip(*map(jax.tree.leaves, (got, step(*alone))), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
