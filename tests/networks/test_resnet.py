"""Residual networks: against the papers' order of operations in native ones, blocks, counts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from latentgen.core.errors import BadInput
from latentgen.networks import convolution, resnet
from latentgen.networks.mlp import style
from latentgen.networks.net import from_linen

KEY = jax.random.key(0)
SIDES = ["encoder", "decoder"]
NORMS = [(side, norm) for side in SIDES for norm in ("batch", "spectral")]


def small(side, channels=(4, 8), dense=(16,), x_dtype=jnp.float32, **options):
    """A small network and an input for it."""
    rng = np.random.default_rng(7)
    if side == "encoder":
        x, net = rng.normal(size=(6, 8, 8, 1)), partial(resnet.encoder, outputs=3)
    else:
        x, net = rng.normal(size=(6, 5)), partial(resnet.decoder, (8, 8, 1))
    return net(channels=channels, dense=dense, **options), jnp.asarray(x, x_dtype)


def start(net, x):
    """Parameters and stats of a net's own shapes, in the dtype of x."""
    rng = np.random.default_rng(0)

    def fill(like):
        if like.ndim > 1:
            value = rng.normal(0, (like.shape[-1] / like.size) ** 0.5, like.shape)
        else:
            value = rng.uniform(0.5, 1.5, like.shape)
        return jnp.asarray(value, x.dtype)

    return jax.tree.map(fill, jax.eval_shape(net.init, KEY, x))


def same(a, b):
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def size(tree):
    return sum(a.size for a in jax.tree.leaves(tree))


