"""Convolutions with one parameter layout, lowered to what is fast on each platform.

GPUs and TPUs get native convolutions. XLA's CPU compiler makes native weight gradients very slow,
most of all inside a loop (github.com/jax-ml/jax/issues/12868), so CPUs get a matrix product over
patches (im2col). The choice is made at lowering, with the same parameters; both versions are
differentiable to any order, in forward and reverse mode. `experiments/benchmarks/convolution.py`
measures them.
"""

import functools
from collections.abc import Callable

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k i o"], stride: int, groups: int = 1
) -> Float[Array, "n h//{stride} w//{stride} o"]:
    """y[p, q] = sum_ab x[s p + a - l, s q + b - l] kernel[a, b], with zeros around the image.

    k - s zeros in each direction, l = (k - s) // 2 of them before the image, make the output's
    sides h / s and w / s: one zero on each side for 4x4 with stride 2 and for 3x3 with stride 1.

    Args:
        stride: s, which divides k, h and w.
        groups: g, which divides c and o; i = c / g. The j-th block of o / g outputs depends on the
            j-th block of i inputs only.
    """
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(conv_by_matmul, stride=stride, groups=groups),
        default=functools.partial(conv_native, stride=stride, groups=groups),
    )


def conv_transpose(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n h*{stride} w*{stride} o"]:
    """The convolution of x with s - 1 zeros between its pixels, as by `jax.lax.conv_transpose`.

    It is the transpose of `conv` with the kernel rotated by 180 degrees and its inputs and outputs
    swapped.

    Args:
        stride: s, which divides k.
    """
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(conv_transpose_by_matmul, stride=stride),
        default=functools.partial(conv_transpose_native, stride=stride),
    )


