"""Networks as pure functions: shapes, norms, dropout, dtypes, refusals."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from latentgen.core.errors import BadInput
from latentgen.core.types import Net
from latentgen.networks import DECODERS, ENCODERS, conv, mlp

KEY = jax.random.key(0)


def same(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: bool((x == y).all()), a, b)))


def small(kind: str, side: str, shape=(8, 8, 1), **options) -> tuple[Net, jax.Array]:
    """A small network and an input for it."""
    widths = {"hidden": (16,)} if kind == "mlp" else {"channels": (4, 8), "dense": (16,)}
    if side == "encoder":
        x = jax.random.normal(jax.random.key(7), (6, *shape))
        return ENCODERS[kind](outputs=3, **widths, **options), x
    z = jax.random.normal(jax.random.key(7), (6, 5))
    return DECODERS[kind](shape, **widths, **options), z


def start(net: Net, *inputs):
    """Parameters and stats of a net's own shapes and dtypes, without the cost of drawing them."""
    rng = np.random.default_rng(0)

    def fill(like):
        if like.ndim > 1:
            value = rng.normal(0, like.size**-0.5 * like.shape[-1] ** 0.5, like.shape)
        else:
            value = rng.uniform(0.5, 1.5, like.shape)
        return jnp.asarray(value, like.dtype)

    return jax.tree.map(fill, jax.eval_shape(net.init, KEY, *inputs))


@pytest.mark.parametrize("kind", ["mlp", "conv", "resnet"])
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (28, 3), (32, 1)])
def test_shapes(kind, size, channels):
    shape = (size, size, channels)
    encoder, x = small(kind, "encoder", shape)
    decoder, z = small(kind, "decoder", shape)
    for net, inputs, expected in ((encoder, x, (6, 3)), (decoder, z, (6, *shape))):
        params, stats = jax.eval_shape(net.init, KEY, inputs)
        y, _ = jax.eval_shape(lambda *a, net=net: net.apply(*a, train=True), params, stats, inputs)
        assert y.shape == expected


def test_infogan_shapes():
    params, _ = jax.eval_shape(conv.encoder(outputs=1).init, KEY, jnp.ones((1, 28, 28, 1)))
    kernels = {a.shape for a in jax.tree.leaves(params) if a.ndim > 1}
    assert kernels == {(4, 4, 1, 64), (4, 4, 64, 128), (6272, 1024), (1024, 1)}
    params, _ = jax.eval_shape(conv.decoder((28, 28, 1)).init, KEY, jnp.ones((1, 64)))
    kernels = {a.shape for a in jax.tree.leaves(params) if a.ndim > 1}
    assert kernels == {(64, 1024), (1024, 6272), (4, 4, 128, 64), (4, 4, 64, 1)}


def test_number_of_parameters():
    encoder = mlp.encoder((400,), outputs=40)
    params, stats = jax.eval_shape(encoder.init, KEY, jnp.ones((1, 28, 28, 1)))
    assert sum(a.size for a in jax.tree.leaves(params)) == 784 * 400 + 400 + 400 * 40 + 40
    assert stats == {}


def test_mlp_by_hand():
    net, x = small("mlp", "encoder")
    params, _ = start(net, x)
    w1, b1, w2, b2 = (
        np.asarray(params[layer]["Dense_0"][name])
        for layer in ("Hidden_0", "Linear_0")
        for name in ("kernel", "bias")
    )
    expected = np.maximum(np.asarray(x).reshape(6, -1) @ w1 + b1, 0) @ w2 + b2
    np.testing.assert_allclose(net.apply(params, {}, x, train=False)[0], expected, rtol=1e-4)


# An MLP encodes and decodes with the same module. For residual networks see test_resnet.py.
NETWORKS = [
    (kind, side, norm)
    for kind, side in (("mlp", "decoder"), ("conv", "encoder"), ("conv", "decoder"))
    for norm in ("none", "batch", "layer", "spectral")
]


@pytest.mark.parametrize(("kind", "side", "norm"), NETWORKS)
def test_purity(kind, side, norm):
    net, x = small(kind, side, norm=norm, dropout=0.2)
    params, stats = start(net, x)

    @jax.jit
    def run(params, stats):
        y, kept = net.apply(params, stats, x, train=False)
        assert kept is stats
        _, moved = net.apply(params, stats, x, train=True, key=KEY)
        return y, moved, net.apply(params, stats, x, train=False)[0]

    y, moved, again = run(params, stats)
    assert jax.tree.structure(moved) == jax.tree.structure(stats)
    assert same(moved, stats) == (norm in ("none", "layer"))
    assert same(y, again)