def native(x, layer):
    y = lax.conv_general_dilated(
        x, layer["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + layer["bias"].reshape(1, 1, 1, -1)


def dense(x, layer):
    return x @ layer["Dense_0"]["kernel"] + layer["Dense_0"]["bias"][None]


def pooled(x):
    return lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4


def enlarged(x):
    return jax.image.resize(x, (len(x), 2 * x.shape[1], 2 * x.shape[2], x.shape[3]), "nearest")


@pytest.mark.parametrize(("pixels", "channels"), [(28, 1), (32, 3)])
def test_shapes(pixels, channels):
    shape = (pixels, pixels, channels)
    encoder, decoder = resnet.encoder(outputs=3), resnet.decoder(shape, (128, 64), (16,))
    for net, inputs, expected in ((encoder, shape, (3,)), (decoder, (5,), shape)):
        x = jnp.zeros((2, *inputs))
        params, stats = jax.eval_shape(net.init, KEY, x)
        y, _ = jax.eval_shape(lambda *a, net=net: net.apply(*a, train=True), params, stats, x)
        assert y.shape == (2, *expected)


def test_number_of_parameters():
    def conv(k, i, o):
        return k * k * i * o + o

    params, _ = jax.eval_shape(small("encoder")[0].init, KEY, jnp.ones((1, 8, 8, 1)))
    first = conv(3, 1, 4) + conv(3, 4, 4) + conv(1, 1, 4)
    second = conv(3, 4, 8) + conv(3, 8, 8) + conv(1, 4, 8)
    third = 2 * conv(3, 8, 8)
    assert size(params) == first + second + third + (8 * 16 + 16) + (16 * 3 + 3)

    # Appendix of arXiv:1802.05957: codes of 128, dense 4 x 4 x 256, three blocks up, 3x3 to 3.
    generator = resnet.decoder((32, 32, 3), norm="batch")
    params, _ = jax.eval_shape(generator.init, KEY, jnp.ones((1, 128)))
    norms, inner_biases = 7 * 2 * 256, 3 * 256  # before a norm a bias does nothing
    block = 2 * conv(3, 256, 256) + conv(1, 256, 256)
    linear = 128 * 4096 + 4096
    assert size(params) == linear + 3 * block + conv(3, 256, 3) + norms - inner_biases


@pytest.mark.parametrize("k", [1, 3])
def test_convolutions_are_the_native_ones(k):
    rng = np.random.default_rng(k)
    x = jnp.asarray(rng.normal(size=(2, 4, 6, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(k, k, 3, 5)), jnp.float32)
    expected = native(x, {"kernel": kernel, "bias": jnp.zeros(5)})
    for way in (convolution.conv, convolution.conv_native):
        np.testing.assert_allclose(way(x, kernel, 1), expected, rtol=1e-4, atol=1e-5)


def test_the_encoder_in_the_order_of_the_papers():
    net, x = small("encoder")
    p, stats = start(net, x)
    relu = jax.nn.relu

    @jax.jit
    def reference(p, x):
        a, b, c = (p[f"Block_{i}"] for i in range(3))
        y = pooled(native(relu(native(x, a["Conv_0"])), a["Conv_1"]))
        x = native(pooled(x), a["Conv_2"]) + y
        y = pooled(native(relu(native(relu(x), b["Conv_0"])), b["Conv_1"]))
        x = pooled(native(x, b["Conv_2"])) + y
        x = x + native(relu(native(relu(x), c["Conv_0"])), c["Conv_1"])
        return dense(relu(dense(relu(x).sum((1, 2)), p["Hidden_0"])), p["Linear_0"])

    y, _ = jax.jit(partial(net.apply, train=True))(p, stats, x)
    np.testing.assert_allclose(y, reference(p, x), rtol=1e-3, atol=1e-4)


def test_the_decoder_in_the_order_of_the_papers():
    net, z = small("decoder")
    p, stats = start(net, z)
    relu = jax.nn.relu

    @jax.jit
    def reference(p, z):
        x = dense(relu(dense(z, p["Hidden_0"])), p["Linear_0"]).reshape(-1, 2, 2, 8)
        for block in (p["Block_0"], p["Block_1"]):
            y = native(relu(native(enlarged(relu(x)), block["Conv_0"])), block["Conv_1"])
            x = native(enlarged(x), block["Conv_2"]) + y
        return native(relu(x), p["Conv_0"])

    y, _ = jax.jit(partial(net.apply, train=True))(p, stats, z)
    np.testing.assert_allclose(y, reference(p, z), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("resize", "features", "data"),
    [
        ("halve", 5, True),
        ("halve", 3, False),
        ("double", 3, False),
        ("double", 5, False),
        ("keep", 3, False),
        ("keep", 5, False),
    ],
)
def test_a_block_without_its_residual_is_its_shortcut(resize, features, data):
    how = style("relu", "none", 0.0, "lecun", jnp.float32)
    net = from_linen(resnet.Block(features, how, resize, data))
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    params, _ = start(net, jnp.asarray(x))
    zeros = jax.tree.map(jnp.zeros_like, params)
    shortcut = {name: params[name] for name in params if name == "Conv_2"}
    y, _ = jax.jit(partial(net.apply, train=True))(zeros | shortcut, {}, jnp.asarray(x))
    expected = x
    if resize == "halve":
        expected = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
    if resize == "double":
        expected = np.kron(x, np.ones((1, 2, 2, 1)))
    assert bool(shortcut) == (resize != "keep" or features != 3)
    if shortcut:
        expected = expected @ np.asarray(params["Conv_2"]["kernel"])[0, 0]
        expected = expected + np.asarray(params["Conv_2"]["bias"])
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_what_is_normalized():
    encoder, x = small("encoder", norm="batch")
    params, stats = jax.eval_shape(encoder.init, KEY, x)
    assert set(stats["batch_stats"]) == {"Block_1", "Block_2", "Hidden_0"}
    assert set(stats["batch_stats"]["Block_1"]) == {"BatchNorm_0", "BatchNorm_1"}
    for block, biases in (("Block_0", (1, 1, 1)), ("Block_1", (0, 1, 1)), ("Block_2", (0, 1))):
        found = tuple("bias" in params[block][f"Conv_{i}"] for i in range(len(biases)))
        assert found == tuple(map(bool, biases))
    decoder, z = small("decoder", norm="batch")
    params, stats = jax.eval_shape(decoder.init, KEY, z)
    assert set(stats["batch_stats"]) == {"Hidden_0", "Block_0", "Block_1", "BatchNorm_0"}
    assert "bias" in params["Linear_0"]["Dense_0"]
    assert "bias" in params["Conv_0"]


@pytest.mark.parametrize(("side", "norm"), NORMS)
def test_purity(side, norm):
    net, x = small(side, (4,), (), norm=norm, dropout=0.2)
    params, stats = start(net, x)

    @jax.jit
    def run(params, stats):
        y, kept = net.apply(params, stats, x, train=False)
        assert kept is stats
        noisy, moved = net.apply(params, stats, x, train=True, key=KEY)
        return y, noisy, moved

    y, noisy, moved = run(params, stats)
    assert jax.tree.structure(moved) == jax.tree.structure(stats)
    assert not same(moved, stats)
    assert not same(y, noisy)


@pytest.mark.parametrize(("side", "norm"), [*NORMS, ("encoder", "none"), ("encoder", "layer")])
@pytest.mark.quick(2)
def test_a_penalty_on_the_slope_has_its_gradient(side, norm):
    with jax.enable_x64(True):
        dtype = jnp.float64
        net, x = small(side, (3,), (), dtype, norm=norm, activation="softplus", dtype=dtype)
        params, stats = start(net, x)
        rng = np.random.default_rng(1)
        way = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), params)

        def penalty(t):
            moved = jax.tree.map(lambda a, d: a + t * d, params, way)
            value = lambda x: jnp.sum(net.apply(moved, stats, x, train=True)[0])  # noqa: E731
            return jnp.sum(jax.grad(value)(x) ** 2)

        run, t = jax.jit(jax.value_and_grad(penalty)), 1e-5
        slope = run(0.0)[1]
        assert abs(slope) > 1e-3
        if norm != "spectral":  # whose gradient holds something fixed: see test_spectral.py
            difference = (run(t)[0] - run(-t)[0]) / (2 * t)
            np.testing.assert_allclose(slope, difference, rtol=1e-5)


@pytest.mark.parametrize(("side", "norm"), NORMS)
@pytest.mark.quick(2)
def test_bfloat16(side, norm):
    narrow, x = small(side, (4,), norm=norm, dtype=jnp.bfloat16)
    wide, _ = small(side, (4,), norm=norm)
    params, stats = start(wide, x)

    @jax.jit
    def run(p):
        return [net.apply(p, stats, x, train=True) for net in (narrow, wide)]

    (y, moved), (expected, _) = run(params)
    assert {a.dtype.name for a in jax.tree.leaves((y, moved))} == {"float32"}
    error = jnp.linalg.norm(y - expected) / jnp.linalg.norm(expected)
    assert 0 < error < 0.03


@pytest.mark.parametrize("size", [(30, 28, 1), (28, 6, 1), (28, 28)])
def test_refuses_images_that_do_not_halve(size):
    text = "x".join(map(str, size))
    with pytest.raises(BadInput, match=text):
        resnet.decoder(size, (4, 4))
    if len(size) == 3:
        with pytest.raises(BadInput, match=text):
            jax.eval_shape(resnet.encoder((4, 4), outputs=1).init, KEY, jnp.ones((2, *size)))


def test_refuses_no_channels():
    for make in (partial(resnet.encoder, outputs=1), partial(resnet.decoder, (8, 8, 1))):
        with pytest.raises(BadInput, match=r"channels=\(\)"):
            make(())