def conv_native(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k i o"], stride: int, groups: int = 1
) -> Float[Array, "n h//{stride} w//{stride} o"]:
    """`conv` as one convolution."""
    pad = _padding(kernel, stride)
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        (pad, pad),
        dimension_numbers=_LAYOUT,
        feature_group_count=groups,
    )


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def conv_transpose_native(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n h*{stride} w*{stride} o"]:
    """`conv_transpose` as the input gradient of `conv_native`, for which cuDNN has a routine.

    The JVP in the kernel is written so that its transpose, which training computes, is the weight
    gradient of `conv_native`, another cuDNN routine. Plain `jax.lax.conv_transpose` would become
    forward convolutions of dilated images, several times slower on a GPU.
    """
    return _transposed(x, kernel, stride)


@conv_transpose_native.defjvp
def _conv_transpose_jvp(
    stride: int, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (x, kernel), (dx, d_kernel) = primals, tangents
    y = conv_transpose_native(x, kernel, stride)
    image = jax.ShapeDtypeStruct(y.shape, y.dtype)

    # <dy, y> = <conv(dy, turned), x>, so the VJP of y in the kernel is the gradient of the right
    # side, which is linear in dy; the JVP is its transpose.
    def gradient(dy: Array) -> Array:
        _, back = jax.vjp(lambda turned: conv_native(dy, turned, stride), _turned(kernel))
        return _turned(back(x)[0])

    (dy,) = jax.linear_transpose(gradient, image)(d_kernel)
    return y, _transposed(dx, kernel, stride) + dy


def _transposed(x: Array, kernel: Array, stride: int) -> Array:
    n, h, w, _ = x.shape
    image = jax.ShapeDtypeStruct((n, h * stride, w * stride, kernel.shape[-1]), x.dtype)
    turned = _turned(kernel)
    (y,) = jax.linear_transpose(lambda image: conv_native(image, turned, stride), image)(x)
    return y


def _turned(kernel: Array) -> Array:
    """Rotate the kernel by 180 degrees, and swap inputs and outputs."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


def conv_by_matmul(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k k i o"], stride: int, groups: int = 1
) -> Float[Array, "n h//{stride} w//{stride} o"]:
    """`conv` as space-to-depth, patches of k/s x k/s blocks, and one matrix product per group."""
    k, _, i, o = kernel.shape
    n, h, w, c = x.shape
    s, blocks = stride, k // stride
    pad = _padding(kernel, s)
    x = jnp.pad(x, ((0, 0), pad, pad, (0, 0)))
    x = x.reshape(n, h // s + blocks - 1, s, w // s + blocks - 1, s, c)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(n, *x.shape[1:4:2], s * s * c)
    shifts = [(a, b) for a in range(blocks) for b in range(blocks)]
    patches = jnp.concatenate([x[:, a:, b:][:, : h // s, : w // s] for a, b in shifts], -1)
    if groups > 1:
        rows = kernel.reshape(blocks, s, blocks, s, i, groups, -1).transpose(5, 0, 2, 1, 3, 4, 6)
        y = _matmul_by_group(
            patches.reshape(-1, k * k, groups, i), rows.reshape(groups, -1, o // groups)
        )
        return y.reshape(n, h // s, w // s, o)
    # Outputs first: CPUs then compute the weight gradient's matrix product twice as fast.
    rows = kernel.reshape(blocks, s, blocks, s, i, o).transpose(5, 0, 2, 1, 3, 4).reshape(o, -1)
    flat = patches.reshape(-1, patches.shape[-1])
    return lax.dot_general(flat, rows, (((1,), (1,)), ((), ()))).reshape(n, h // s, w // s, o)


def _matmul_by_group(
    patches: Float[Array, "p taps g i"], rows: Float[Array, "g taps*i d"]
) -> Float[Array, "p g*d"]:
    p, taps, groups, i = patches.shape
    flat = patches.transpose(2, 0, 1, 3).reshape(groups, p, taps * i)
    y = lax.dot_general(flat, rows, (((2,), (1,)), ((0,), (0,))))
    return y.transpose(1, 0, 2).reshape(p, -1)


def conv_transpose_by_matmul(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n h*{stride} w*{stride} o"]:
    """`conv_transpose` as the transpose of `conv_by_matmul`."""
    n, h, w, _ = x.shape
    turned = _turned(kernel)
    image = jax.ShapeDtypeStruct((n, h * stride, w * stride, kernel.shape[-1]), x.dtype)
    (y,) = jax.linear_transpose(lambda y: conv_by_matmul(y, turned, stride), image)(x)
    return y


def _padding(kernel: Float[Array, "k k i o"], stride: int) -> tuple[int, int]:
    total = len(kernel) - stride
    return total // 2, total - total // 2


def conv_inside(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n p q o"]:
    """y[p, q] = sum_ab x[s p + a, s q + b] kernel[a, b], without padding ('VALID').

    Args:
        stride: s; unlike in `conv` it need not divide k.
    """
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(inside_by_matmul, stride=stride),
        default=functools.partial(inside_native, stride=stride),
    )


def conv_outside(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n {stride}*(h-1)+k {stride}*(w-1)+k o"]:
    """y[i, j] = sum of x[p, q] kernel[a, b] over all p, q, a, b with i = s p + a, j = s q + b.

    The transpose of `conv_inside` with the kernel's inputs and outputs swapped.

    Args:
        stride: s; it need not divide k.
    """
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(_outside, inside_by_matmul, stride=stride),
        default=functools.partial(outside_native, stride=stride),
    )


def inside_native(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n p q o"]:
    """`conv_inside` as one convolution."""
    return lax.conv_general_dilated(x, kernel, (stride, stride), "VALID", dimension_numbers=_LAYOUT)


def inside_by_matmul(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n p q o"]:
    """`conv_inside` as patches of k x k pixels and one matrix product."""
    (n, h, w, _), (k, *_, o) = x.shape, kernel.shape
    p, q = (h - k) // stride + 1, (w - k) // stride + 1
    rows, columns = stride * (p - 1) + 1, stride * (q - 1) + 1
    shifts = [(a, b) for a in range(k) for b in range(k)]
    patches = jnp.concatenate(
        [x[:, a : a + rows : stride, b : b + columns : stride] for a, b in shifts], -1
    )
    flat = patches.reshape(-1, patches.shape[-1])
    outputs_first = kernel.transpose(3, 0, 1, 2).reshape(o, -1)
    return lax.dot_general(flat, outputs_first, (((1,), (1,)), ((), ()))).reshape(n, p, q, o)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def outside_native(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n {stride}*(h-1)+k {stride}*(w-1)+k o"]:
    """`conv_outside` as the input gradient of `inside_native`; see `conv_transpose_native`."""
    return _outside(inside_native, x, kernel, stride)


@outside_native.defjvp
def _outside_jvp(
    stride: int, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (x, kernel), (dx, d_kernel) = primals, tangents
    y = outside_native(x, kernel, stride)

    def gradient(dy: Array) -> Array:  # of <inside_native(dy, swapped), x> in the kernel
        _, back = jax.vjp(lambda swapped: inside_native(dy, swapped, stride), kernel.swapaxes(2, 3))
        return back(x)[0].swapaxes(2, 3)

    (dy,) = jax.linear_transpose(gradient, jax.ShapeDtypeStruct(y.shape, y.dtype))(d_kernel)
    return y, outside_native(dx, kernel, stride) + dy


def _outside(forward: Callable[..., Array], x: Array, kernel: Array, stride: int) -> Array:
    (n, h, w, _), (k, _, _, o) = x.shape, kernel.shape
    sides = (stride * (h - 1) + k, stride * (w - 1) + k)
    image = jax.ShapeDtypeStruct((n, *sides, o), x.dtype)
    swapped = kernel.swapaxes(2, 3)
    (y,) = jax.linear_transpose(lambda image: forward(image, swapped, stride), image)(x)
    return y