def _batch_norm():
    """An MLP without dropout, its first layer's output, and the inputs of its batch norm."""
    net, x = small("mlp", "encoder", norm="batch")
    params, stats = jax.jit(net.init)(KEY, x)
    h = np.asarray(x).reshape(6, -1) @ np.asarray(params["Hidden_0"]["Dense_0"]["kernel"])
    last = jax.tree.map(np.asarray, params["Linear_0"]["Dense_0"])
    assert "bias" not in params["Hidden_0"]["Dense_0"]
    return net, x, params, stats, h.astype(np.float64), last


def test_batch_norm_in_training():
    net, x, params, stats, h, last = _batch_norm()
    y, moved = jax.jit(partial(net.apply, train=True))(params, stats, x)
    normal = (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5)
    np.testing.assert_allclose(
        y, np.maximum(normal, 0) @ last["kernel"] + last["bias"], rtol=1e-3, atol=1e-5
    )
    (mean, var) = jax.tree.leaves(moved)
    np.testing.assert_allclose(mean, 0.1 * h.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(var, 0.9 + 0.1 * h.var(0), rtol=1e-4)


def test_batch_norm_in_evaluation():
    net, x, params, stats, h, last = _batch_norm()
    train, evaluate = (jax.jit(partial(net.apply, train=t)) for t in (True, False))
    for _ in range(2):
        _, stats = train(params, stats, x)
    y, _ = evaluate(params, stats, x)
    mean, var = 0.19 * h.mean(0), 0.81 + 0.19 * h.var(0)
    normal = (h - mean) / np.sqrt(var + 1e-5)
    np.testing.assert_allclose(
        y, np.maximum(normal, 0) @ last["kernel"] + last["bias"], rtol=1e-3, atol=1e-5
    )
    alone, _ = evaluate(params, stats, x[:1])
    np.testing.assert_allclose(alone, y[:1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(7,), (4, 5, 3)])
def test_layer_norm(shape):
    from latentgen.networks.norms import LayerNorm

    x = 3 + 2 * jax.random.normal(KEY, (4, *shape))
    layer = LayerNorm(jnp.float32)
    y, _ = jax.jit(lambda x: layer.init_with_output(KEY, x, True))(x)
    flat = np.asarray(x, np.float64).reshape(4, -1)
    normal = (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(y.reshape(4, -1), normal, rtol=1e-4, atol=1e-5)


def test_the_first_convolution_and_the_last_layers_are_not_normalized():
    encoder, x = small("conv", "encoder", norm="batch")
    params, stats = jax.eval_shape(encoder.init, KEY, x)
    assert set(stats["batch_stats"]) == {"BatchNorm_0", "Hidden_0"}
    assert "bias" in params["Conv_0"]
    assert "bias" not in params["Conv_1"]
    decoder, z = small("conv", "decoder", norm="batch")
    params, stats = jax.eval_shape(decoder.init, KEY, z)
    assert set(params) == {"Hidden_0", "Conv_0", "BatchNorm_0", "Conv_1"}
    assert "bias" in params["Conv_1"]


def test_dropout():
    net = mlp.encoder((1000,), outputs=1, dropout=0.25)
    x = jnp.ones((200, 1))
    params, _ = start(net, x)
    for layer, shape in (("Hidden_0", (1, 1000)), ("Linear_0", (1000, 1))):
        params[layer]["Dense_0"] = {"kernel": jnp.ones(shape), "bias": jnp.zeros(shape[1])}

    @jax.jit
    def run(params):
        keys = (KEY, KEY, jax.random.key(1))
        draws = [net.apply(params, {}, x, train=True, key=k)[0] for k in keys]
        return draws, net.apply(params, {}, x, train=False)[0]

    (y, again, other), whole = run(params)
    kept = np.asarray(y) * 0.75  # units kept out of 1000, each scaled by 1 / 0.75
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-2)
    assert abs(kept.mean() - 750) < 5 * np.sqrt(1000 * 0.25 * 0.75 / 200)
    assert same(y, again)
    assert not same(y, other)
    np.testing.assert_array_equal(whole, 1000)


@pytest.mark.parametrize(("kind", "side", "norm"), NETWORKS)
@pytest.mark.quick(3)
def test_bfloat16(kind, side, norm):
    narrow, x = small(kind, side, norm=norm, dtype=jnp.bfloat16)
    wide, _ = small(kind, side, norm=norm)
    params, stats = start(narrow, x)

    @jax.jit
    def run(p):
        return [net.apply(p, stats, x, train=True) for net in (narrow, wide)]

    (y, moved), (expected, _) = run(params)
    slope = jax.grad(lambda p: jnp.sum(narrow.apply(p, stats, x, train=True)[0] ** 2))
    grads = jax.eval_shape(slope, params)
    assert y.dtype == jnp.float32
    assert {a.dtype.name for a in jax.tree.leaves((params, stats, moved, grads))} == {"float32"}
    error = jnp.linalg.norm(y - expected) / jnp.linalg.norm(expected)
    assert 0 < error < 0.03


# For the norm 'spectral', which holds something fixed, see test_spectral.py.
@pytest.mark.parametrize(("kind", "side", "norm"), [n for n in NETWORKS if n[-1] != "spectral"])
@pytest.mark.quick(3)
def test_a_penalty_on_the_slope_has_its_gradient(kind, side, norm):
    with jax.enable_x64(True):
        net, x = small(kind, side, norm=norm, activation="tanh", dtype=jnp.float64)
        params, stats = jax.tree.map(lambda a: a.astype(jnp.float64), start(net, x))
        rng = np.random.default_rng(1)
        way = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), params)

        def penalty(t):
            moved = jax.tree.map(lambda a, d: a + t * d, params, way)
            value = lambda x: jnp.sum(net.apply(moved, stats, x, train=True)[0])  # noqa: E731
            return jnp.sum(jax.grad(value)(x) ** 2)

        run, t = jax.jit(jax.value_and_grad(penalty)), 1e-5
        slope = run(0.0)[1]
        assert abs(slope) > 1e-3
        np.testing.assert_allclose(slope, (run(t)[0] - run(-t)[0]) / (2 * t), rtol=1e-5)


