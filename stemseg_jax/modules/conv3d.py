"""3-D convolution in the form that is fast where it runs."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stemseg_jax.modules import initialisers


class Conv3D(nn.Module):
    """A 3x3x3 convolution of stride 1 that keeps the size, with bias.

    Attributes:
        form: "native" is XLA's 3-D convolution. "concat" is one 2-D convolution over
            the previous, the same and the next frame side by side along the channels:
            same parameters, same numbers, about three times faster on CPU. "auto" takes
            "concat" on CPU and "native" elsewhere.
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


def _concat(x: Array, kernel: Array) -> Array:
    return side_by_side(jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0))), kernel)


def side_by_side(
    x: Float[Array, "B T h w c"], kernel: Float[Array, "t 3 3 c C"]
) -> Float[Array, "B T-t+1 h w C"]:
    """A convolution that keeps the size of frames and adds no frame, as one in 2-D.

    Frames that the kernel sees at once lie side by side along the channels.
    """
    batch, frames, height, width, channels = x.shape
    reach = kernel.shape[0]
    frames -= reach - 1
    neighbours = jnp.concatenate(
        [x[:, step : step + frames] for step in range(reach)], axis=-1
    )
    # [t h w I O] -> [h w tI O], the order of the concatenation.
    flat = jnp.moveaxis(kernel, 0, 2).reshape(3, 3, reach * channels, -1)
    y = jax.lax.conv_general_dilated(
        neighbours.reshape(batch * frames, height, width, reach * channels),
        flat,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y.reshape(batch, frames, height, width, kernel.shape[-1])


def _auto(x: Array, kernel: Array) -> Array:
    return (_concat if jax.default_backend() == "cpu" else _native)(x, kernel)


FORMS = {"native": _native, "concat": _concat, "auto": _auto}
