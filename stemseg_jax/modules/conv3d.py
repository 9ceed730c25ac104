"""3-D convolution in the form that is fast where it runs."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stemseg_jax.modules import initialisers
from stemseg_jax.ops import convolution

WIDE = 128  # channels


class Conv3D(nn.Module):
    """A 3x3x3 convolution of stride 1 that keeps the size, with bias.

    Attributes:
        form: "native" is XLA's 3-D convolution; the others are made of convolutions in
            2-D, see `over_frames`: the same parameters and, up to rounding, the same
            numbers, several times as fast on CPU. "auto" takes one of these there,
            "native" elsewhere.
    """

    features: int
    form: str = "auto"
    initialiser: str = "torch"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B T h w c"]) -> Float[Array, "B T h w C"]:
        scheme = initialisers.INITIALISERS[self.initialiser]
        inputs = x.shape[-1]
        shape = (3, 3, 3, inputs, self.features)
        kernel = self.param("kernel", scheme.kernel, shape)
        bias = self.param("bias", scheme.bias(27 * inputs), (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return FORMS[self.form](x, kernel) + bias

    def frame_terms(self, x: Float[Array, "B T h w c"]) -> Float[Array, "B T h w _"]:
        """The terms of the sum over frames that the convolution is.

        Of each frame, along the channels: what it adds to the frame after it, to itself
        and to the one before it. They do not depend on the clip, nor on `form`.
        """
        kernel = self.get_variable("params", "kernel")
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        # [t h w I O] -> [h w I tO]
        return _in_2d(x, jax.lax.collapse(jnp.moveaxis(kernel, 0, 3), 3, 5))

    def of_terms(
        self, terms: Sequence[Float[Array, "B h w _"]]
    ) -> Float[Array, "B T h w C"]:
        """The convolution of a clip from the terms of its frames, added in float32."""
        bias = self.get_variable("params", "bias")
        after, own, before = zip(
            *[jnp.split(x, 3, axis=-1) for x in terms], strict=True
        )
        # Frame by frame: side by side all terms would be in memory twice.
        frames = []
        for k, x in enumerate(own):
            seen = (*after[max(k - 1, 0) : k], x, *before[k + 1 : k + 2])
            frames.append(sum(x.astype(jnp.float32) for x in seen) + bias)
        return jnp.stack(frames, axis=1).astype(terms[0].dtype)


class Pointwise(nn.Module):
    """A 1x1x1 convolution: one matrix for all cells.

    Attributes:
        bias: None for no bias, "scheme" for the initialiser's, or its initial value.
    """

    features: int
    bias: str | float | None = None
    initialiser: str = "torch"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*cells c"]) -> Float[Array, "*cells C"]:
        scheme = initialisers.INITIALISERS[self.initialiser]
        inputs = x.shape[-1]
        kernel = self.param("kernel", scheme.kernel, (1, 1, 1, inputs, self.features))
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        y = x @ kernel[0, 0, 0]
        if self.bias is None:
            return y
        start = (
            scheme.bias(inputs)
            if self.bias == "scheme"
            else nn.initializers.constant(self.bias)
        )
        return y + self.param("bias", start, (self.features,)).astype(y.dtype)


def _native(x: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1, 1), "SAME", dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )


def _auto(x: Array, kernel: Array) -> Array:
    on_cpu = functools.partial(_on_cpu, padding=(1, 1), form="auto")
    return jax.lax.platform_dependent(x, kernel, cpu=on_cpu, default=_native)


FORMS = {
    "native": _native,
    "concat": lambda x, kernel: over_frames(x, kernel, padding=(1, 1), form="concat"),
    "sum": lambda x, kernel: over_frames(x, kernel, padding=(1, 1), form="sum"),
    "auto": _auto,
}


def over_frames(
    x: Float[Array, "B T h w c"],
    kernel: Float[Array, "t 3 3 c C"],
    *,
    padding: tuple[int, int] = (0, 0),
    form: str = "auto",
) -> Float[Array, "B _ h w C"]:
    """A 3-D convolution that keeps the size of frames.

    Args:
        padding: Frames of zeros before the first and after the last.
        form: "concat" is one convolution in 2-D, of frames side by side along the
            channels; "sum" is the sum of one for each frame that the kernel sees.
            "auto" takes "sum" for wide maps on CPU, where a row of "concat" leaves the
            cache. On CPU both have gradients as `ops.convolution` has them.
    """
    elsewhere = "concat" if form == "auto" else form
    return jax.lax.platform_dependent(
        *(x, kernel),
        cpu=functools.partial(_on_cpu, padding=padding, form=form),
        default=functools.partial(_plain, padding=padding, form=elsewhere),
    )


def _on_cpu(x: Array, kernel: Array, padding: tuple[int, int], form: str) -> Array:
    if form == "auto":
        form = "sum" if x.shape[-1] >= WIDE else "concat"
    return _with_products(x, kernel, padding, form)


def _plain(x: Array, kernel: Array, padding: tuple[int, int], form: str) -> Array:
    reach = kernel.shape[0]
    if form == "concat":
        # [t h w I O] -> [h w tI O], the order of the neighbours.
        flat = jax.lax.collapse(jnp.moveaxis(kernel, 0, 2), 2, 4)
        return _in_2d(_neighbours(_padded(x, padding), reach), flat)
    before, frames = padding[0], x.shape[1]
    outputs = frames + sum(padding) - reach + 1
    total = jnp.zeros((), x.dtype)
    for k in range(reach):
        # Output o sees the frame o + k - before, if there is one.
        first, end = max(before - k, 0), min(frames + before - k, outputs)
        if first < end:
            seen = (first + k - before, end + k - before)
            part = _in_2d(jax.lax.slice_in_dim(x, *seen, axis=1), kernel[k])
            total = total + _padded(part, (first, outputs - end))
    size = (x.shape[0], outputs, *x.shape[2:4], kernel.shape[-1])
    return jnp.broadcast_to(total, size)


def _forward(x, kernel, padding, form):
    return _plain(x, kernel, padding, form), (x, kernel)


def _backward(padding, form, saved, slope):
    x, kernel = saved
    reach, inputs, outputs = kernel.shape[0], *kernel.shape[3:]
    turned = jnp.flip(kernel, (0, 1, 2)).swapaxes(3, 4)
    padding = (reach - 1 - padding[0], reach - 1 - padding[1])
    # Frame i met the element t of the kernel for the output before + i - t.
    slopes = _neighbours(_padded(slope, padding), reach)
    each = convolution.slope_of_kernel(
        jax.lax.collapse(x, 0, 2), jax.lax.collapse(slopes, 0, 2), kernel[0]
    )
    each = each.reshape(3, 3, inputs, reach, outputs)[..., ::-1, :]
    return _plain(slope, turned, padding, form), jnp.moveaxis(each, 3, 0)


_with_products = jax.custom_vjp(_plain, nondiff_argnums=(2, 3))
_with_products.defvjp(_forward, _backward)


def _padded(x: Array, frames: tuple[int, int]) -> Array:
    return jnp.pad(x, ((0, 0), frames, (0, 0), (0, 0), (0, 0)))


def _in_2d(x: Float[Array, "B T h w c"], kernel: Float[Array, "3 3 c C"]) -> Array:
    y = jax.lax.conv_general_dilated(
        *(jax.lax.collapse(x, 0, 2), kernel, (1, 1), "SAME"),
        dimension_numbers=convolution.AXES,
    )
    return y.reshape(*x.shape[:-1], kernel.shape[-1])


def _neighbours(x: Array, reach: int) -> Array:
    """So many frames in a row, side by side."""
    frames = x.shape[1] - reach + 1
    seen = [jax.lax.slice_in_dim(x, k, k + frames, axis=1) for k in range(reach)]
    return jnp.concatenate(seen, axis=-1)
