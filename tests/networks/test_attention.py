"""Self-attention, conditional batch norm and the networks that have them, against NumPy."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentgen.core.errors import BadInput
from latentgen.networks import biggan, sngan
from latentgen.networks.attention import SelfAttention
from latentgen.networks.mlp import INITS
from latentgen.networks.net import from_linen
from latentgen.networks.norms import ConditionalBatchNorm

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def filled(net, *inputs):
    shapes = jax.eval_shape(net.init, KEY, *inputs)
    return jax.tree.map(lambda a: jnp.asarray(normal(*a.shape)), shapes)


def test_attention_pixel_by_pixel():
    net, x = from_linen(SelfAttention(jnp.float32, INITS["glorot"])), normal(2, 4, 6, 16)
    params, _ = filled(net, jnp.asarray(x))
    y, _ = jax.jit(partial(net.apply, train=True))(params, {}, jnp.asarray(x))
    q, k, v, o = (
        np.asarray(params[n]["kernel"])[0, 0] for n in ("query", "key", "value", "output")
    )
    assert [w.shape for w in (q, k, v, o)] == [(16, 2), (16, 2), (16, 8), (8, 16)]
    for image, out in zip(x, np.asarray(y), strict=True):
        cells = [(slice(a, a + 2), slice(b, b + 2)) for a in (0, 2) for b in (0, 2, 4)]
        keys = np.stack([(image[cell] @ k).max((0, 1)) for cell in cells])
        values = np.stack([(image[cell] @ v).max((0, 1)) for cell in cells])
        for a, b in ((0, 0), (3, 5), (2, 1)):
            logits = keys @ (image[a, b] @ q)
            weights = np.exp(logits - logits.max())
            expected = image[a, b] + float(params["gamma"]) * weights @ values / weights.sum() @ o
            np.testing.assert_allclose(out[a, b], expected, rtol=1e-3, atol=1e-3)


def test_attention_starts_as_the_identity():
    net, x = (
        from_linen(SelfAttention(jnp.float32, INITS["glorot"])),
        jnp.asarray(normal(1, 4, 4, 8)),
    )
    y, _ = net.apply(*net.init(KEY, x), x, train=True)
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("shape", [(1, 3, 4, 8), (1, 4, 4, 7)])
def test_attention_refuses_what_it_cannot_halve(shape):
    net = from_linen(SelfAttention(jnp.float32, INITS["glorot"]))
    with pytest.raises(BadInput, match="even sides and at least 8 channels"):
        jax.eval_shape(net.init, KEY, jnp.zeros(shape))


def test_conditional_batch_norm_and_its_averages():
    net = from_linen(ConditionalBatchNorm(jnp.float32, 0.1))
    x, c = normal(3, 4, 2, 5) + 2, normal(3, 4)
    params, stats = filled(net, jnp.asarray(x), jnp.asarray(c))
    stats = jax.tree.map(jnp.abs, stats)
    gain, bias = (c @ np.asarray(params[name]["kernel"]) for name in ("gain", "bias"))

    def by_moments(mean, var):
        y = (x - mean) / np.sqrt(var + 0.1)
        return y * (1 + gain)[:, None, None] + bias[:, None, None]

    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    y, moved = net.apply(params, stats, jnp.asarray(x), jnp.asarray(c), train=True)
    np.testing.assert_allclose(y, by_moments(mean, var), rtol=1e-3, atol=1e-4)
    before, after = (s["batch_stats"]["Standardize_0"] for s in (stats, moved))
    np.testing.assert_allclose(after["mean"], 0.9 * before["mean"] + 0.1 * mean, rtol=1e-5)
    unbiased = x.var((0, 1, 2), ddof=1)
    np.testing.assert_allclose(after["var"], 0.9 * before["var"] + 0.1 * unbiased, rtol=1e-5)
    y, _ = net.apply(params, moved, jnp.asarray(x), jnp.asarray(c), train=False)
    expected = by_moments(np.asarray(after["mean"]), np.asarray(after["var"]))
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-4)


def test_kernels_start_at_right_angles():
    params, _ = jax.jit(sngan_like_init)(KEY)
    kernel = np.asarray(params["DiscriminatorBlock_1"]["Conv_0"]["kernel"]).reshape(-1, 8)
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(8), atol=1e-5)


def sngan_like_init(key):
    return biggan.discriminator(outputs=1, width=2).init(key, jnp.zeros((1, 8, 8, 3)))


@pytest.mark.parametrize("side", [8, 16, 32, 64, 128, 256])
@pytest.mark.parametrize("condition", [{}, {"shared": 6}, {"shared": 6, "hierarchical": True}])
@pytest.mark.quick(2)
def test_biggan_at_every_size(side, condition):
    shape, classes, dim = (side, side, 1), 3, 840  # 840 splits into 2 to 8
    g = biggan.generator(shape, width=1, classes=classes, **condition)
    d = biggan.discriminator(outputs=1, width=1, classes=classes)
    z, hot = jnp.zeros((2, dim + classes)), jnp.zeros((2, classes))

    def run(key):
        x, _ = g.apply(*g.init(key, z), z, train=True)
        logits, _ = d.apply(*d.init(key, x, hot), x, hot, train=True)
        return x, logits

    x, logits = jax.eval_shape(run, KEY)
    assert (x.shape, logits.shape) == ((2, *shape), (2, 1))


def test_without_classes_a_split_code_still_conditions():
    g = biggan.generator((8, 8, 1), width=1, hierarchical=True)
    z = jnp.asarray(normal(3, 4))
    params, stats = filled(g, z)
    run = jax.jit(partial(g.apply, train=False))
    moved = run(params, jax.tree.map(jnp.abs, stats), z.at[:, 3].add(1.0))[0]
    assert not np.allclose(moved, run(params, jax.tree.map(jnp.abs, stats), z)[0])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: biggan.generator((8, 8, 1), classes=3, hierarchical=True), "needs shared above 0"),
        (lambda: biggan.generator((8, 8, 1), attention=(2,)), r"attention=\(2,\).* from 1 to 1"),
        (lambda: biggan.generator((512, 512, 3)), "at most 7 x 64 pixels"),
        (lambda: biggan.generator((36, 36, 3)), "the nearest sides"),
        (lambda: biggan.generator((8, 8, 1), init="eye"), "init='eye'"),
        (lambda: biggan.discriminator(outputs=1, width=0), "width=0"),
        (lambda: sngan.generator((8, 8, 1), width=0), "width=0"),
        (lambda: split_in_three().init(KEY, jnp.zeros((1, 5))), "codes of 5 coordinates"),
    ],
)
def test_refuses_in_one_line(make, match):
    with pytest.raises(BadInput, match=match) as caught:
        make()
    assert "\n" not in str(caught.value)


def split_in_three():
    return biggan.generator((16, 16, 1), width=1, hierarchical=True)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["sngan", "biggan"])
def test_bfloat16(kind):
    x, hot = jnp.asarray(normal(4, 8, 8, 1)), jnp.eye(3)[np.array([0, 1, 2, 0])]
    z = jnp.concatenate([jnp.asarray(normal(4, 6)), hot], axis=1)
    module = {"sngan": sngan, "biggan": biggan}[kind]
    for make, inputs in (
        (partial(module.generator, (8, 8, 1), width=4, classes=3), (z,)),
        (partial(module.discriminator, outputs=1, width=4), (x, hot)),
    ):
        wide, narrow = make(), make(dtype=jnp.bfloat16)
        params, stats = wide.init(KEY, *inputs)
        run = jax.jit(
            lambda p, s, a=inputs, n=(wide, narrow): [m.apply(p, s, *a, train=True) for m in n]
        )
        (expected, _), (y, moved) = run(params, stats)
        assert {a.dtype.name for a in jax.tree.leaves((y, moved))} == {"float32"}
        error = jnp.linalg.norm(y - expected) / jnp.linalg.norm(expected)
        assert 0 < error < 0.05
