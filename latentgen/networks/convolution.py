"""Convolutions with one parameter layout, lowered as each platform likes best.

GPUs and TPUs get native convolutions. XLA's CPU compiler runs a native weight gradient far too
slowly, most of all inside a loop (github.com/jax-ml/jax/issues/12868), so CPUs get a matrix
product over patches. The choice is made on lowering, from the same parameters; both ways are plain
compositions of JAX's own functions, hence differentiable to any order, forward and reverse.
`experiments/benchmarks/convolution.py` measures them.
"""

import functools

import jax
from jax import lax
from jax import numpy as jnp
from jaxtyping import Array, Float

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n h//{stride} w//{stride} o"]:
    """y[p, q] = sum_ab x[s p + a - l, s q + b - l] kernel[a, b], with zeros around the image.

    The padding k - s, of which l = (k - s) // 2 lies before, makes the output a `stride`-th of the
    image: 1 on each side for 4x4 with stride 2 and 3x3 with stride 1.

    Args:
        stride: s, which divides k, h and w.
    """
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(conv_by_matmul, stride=stride),
        default=functools.partial(conv_native, stride=stride),
    )


def conv_transpose(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n h*{stride} w*{stride} o"]:
    """The convolution of x, with s - 1 zeros between its pixels: `jax.lax.conv_transpose`.

    It is the transpose of `conv` for the kernel that is turned by 180 degrees with inputs and
    outputs swapped.

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
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n h//{stride} w//{stride} o"]:
    """`conv` as one convolution."""
    pad = _padding(kernel, stride)
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), (pad, pad), dimension_numbers=_LAYOUT
    )


def conv_transpose_native(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n h*{stride} w*{stride} o"]:
    """`conv_transpose` as one convolution."""
    return lax.conv_transpose(x, kernel, (stride, stride), "SAME", dimension_numbers=_LAYOUT)


def conv_by_matmul(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n h//{stride} w//{stride} o"]:
    """`conv` as space-to-depth, patches of k/s x k/s blocks, and one matrix product."""
    k, _, i, o = kernel.shape
    n, h, w, _ = x.shape
    s, blocks = stride, k // stride
    pad = _padding(kernel, s)
    x = jnp.pad(x, ((0, 0), pad, pad, (0, 0)))
    x = x.reshape(n, h // s + blocks - 1, s, w // s + blocks - 1, s, i)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(n, *x.shape[1:4:2], s * s * i)
    shifts = [(a, b) for a in range(blocks) for b in range(blocks)]
    patches = jnp.concatenate([x[:, a:, b:][:, : h // s, : w // s] for a, b in shifts], -1)
    # Outputs first: the weight gradient is then the matrix product that CPUs do twice as fast.
    rows = kernel.reshape(blocks, s, blocks, s, i, o).transpose(5, 0, 2, 1, 3, 4).reshape(o, -1)
    flat = patches.reshape(-1, patches.shape[-1])
    return lax.dot_general(flat, rows, (((1,), (1,)), ((), ()))).reshape(n, h // s, w // s, o)


def conv_transpose_by_matmul(
    x: Float[Array, "n h w i"], kernel: Float[Array, "k k i o"], stride: int
) -> Float[Array, "n h*{stride} w*{stride} o"]:
    """`conv_transpose` as the transpose of `conv_by_matmul`."""
    n, h, w, _ = x.shape
    turned = kernel[::-1, ::-1].swapaxes(2, 3)
    image = jax.ShapeDtypeStruct((n, h * stride, w * stride, kernel.shape[-1]), x.dtype)
    (y,) = jax.linear_transpose(lambda y: conv_by_matmul(y, turned, stride), image)(x)
    return y


def _padding(kernel: Float[Array, "k k i o"], stride: int) -> tuple[int, int]:
    total = len(kernel) - stride
    return total // 2, total - total // 2
