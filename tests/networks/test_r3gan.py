"""R3GAN's networks: initial weights, resampling, sizes, precision; parity is in tests/parity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from latentgen.core.errors import BadInput
from latentgen.networks import r3gan

KEY = jax.random.key(0)
SMALL = {"channels": (8, 16), "blocks": (1, 2), "groups": (4, 8)}
SHAPE = (8, 8, 1)
NETS = {
    "generator": (lambda **changes: r3gan.generator(SHAPE, **(SMALL | changes)), (5,)),
    "discriminator": (lambda **changes: r3gan.discriminator(outputs=1, **(SMALL | changes)), SHAPE),
}


def traced(net, *inputs):
    """Shapes of the parameters and of the output."""
    params, _ = jax.eval_shape(net.init, KEY, *inputs)
    run = lambda params, *inputs: net.apply(params, {}, *inputs, train=True)[0]  # noqa: E731
    return params, jax.eval_shape(run, params, *inputs)


def test_resampling_is_a_convolution_with_one_three_three_one():
    """Convolve the image with zeros between its pixels, or with stride 2; zeros around it."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 6, 1)), jnp.float32)
    line = np.convolve([1, 2, 1], [1, 1])
    kernel = jnp.asarray(np.outer(line, line)[..., None, None] / 64, jnp.float32)
    layout = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
    up = lax.conv_general_dilated(
        x, 4 * kernel, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), **layout
    )
    down = lax.conv_general_dilated(x, kernel, (2, 2), ((1, 1), (1, 1)), **layout)
    np.testing.assert_allclose(r3gan.upsample(x), up, atol=1e-6)
    np.testing.assert_allclose(r3gan.downsample(x), down, atol=1e-6)


def test_a_block_is_at_first_the_identity():
    block = r3gan.Block(r3gan.Stage(8, 1, 4, 2, 1.0, jnp.float32))
    x = jax.random.normal(KEY, (2, 4, 4, 8))
    y, params = jax.jit(lambda key, x: block.init_with_output(key, x))(KEY, x)
    np.testing.assert_array_equal(y, x)
    assert {name: "bias" in layer for name, layer in params["params"].items()} == {
        "Conv_0": True,
        "Conv_1": True,
        "Conv_2": False,
    }


def test_standard_deviations_at_the_start():
    """The gain over root fan-in: sqrt(2 / 1.04) L^(-1/4) in each of L blocks, 1 elsewhere."""
    channels = (64, 128)
    sizes = {"channels": channels, "blocks": (1,), "groups": (2,)}
    z, x, one_hot = jnp.zeros((1, 64)), jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 100))
    g = r3gan.generator((8, 8, 3), **sizes, classes=16)
    d = r3gan.discriminator(outputs=1, classes=100, **sizes)
    g_params, d_params = jax.jit(lambda key: (g.init(key, z)[0], d.init(key, x, one_hot)[0]))(KEY)
    gain = (2 / 1.04) ** 0.5 * 2**-0.25
    for params, width in ((g_params, 128), (d_params, 64)):  # of the first block
        first = params["Block_0"]
        assert first["Conv_1"]["kernel"].shape == (3, 3, width, 2 * width)
        near(first["Conv_0"]["kernel"], gain / width**0.5)
        near(first["Conv_1"]["kernel"], gain / (9 * width) ** 0.5)
    near(g_params["basis"], 1.0)
    near(g_params["Dense_0"]["kernel"], (48 + 48) ** -0.5)
    near(g_params["embedding"]["kernel"], 16**-0.5)
    near(g_params["Conv_0"]["kernel"], 128**-0.5)
    near(d_params["basis"], 0.25)
    near(d_params["Dense_0"]["kernel"], 128**-0.5)
    near(d_params["embedding"]["kernel"], 100**-0.5 * 128**-0.5)


def near(weights, expected):
    """Within five standard errors of a normal sample's standard deviation."""
    assert abs(float(weights.std()) / expected - 1) < 5 / (2 * weights.size) ** 0.5
    assert abs(float(weights.mean())) < 5 * expected / weights.size**0.5


@pytest.mark.parametrize(("size", "channels"), [(4, 1), (32, 3), (64, 4)])
def test_shapes(size, channels):
    stages = int(np.log2(size)) - 1
    sizes = {"channels": (8,) * stages, "groups": (4,)}
    shape = (size, size, channels)
    _, image = traced(r3gan.generator(shape, **sizes), jnp.zeros((2, 5)))
    _, logit = traced(r3gan.discriminator(outputs=3, **sizes), jnp.zeros((2, *shape)))
    assert (image.shape, logit.shape) == ((2, *shape), (2, 3))


@pytest.mark.parametrize("player", NETS)
def test_half_of_the_stages_in_bfloat16(player):
    """Only convolutions of the finest stage; images and logits are float32, as are weights."""
    make, shape = NETS[player]
    x = jax.random.normal(KEY, (2, *shape))
    params, stats = jax.jit(make().init)(KEY, x)

    def program(net):
        run = jax.jit(lambda params, x: net.apply(params, stats, x, train=True)[0])
        return run(params, x), str(jax.make_jaxpr(run)(params, x))

    whole, text = program(make())
    half, half_text = program(make(half=1))
    assert "bf16" not in text
    assert "bf16[2,8,8,16]" in half_text  # n, h, w, channels within a block
    assert "bf16[2,4,4,32]" not in half_text
    assert whole.dtype == half.dtype == jnp.float32
    assert 0 < jnp.abs(whole - half).max() < 0.1 * jnp.abs(whole).max()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channels": ()}, "channels"),
        ({"channels": (8, 8, 8)}, "16x16"),
        ({"blocks": (1, 2, 3)}, "blocks"),
        ({"groups": (3,)}, "groups=3 must divide 16"),
        ({"half": 2}, "half=2"),
        ({"expansion": 0}, "expansion"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(changes, words):
    changes = {"blocks": (1,), "groups": (4,)} | changes
    for make, shape in NETS.values():
        with pytest.raises(BadInput, match=words) as error:
            traced(make(**changes), jnp.zeros((1, *shape)))
        assert "\n" not in str(error.value)


def test_groups_are_by_default_of_16_channels():
    net = r3gan.generator(SHAPE, channels=(4, 32), blocks=(1,))
    params, _ = traced(net, jnp.zeros((1, 5)))
    inputs = [params[f"Block_{i}"]["Conv_1"]["kernel"].shape[2] for i in range(2)]
    assert inputs == [16, 8]  # of 64 and 8 channels


def test_both_lower_for_all_platforms():
    g, d = (make() for make, _ in NETS.values())
    z = jnp.ones((2, 5))
    g_params, _ = jax.eval_shape(g.init, KEY, z)
    d_params, _ = jax.eval_shape(d.init, KEY, jnp.ones((2, *SHAPE)))

    def loss(g_params, d_params):
        x = g.apply(g_params, {}, z, train=True)[0]
        slope = jax.grad(lambda x: d.apply(d_params, {}, x, train=True)[0].sum())(x)
        return (slope**2).sum()

    run = jax.jit(jax.grad(loss, (0, 1)))
    program = export.export(run, platforms=["cpu", "cuda", "tpu"])(g_params, d_params)
    assert "feature_group_count = 8" in program.mlir_module()
