"""Atrous spatial pyramid pooling: one map seen at several scales."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from stemseg_jax.modules import norms
from stemseg_jax.modules.backbones.resnet import convolution

DROPPED = 0.5  # of the outputs, in training


class ASPP(nn.Module):
    """A 1x1 convolution, 3x3 convolutions that reach far, and the mean of the map, side
    by side, and a 1x1 convolution over all.

    Norm and ReLU follow each convolution, ReLU alone that of the mean.

    Attributes:
        rates: How far the 3x3 convolutions reach, in cells.

    Source: Chen et al., "Rethinking Atrous Convolution" (2017), in the form of
        Panoptic-DeepLab (Cheng et al., CVPR 2020).
    """

    channels: int
    norm: norms.Norm
    rates: tuple[int, ...] = (6, 12, 18)
    initialiser: str = "he_normal"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B h w c"], keys: Key[Array, "B"] | None = None
    ) -> Float[Array, "B h w C"]:
        """Takes the maps of images, and in training a key of each for the dropout."""
        branches = [self._layer(x, 1, "branch0")]
        for index, rate in enumerate(self.rates, start=1):
            branches.append(self._layer(x, 3, f"branch{index}", rate))
        pooled = x.mean(axis=(1, 2), keepdims=True)
        pooled = nn.relu(convolution(self, self.channels, 1, name="pooled")(pooled))
        branches.append(jnp.broadcast_to(pooled, branches[0].shape))
        x = self._layer(jnp.concatenate(branches, axis=-1), 1, "project")
        if keys is None:
            return x
        kept = jax.vmap(
            lambda key: jax.random.bernoulli(key, 1 - DROPPED, x.shape[1:])
        )(keys)
        return jnp.where(kept, x / (1 - DROPPED), 0)

    def _layer(self, x: Array, kernel: int, name: str, rate: int = 1) -> Array:
        x = convolution(self, self.channels, kernel, dilation=rate, name=name)(x)
        return nn.relu(self.norm(dtype=self.dtype, name=f"{name}_norm")(x))
