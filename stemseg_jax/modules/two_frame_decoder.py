"""The decoder of SRNet: a pyramid and the frame before at its coarsest level."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stemseg_jax.modules import conv2d, initialisers, norms
from stemseg_jax.ops import resize


class TwoFrameDecoder(nn.Module):
    """Feature maps of a frame to one map of stride 4 that has seen the frame before.

    The first block is a 2x3x3 convolution over the two frames at stride 32, without
    padding in time. Each other block enlarges the map to the next finer level, puts it
    beside that level's features and mixes both by a 3x3 convolution. Norm and ReLU
    follow every convolution.

    Attributes:
        channels: The widths of the blocks, coarsest first.

    Source: SRNet (Ying et al., MM 2021), Sec. 3. Widths, norm and one convolution per
        block are not in the paper; they follow STEm-Seg's decoder.
    """

    channels: tuple[int, int, int, int] = (256, 256, 128, 128)
    norm: norms.Norm = norms.group_norm()
    initialiser: str = "torch"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        maps: tuple[Float[Array, "B _ _ _"], ...],
        past: Float[Array, "B _ _ _"],
    ) -> Float[Array, "B h w C"]:
        """Takes the four feature maps finest first, and the coarsest of the past."""
        coarse_to_fine = zip((32, 16, 8, 4), self.channels, reversed(maps), strict=True)
        x = past
        for stride, width, features in coarse_to_fine:
            if stride < 32:
                x = resize.linear_corners(x, features.shape[1:3])
            # At stride 32 this is the convolution over time: two frames side by side
            # along the channels, with a kernel for each.
            x = jnp.concatenate([x, features], axis=-1)
            x = self._convolution(width, x.shape[-1], f"conv_{stride}")(x)
            x = nn.relu(self.norm(dtype=self.dtype, name=f"norm_{stride}")(x))
        return x

    def _convolution(self, features: int, inputs: int, name: str) -> nn.Conv:
        scheme = initialisers.INITIALISERS[self.initialiser]
        return conv2d.Conv2D(
            features,
            (3, 3),
            kernel_init=scheme.kernel,
            bias_init=scheme.bias(9 * inputs),
            dtype=self.dtype,
            name=name,
        )