@pytest.mark.parametrize(
    ("init", "std"),
    [
        ("lecun", 256**-0.5),
        ("he", (256 / 2) ** -0.5),
        ("glorot", (1256 / 2) ** -0.5),
        ("normal02", 0.02),
    ],
)
def test_init(init, std):
    net = mlp.encoder((1000,), outputs=1, init=init)
    draw = jax.jit(lambda x: net.init(KEY, x)[0]["Hidden_0"]["Dense_0"]["kernel"])
    kernel = draw(jnp.ones((1, 256)))
    np.testing.assert_allclose(kernel.std(), std, rtol=0.02)


def test_activations_at_minus_one_and_two():
    x = np.array([-1.0, 2.0])
    expected = {
        "relu": [0, 2],
        "leaky_relu": [-0.2, 2],
        "elu": [np.exp(-1) - 1, 2],
        "tanh": np.tanh(x),
        "softplus": np.log1p(np.exp(x)),
        "gelu": [-0.1588, 1.9546],
        "swish": x / (1 + np.exp(-x)),
        "glu": [-1 / (1 + np.exp(-2))],  # the first half, gated by the second
    }
    assert expected.keys() | {"maxout"} == mlp.ACTIVATIONS.keys()  # five pieces: see below
    for name, values in expected.items():
        np.testing.assert_allclose(mlp.ACTIVATIONS[name](jnp.asarray(x)), values, atol=2e-4)


@pytest.mark.parametrize("size", [(30, 28, 1), (28, 6, 1)])
def test_refuses_images_that_do_not_halve(size):
    text = "x".join(map(str, size))
    with pytest.raises(BadInput, match=text):
        conv.decoder(size)
    with pytest.raises(BadInput, match=text):
        jax.eval_shape(conv.encoder(outputs=1).init, KEY, jnp.ones((2, *size)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"activation": "relo"}, "activation='relo'.*'relu'"),
        ({"norm": "bach"}, "norm='bach'.*'batch'"),
        ({"init": "xavier"}, "init='xavier'.*lecun"),
        ({"dropout": 1.0}, r"dropout=1.0"),
    ],
)
@pytest.mark.parametrize("kind", ["mlp", "conv", "resnet"])
def test_refuses_options(kind, options, words):
    with pytest.raises(BadInput, match=words):
        ENCODERS[kind](outputs=1, **options)
    with pytest.raises(BadInput, match=words):
        DECODERS[kind]((8, 8, 1), **options)


