"""Depthwise 2-D convolution in the form that is fast where it runs.

On a CPU, XLA's grouped convolution takes 5 to 25 times as long as a sum of shifted
maps, which becomes one loop over memory. Automatic differentiation undoes that: it
turns each shifted read into an addition to the whole map, and each tap of the kernel's
gradient into a pass over two maps. The gradients here are sums of shifted maps, too,
and all taps of the kernel's are taken while a row is in the cache.
experiments/depthwise has figures.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Padding = tuple[tuple[int, int], tuple[int, int]]  # before and after, of rows, columns


def convolve(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "k l 1 C"],
    *,
    stride: int,
    padding: Padding,
    form: str = "auto",
) -> Float[Array, "B h w C"]:
    """Convolves each channel with its own kernel.

    Args:
        form: "native" is XLA's grouped convolution, "shifted" a sum of shifted maps;
            "auto" takes "shifted" on CPU and "native" elsewhere.
    """
    if form == "auto":
        return jax.lax.platform_dependent(
            x,
            kernel,
            cpu=lambda x, kernel: _shifted(x, kernel, stride, padding),
            default=lambda x, kernel: _native(x, kernel, stride, padding),
        )
    return FORMS[form](x, kernel, stride, padding)


def _native(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _shifted(x: Array, kernel: Array, stride: int, padding: Padding) -> Array:
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = (
        (size - taps) // stride + 1
        for size, taps in zip(x.shape[1:3], kernel.shape, strict=False)
    )

    def seen(i: int, j: int) -> Array:
        # Where sizes are symbols, x[:, i::stride, j::stride] would be a gather.
        bottom, right = i + (height - 1) * stride + 1, j + (width - 1) * stride + 1
        ends = (x.shape[0], bottom, right, x.shape[3])
        return jax.lax.slice(x, (0, i, j, 0), ends, (1, stride, stride, 1))

    return sum(kernel[i, j, 0] * seen(i, j) for i, j in _taps(kernel))


def _forward(x, kernel, stride, padding):
    return _shifted(x, kernel, stride, padding), (x, kernel)


def _backward(stride, padding, saved, slope):
    x, kernel = saved
    return (
        _slope_of_input(slope, kernel, stride, padding, x.shape),
        _slope_of_kernel(slope, x, kernel, stride, padding),
    )


_shifted.defvjp(_forward, _backward)


def _taps(kernel: Array) -> list[tuple[int, int]]:
    return [(i, j) for i in range(kernel.shape[0]) for j in range(kernel.shape[1])]


def _slope_of_input(
    slope: Array,
    kernel: Array,
    stride: int,
    padding: Padding,
    shape: tuple[int, ...],
) -> Array:
    """Cells of the padded input whose row and column have the same remainders by the
    stride are reached by the same taps: each such phase is a convolution of its own."""
    batch, height, width, channels = shape
    (top, bottom), (left, right) = padding
    rows = -(-(top + height + bottom) // stride)
    columns = -(-(left + width + right) // stride)

    def phase(p: int, q: int) -> Array:
        part = kernel[p::stride, q::stride]
        before = (part.shape[0] - 1, part.shape[1] - 1)
        padded = jax.lax.pad(
            slope,
            jnp.zeros((), slope.dtype),
            (
                (0, 0, 0),
                (before[0], rows - slope.shape[1], 0),
                (before[1], columns - slope.shape[2], 0),
                (0, 0, 0),
            ),
        )
        cells = jnp.zeros((batch, rows, columns, channels), slope.dtype)
        for i, j in _taps(part):
            y, x = before[0] - i, before[1] - j
            cells += part[i, j, 0] * padded[:, y : y + rows, x : x + columns]
        return cells

    whole = jnp.stack(
        [
            jnp.stack([phase(p, q) for q in range(stride)], axis=3)
            for p in range(stride)
        ],
        axis=2,
    ).reshape(batch, rows * stride, columns * stride, channels)
    return whole[:, top : top + height, left : left + width]


def _slope_of_kernel(
    slope: Array, x: Array, kernel: Array, stride: int, padding: Padding
) -> Array:
    """Row by row of the output, so that both maps are read from memory once."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    batch, height, width, channels = slope.shape

    def add_row(total, row):
        frame, y = row // height, row % height
        rows = jax.lax.dynamic_slice(
            x,
            (frame, y * stride, 0, 0),
            (1, kernel.shape[0], x.shape[2], channels),
        )[0]
        slopes = jax.lax.dynamic_slice(
            slope, (frame, y, 0, 0), (1, 1, width, channels)
        )[0, 0]
        taps = [
            jnp.sum(rows[i, j::stride][:width] * slopes, axis=0)
            for i, j in _taps(kernel)
        ]
        return total + jnp.stack(taps).reshape(kernel.shape), None

    total, _ = jax.lax.scan(add_row, jnp.zeros_like(kernel), jnp.arange(batch * height))
    return total


FORMS = {"native": _native, "shifted": _shifted}
