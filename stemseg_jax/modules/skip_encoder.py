"""From frames to one map of stride 8: a backbone and two steps back up."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from stemseg_jax.modules import backbones, norms
from stemseg_jax.modules.backbones.resnet import convolution
from stemseg_jax.ops import pixels, resize

STRIDE = 8


class SkipEncoder(nn.Module):
    """Features of images, each image on its own.

    The backbone's map of stride 32 is enlarged and merged with that of stride 16, and
    the result with that of stride 8. The map of stride 4 is not used.

    Attributes:
        backbone: Makes the backbone.
        convention: How pixels enter the backbone; it belongs to the backbone's weights.
        channels: Of the maps of strides 16 and 8.
        frozen: Nothing here gets a gradient.

    Source: Hu, Kendall and Cipolla (arXiv 1912.08969) give the backbone, ResNet-18, and
        128 channels at stride 8. How it gets back to stride 8 is not in the paper; this
        way has the number of parameters of its Table 5, and the first author's later
        code (FIERY, ICCV 2021) has the same units.
    """

    backbone: Callable[[], nn.Module]
    convention: pixels.Convention = pixels.Convention()
    channels: tuple[int, int] = (256, 128)
    norm: norms.Norm = norms.BatchNorm
    frozen: bool = False
    initialiser: str = "he_normal"
    dtype: DTypeLike = jnp.float32

    @classmethod
    def from_config(cls, model: ConfigDict, **fields: Any) -> "SkipEncoder":
        """Of what the options of every system say; `fields` are the others."""
        return cls(
            backbone=backbones.from_config(model),
            convention=pixels.Convention.from_config(model.pixels),
            frozen=model.freeze_backbone,
            dtype=jnp.dtype(model.dtype),
            **fields,
        )

    def setup(self):
        self.body = self.backbone()
        self.merge16, self.merge8 = (
            Merge(width, self.norm, self.initialiser, self.dtype)
            for width in self.channels
        )

    def __call__(
        self, images: Float[Array, "*frames H W 3"]
    ) -> Float[Array, "*frames h w C"]:
        """Takes what `convention` makes of the pixels."""
        frames = images.shape[:-3]
        _, fine, middle, coarse = self.body(images.reshape(-1, *images.shape[-3:]))
        x = self.merge8(fine, self.merge16(middle, coarse))
        x = x.reshape(*frames, *x.shape[1:])
        return jax.lax.stop_gradient(x) if self.frozen else x

    @nn.nowrap  # it needs no variables
    def frozen_modules(self, path: str = "") -> tuple[str, ...]:
        """As `encoder.Encoder.frozen_modules`."""
        if self.frozen:
            return (f"{path}body", f"{path}merge16", f"{path}merge8")
        return backbones.frozen_stages(self.backbone(), f"{path}body/")


class Merge(nn.Module):
    """Two 3x3 convolutions, each with norm and ReLU, of [fine, enlarged coarse] map."""

    width: int
    norm: norms.Norm
    initialiser: str
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, fine: Float[Array, "B h w _"], coarse: Float[Array, "B _ _ _"]
    ) -> Float[Array, "B h w C"]:
        x = jnp.concatenate([fine, resize.linear(coarse, fine.shape[1:3])], axis=-1)
        for index in (1, 2):
            x = convolution(self, self.width, 3, name=f"conv{index}")(x)
            x = nn.relu(self.norm(dtype=self.dtype, name=f"norm{index}")(x))
        return x