@pytest.mark.parametrize("activation", ["glu", "maxout"])
@pytest.mark.parametrize("kind", ["conv", "resnet"])
def test_convolutions_refuse_activations_that_narrow(kind, activation):
    with pytest.raises(BadInput, match=f"activation='{activation}' does not fit"):
        ENCODERS[kind](outputs=1, activation=activation)
    with pytest.raises(BadInput, match=f"activation='{activation}' does not fit"):
        DECODERS[kind]((8, 8, 1), activation=activation)


def test_refuses_sizes():
    with pytest.raises(BadInput, match="hidden=0"):
        mlp.encoder((0,), outputs=1)
    with pytest.raises(BadInput, match="outputs=0"):
        mlp.encoder(outputs=0)
    with pytest.raises(BadInput, match="channels=-1"):
        conv.encoder((-1,), outputs=1)
    with pytest.raises(BadInput, match="dense=0"):
        conv.decoder((8, 8, 1), dense=(0,))


def from_nnx(make) -> Net:
    """A Net from an NNX module by split and merge."""

    def init(key, *inputs):
        _, params, stats = nnx.split(make(nnx.Rngs(key)), nnx.Param, ...)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(stats)

    graph, params0, stats0 = nnx.split(make(nnx.Rngs(0)), nnx.Param, ...)

    def apply(params, stats, *inputs, train, key=None):
        states = [nnx.clone(params0), nnx.clone(stats0)]
        for state, values in zip(states, (params, stats), strict=True):
            nnx.replace_by_pure_dict(state, values)
        module = nnx.merge(graph, *states)
        module.train() if train else module.eval()
        y = module(*inputs)
        return y, nnx.to_pure_dict(nnx.split(module, nnx.Param, ...)[2]) if train else stats

    return Net(init, apply)


def test_a_net_may_be_made_of_nnx():
    def make(rngs):
        return nnx.Sequential(
            nnx.Linear(4, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)
        )

    net = from_nnx(make)
    x = jax.random.normal(KEY, (6, 4))
    params, stats = net.init(KEY, x)

    @jax.jit
    def step(params, stats):
        def loss(params):
            y, moved = net.apply(params, stats, x, train=True)
            return jnp.mean(y**2), moved

        (value, stats_), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), stats_, value

    new, moved, before = step(params, stats)
    _, _, after = step(new, moved)
    assert after < before
    assert not same(moved, stats)
    assert net.apply(params, stats, x, train=False)[1] is stats


def test_a_gated_layer_has_two_halves_and_its_width() -> None:
    net = mlp.encoder((6,), outputs=3, activation="glu")
    params, stats = net.init(KEY, jnp.ones((1, 5)))
    x = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    hidden, last = params["Hidden_0"]["Dense_0"], params["Linear_0"]["Dense_0"]
    a, b = np.split(x @ np.asarray(hidden["kernel"]) + np.asarray(hidden["bias"]), 2, axis=1)
    expected = (a / (1 + np.exp(-b))) @ np.asarray(last["kernel"]) + np.asarray(last["bias"])
    assert hidden["kernel"].shape == (5, 12)
    np.testing.assert_allclose(
        net.apply(params, stats, jnp.asarray(x), train=False)[0], expected, rtol=1e-5
    )


def test_maxout_takes_the_largest_of_five() -> None:
    net = mlp.encoder((6,), outputs=3, activation="maxout")
    params, stats = start(net, jnp.ones((1, 4)))
    x = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    hidden, last = params["Hidden_0"]["Dense_0"], params["Linear_0"]["Dense_0"]
    assert hidden["kernel"].shape == (4, 30)
    lines = x @ np.asarray(hidden["kernel"]) + np.asarray(hidden["bias"])
    h = np.array([[max(row[unit::6]) for unit in range(6)] for row in lines])
    expected = h @ np.asarray(last["kernel"]) + np.asarray(last["bias"])
    y, _ = net.apply(params, stats, jnp.asarray(x), train=False)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_twins_share_nothing_and_stand_side_by_side() -> None:
    net = mlp.twin_encoder((6,), outputs=4)
    params, stats = net.init(KEY, jnp.ones((1, 5)))
    slope = jax.jacrev(lambda p: net.apply(p, stats, jnp.ones((1, 5)), train=False)[0][0])(params)
    for i, half in enumerate(("MLP_0", "MLP_1")):
        touched = np.asarray(slope[half]["Linear_0"]["Dense_0"]["bias"]).any(axis=1)
        np.testing.assert_array_equal(touched, [i == 0, i == 0, i == 1, i == 1])
    with pytest.raises(ValueError, match="outputs=3"):
        mlp.twin_encoder((6,), outputs=3)
