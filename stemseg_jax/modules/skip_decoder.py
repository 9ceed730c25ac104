"""From a map of stride 16 to one of stride 4, beside the backbone's finer maps."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stemseg_jax.modules import initialisers, norms
from stemseg_jax.modules.backbones.resnet import convolution
from stemseg_jax.ops import depthwise, resize


class SkipDecoder(nn.Module):
    """Twice: twice the size, beside a finer map, and a 5x5 convolution over both; then
    one more.

    The finer maps come in through 1x1 convolutions. A 5x5 convolution is one of each
    channel and one of each cell. Norm and ReLU follow every convolution.

    Attributes:
        skips: Widths of the finer maps of strides 8 and 4.

    Source: Zhou et al. (CVPR 2021), Sec. 3.1; skips and the form of the convolutions
        are those of Panoptic-DeepLab (Cheng et al., CVPR 2020).
    """

    width: int
    skips: tuple[int, int]
    norm: norms.Norm
    initialiser: str = "he_normal"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B _ _ _"],
        finer: tuple[Float[Array, "B _ _ _"], Float[Array, "B h w _"]],
    ) -> Float[Array, "B h w C"]:
        """Takes the map of stride 16 and those of strides 8 and 4."""
        for stride, width, skip in zip((8, 4), self.skips, finer, strict=True):
            x = resize.linear_corners(x, skip.shape[1:3])
            skip = convolution(self, width, 1, name=f"skip_{stride}")(skip)
            skip = self._activated(skip, f"skip_{stride}_norm")
            x = self._separable(jnp.concatenate([x, skip], axis=-1), f"conv_{stride}")
        return self._separable(x, "conv_out")

    def _separable(self, x: Array, name: str) -> Array:
        x = Depthwise(5, self.initialiser, self.dtype, name=f"{name}_depthwise")(x)
        x = self._activated(x, f"{name}_depthwise_norm")
        x = convolution(self, self.width, 1, name=f"{name}_pointwise")(x)
        return self._activated(x, f"{name}_pointwise_norm")

    def _activated(self, x: Array, name: str) -> Array:
        return nn.relu(self.norm(dtype=self.dtype, name=name)(x))


class Depthwise(nn.Module):
    """Each channel with its own kernel, in the form that is fast where it runs."""

    taps: int
    initialiser: str = "he_normal"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B h w C"]) -> Float[Array, "B h w C"]:
        kernel = self.param(
            "kernel",
            initialisers.INITIALISERS[self.initialiser].kernel,
            (self.taps, self.taps, 1, x.shape[-1]),
        )
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        around = (self.taps // 2, self.taps // 2)
        return depthwise.convolve(x, kernel, stride=1, padding=(around, around))
