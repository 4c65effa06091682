"""Convolutions: both lowerings against loops over pixels, their derivatives, their transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from latentgen.networks import conv as networks
from latentgen.networks import convolution

SIZES = [(4, 2), (3, 1), (5, 1), (2, 2)]
PAIRS = [
    (convolution.conv, convolution.conv_native),
    (convolution.conv_transpose, convolution.conv_transpose_native),
]


def arrays(k: int, dtype=np.float32):
    rng = np.random.default_rng(k)
    x = rng.normal(size=(2, 4, 6, 3)).astype(dtype)
    kernel = rng.normal(size=(k, k, 3, 5)).astype(dtype)
    return jnp.asarray(x), jnp.asarray(kernel)


def loop_conv(x, kernel, s):
    """The definition: every tap of every output pixel."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    n, h, w, _ = x.shape
    k = len(kernel)
    before = (k - s) // 2
    y = np.zeros((n, h // s, w // s, kernel.shape[-1]))
    for p, q, a, b in np.ndindex(h // s, w // s, k, k):
        row, column = s * p + a - before, s * q + b - before
        if 0 <= row < h and 0 <= column < w:
            y[:, p, q] += x[:, row, column] @ kernel[a, b]
    return y


def loop_conv_transpose(x, kernel, s):
    """Zeros between the pixels, then an unturned kernel slid over it."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    n, h, w, i = x.shape
    k = len(kernel)
    wide = np.zeros((n, s * h, s * w, i))
    wide[:, ::s, ::s] = x
    before = k - 1 - (k - s) // 2
    y = np.zeros((n, s * h, s * w, kernel.shape[-1]))
    for p, q, a, b in np.ndindex(s * h, s * w, k, k):
        row, column = p + a - before, q + b - before
        if 0 <= row < s * h and 0 <= column < s * w:
            y[:, p, q] += wide[:, row, column] @ kernel[a, b]
    return y


@pytest.mark.parametrize(("k", "stride"), SIZES)
def test_the_definition(k, stride):
    x, kernel = arrays(k)
    down = (*PAIRS[0], convolution.conv_by_matmul)
    up = (*PAIRS[1], convolution.conv_transpose_by_matmul)
    ours = jax.jit(lambda *args: [[f(*args, stride) for f in way] for way in (down, up)])
    for way, loop in zip(ours(x, kernel), (loop_conv, loop_conv_transpose), strict=True):
        expected = loop(x, kernel, stride)
        for y in way:
            np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


def grouped(k, dtype=np.float32):
    """Six channels in three groups: images, and a kernel of four outputs for each group."""
    rng = np.random.default_rng(k)
    x, kernel = rng.normal(size=(2, 4, 6, 6)), rng.normal(size=(k, k, 2, 12))
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


@pytest.mark.parametrize(("k", "stride"), SIZES)
def test_groups_are_convolutions_of_their_own(k, stride):
    x, kernel = grouped(k)
    alone = [
        loop_conv(x[..., 2 * j : 2 * j + 2], kernel[..., 4 * j : 4 * j + 4], stride)
        for j in range(3)
    ]
    ways = (convolution.conv, convolution.conv_native, convolution.conv_by_matmul)
    for y in jax.jit(lambda x, kernel: [f(x, kernel, stride, 3) for f in ways])(x, kernel):
        np.testing.assert_allclose(y, np.concatenate(alone, -1), rtol=1e-4, atol=1e-4)


def test_groups_of_many_kernels_at_once():
    x, kernel = grouped(3)
    kernels = jnp.stack([kernel, 2 * kernel[::-1]])
    ways = (convolution.conv_by_matmul, convolution.conv_native)
    ours, native = (jax.jit(jax.vmap(lambda k, f=f: f(x, k, 1, 3)))(kernels) for f in ways)
    np.testing.assert_allclose(ours, native, rtol=1e-4, atol=1e-5)


def test_derivatives_of_groups_are_those_of_the_native_convolution():
    """First and second ones, in both arguments."""
    with jax.enable_x64(True):
        args = grouped(3, np.float64)

        def derivatives(operation):
            def score(x, kernel):
                return jnp.sum(jnp.tanh(0.1 * operation(x, kernel, 1, 3)))

            def penalty(x, kernel):
                return jnp.sum(jax.grad(score)(x, kernel) ** 2)

            return jax.jit(lambda *a: [jax.grad(f, (0, 1))(*a) for f in (score, penalty)])(*args)

        pairs = map(derivatives, (convolution.conv_by_matmul, convolution.conv_native))
        for ours, native in zip(*map(jax.tree.leaves, pairs), strict=True):
            assert jnp.abs(native).max() > 1e-3
            np.testing.assert_allclose(ours, native, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("ours", "native"), PAIRS)
def test_float64_is_exact(ours, native):
    with jax.enable_x64(True):
        x, kernel = arrays(4, np.float64)
        np.testing.assert_allclose(ours(x, kernel, 2), native(x, kernel, 2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("ours", "native"), PAIRS)
def test_gradients_are_finite_differences(ours, native):
    with jax.enable_x64(True):
        args = arrays(4, np.float64)
        rng = np.random.default_rng(1)
        way = tuple(jnp.asarray(rng.normal(size=a.shape)) for a in args)

        @jax.jit
        def f(x, kernel):
            return jnp.sum(jnp.tanh(0.1 * ours(x, kernel, 2)))

        def moved(g, t):
            return g(*(a + t * d for a, d in zip(args, way, strict=True)))

        def along(grads):
            return sum(jnp.vdot(g, d) for g, d in zip(grads, way, strict=True))

        @jax.jit
        def slope(x, kernel):
            return along(jax.grad(f, (0, 1))(x, kernel))

        t = 1e-5
        np.testing.assert_allclose(slope(*args), (moved(f, t) - moved(f, -t)) / (2 * t), rtol=1e-7)
        second = jax.jit(lambda *args: along(jax.grad(slope, (0, 1))(*args)))(*args)
        np.testing.assert_allclose(
            second, (moved(slope, t) - moved(slope, -t)) / (2 * t), rtol=1e-6
        )
        forward = jax.jit(lambda *args: jax.jvp(slope, args, way)[1])(*args)  # over reverse
        np.testing.assert_allclose(second, forward, rtol=1e-10)


@pytest.mark.parametrize(("ours", "native"), PAIRS)
def test_gradient_penalty_as_natively(ours, native):
    x, kernel = arrays(4)

    def penalty(operation):
        def score(x, kernel):
            return jnp.sum(jnp.tanh(0.1 * operation(x, kernel, 2)))

        return lambda kernel: jnp.sum(jax.grad(score)(x, kernel) ** 2)

    got, expected = (jax.jit(jax.grad(penalty(f)))(kernel) for f in (ours, native))
    assert jnp.abs(expected).max() > 1e-3
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("ours", "native"), PAIRS)
def test_vmap_over_kernels_and_scan(ours, native):
    x, kernel = arrays(4)
    kernels = jnp.stack([kernel, 2 * kernel, kernel[::-1]])

    def dw(operation):
        return jax.grad(lambda x, k: jnp.sum(jnp.tanh(0.1 * operation(x, k, 2))), 1)

    one = jax.jit(dw(native))
    expected = np.stack([one(x, k) for k in kernels])
    batched = jax.jit(jax.vmap(dw(ours), (None, 0)))(x, kernels)
    _, scanned = lax.scan(lambda c, k: (c, dw(ours)(x, k)), 0, kernels)
    np.testing.assert_allclose(batched, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scanned, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("platform", "native"), [("cpu", False), ("cuda", True), ("tpu", True)])
def test_each_platform_gets_its_own(platform, native):
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((4, 4, 3, 5))

    def f(x, kernel):
        return jnp.sum(convolution.conv(x, kernel, 2) ** 2)

    program = export.export(jax.jit(jax.grad(f, 1)), platforms=[platform])(x, kernel)
    assert ("stablehlo.convolution" in program.mlir_module()) == native


def test_a_network_lowers_for_all_platforms_at_once():
    generator = networks.decoder((8, 8, 1), channels=(4, 8), dense=(16,), norm="batch")
    discriminator = networks.encoder(channels=(4, 8), dense=(16,), outputs=1)
    z = jnp.ones((2, 3))
    key = jax.random.key(0)
    g, stats = jax.eval_shape(generator.init, key, z)
    d, _ = jax.eval_shape(discriminator.init, key, jnp.ones((2, 8, 8, 1)))

    def loss(g, d, stats):
        fake, _ = generator.apply(g, stats, z, train=True)
        return jnp.mean(discriminator.apply(d, {}, fake, train=True)[0])

    everywhere = export.export(jax.jit(jax.grad(loss, (0, 1))), platforms=["cpu", "cuda", "tpu"])
    program = everywhere(g, d, stats)
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert "stablehlo.convolution" in program.mlir_module()
    assert program.out_avals[0].shape == jax.tree.leaves(g)[0].shape


def inside_loop(x, kernel, s):
    """The definition, without zeros around the image."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    (n, h, w, _), k = x.shape, len(kernel)
    y = np.zeros((n, (h - k) // s + 1, (w - k) // s + 1, kernel.shape[-1]))
    for p, q, a, b in np.ndindex(*y.shape[1:3], k, k):
        y[:, p, q] += x[:, s * p + a, s * q + b] @ kernel[a, b]
    return y


def outside_loop(x, kernel, s):
    """Every pixel spreads its kernel."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    (n, h, w, _), k = x.shape, len(kernel)
    y = np.zeros((n, s * (h - 1) + k, s * (w - 1) + k, kernel.shape[-1]))
    for p, q, a, b in np.ndindex(h, w, k, k):
        y[:, s * p + a, s * q + b] += x[:, p, q] @ kernel[a, b]
    return y


@pytest.mark.parametrize(
    ("found", "native", "loop"),
    [
        (convolution.conv_inside, convolution.inside_native, inside_loop),
        (convolution.conv_outside, convolution.outside_native, outside_loop),
    ],
)
def test_strides_that_do_not_divide_the_kernel(found, native, loop):
    """Values, and first and second derivatives of both lowerings."""
    x, kernel = arrays(3)
    x = x[:, :, :5]
    expected = loop(x, kernel, 2)
    for operation in (found, native):
        np.testing.assert_allclose(operation(x, kernel, 2), expected, rtol=1e-5, atol=1e-5)

    def slopes(operation):
        value = lambda x, k: (operation(x, k, 2) ** 2).sum()  # noqa: E731
        slope = lambda x, k: (jax.grad(value)(x, k) ** 2).sum()  # noqa: E731
        return jax.grad(value, (0, 1))(x, kernel), jax.grad(slope, (0, 1))(x, kernel)

    for a, b in zip(*map(jax.tree.leaves, map(slopes, (found, native))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3 * np.abs(b).max())
