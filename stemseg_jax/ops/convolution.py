"""2-D convolution whose gradients are fast where they are taken.

On a CPU, XLA takes the gradient with respect to a kernel as a convolution with a window
as large as the map: slower than the matrix products that it is, and much slower where
the kernel is 1x1. Here it is one product for each row of the kernel, frame by frame, so
that a frame's maps stay in the cache. experiments/convolutions has figures.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from stemseg_jax import choices

FORMS = ("native", "products")
AXES = ("NHWC", "HWIO", "NHWC")
Padding = tuple[tuple[int, int], tuple[int, int]]  # before and after, of rows, columns


def general_dilated(
    x: Float[Array, "_ _ _ _"],
    kernel: Float[Array, "_ _ _ _"],
    strides: tuple[int, int],
    padding: Any,
    *,
    form: str = "auto",
    **options: Any,
) -> Float[Array, "_ _ _ _"]:
    """As `jax.lax.conv_general_dilated`, for `flax.linen.Conv.conv_general_dilated`.

    Args:
        form: "native" has XLA's gradients, "products" has matrix products; "auto" takes
            "products" on CPU and "native" elsewhere. What has dilation, groups, a
            precision or other axes than `AXES` is native.
    """
    if form != "auto":
        choices.known("form", form, FORMS)
    if form == "native" or not _is_plain(x, kernel, **options):
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)
    if isinstance(padding, str):
        sizes = x.shape[1:3], kernel.shape[:2]
        padding = lax.padtype_to_pads(*sizes, strides, padding)
    padding = tuple((int(before), int(after)) for before, after in padding)
    return _with_gradient(x, kernel, tuple(strides), padding, form)


def _is_plain(
    x: Array, kernel: Array, *, dimension_numbers: Any = None, **options: Any
) -> bool:
    axes, own = (
        lax.conv_dimension_numbers(x.shape, kernel.shape, numbers)
        for numbers in (dimension_numbers, AXES)
    )
    # Of those that Flax passes; whatever else there is, is not known here.
    ones = [options.pop(f"{side}_dilation", None) or (1,) for side in ("lhs", "rhs")]
    ones.append((options.pop("feature_group_count", 1),))
    others = any(value is not None for value in options.values())
    return axes == own and all(set(one) == {1} for one in ones) and not others


def _plain(x, kernel, strides, padding, form):
    del form  # of the gradient alone
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=AXES)


def _forward(x, kernel, *settings):
    return _plain(x, kernel, *settings), (x, kernel)


def _backward(strides, padding, form, saved, slope):
    x, kernel = saved
    convolve = functools.partial(_plain, strides=strides, padding=padding, form=form)

    def native(x, slope, kernel):
        return jax.linear_transpose(lambda k: convolve(x, k), kernel)(slope)[0]

    products = functools.partial(slope_of_kernel, strides=strides, padding=padding)
    of_kernel = products
    if form == "auto":
        of_kernel = functools.partial(
            lax.platform_dependent, cpu=products, default=native
        )
    # With respect to the input it is a convolution as fast as the one forward.
    transposed = jax.linear_transpose(lambda x: convolve(x, kernel), x)
    return *transposed(slope), of_kernel(x, slope, kernel)


_with_gradient = jax.custom_vjp(_plain, nondiff_argnums=(2, 3, 4))
_with_gradient.defvjp(_forward, _backward)


def slope_of_kernel(
    x: Float[Array, "B H W c"],
    slope: Float[Array, "B h w D"],
    kernel: Float[Array, "k l c C"],
    strides: tuple[int, int] = (1, 1),
    padding: Padding = ((1, 1), (1, 1)),
) -> Float[Array, "k l c D"]:
    """The gradient with respect to a kernel of that size, from that of the output.

    Sums are float32 at least, the result is of the kernel's type. D may be other than
    C: the slopes of several outputs side by side.
    """
    taps, (rows, columns) = kernel.shape[:2], slope.shape[1:3]
    dtype = jnp.promote_types(kernel.dtype, jnp.float32)
    # Else XLA adds up products of 16 bits in 16 bits.
    x = jnp.pad(x, ((0, 0), *padding, (0, 0))).astype(dtype)
    slope = slope.astype(dtype)

    def along(frames, axis, first, length):
        """The cells that a tap meets, for each cell of the output, along an axis."""
        step = strides[axis]
        met = slice(first, first + step * (length - 1) + 1, step)
        return frames[..., met, :, :] if axis == 0 else frames[..., met, :]

    if taps == (1, 1):
        x = along(along(x, 0, 0, rows), 1, 0, columns)
        x, slope = (jax.lax.collapse(a, 0, 3) for a in (x, slope))
        # One of the two is transposed: the smaller.
        each = x.T @ slope if x.size <= slope.size else (slope.T @ x).T
        return each[None, None].astype(kernel.dtype)

    def add_frame(total, frame):
        # Transposed once, and not the cells of each tap.
        x, slope = frame[0], jax.lax.collapse(frame[1], 0, 2).T
        beside = [along(x, 1, j, columns) for j in range(taps[1])]
        x = jnp.concatenate(beside, axis=-1)
        each = [
            slope @ jax.lax.collapse(along(x, 0, i, rows), 0, 2) for i in range(taps[0])
        ]
        return total + jnp.stack(each), None

    inputs, outputs = x.shape[-1], slope.shape[-1]
    zeros = jnp.zeros((taps[0], outputs, taps[1] * inputs), dtype)
    total, _ = lax.scan(add_frame, zeros, (x, slope))
    total = total.reshape(taps[0], outputs, taps[1], inputs)
    return total.transpose(0, 2, 3, 1).astype(kernel.dtype)
