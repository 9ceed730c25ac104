"""From frames to features: backbone and feature pyramid, each frame on its own."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from stemseg_jax.modules import backbones, fpn
from stemseg_jax.ops import pixels

STRIDE = 4  # of the finest map

Pyramid = tuple[Float[Array, "*frames _ _ C"], ...]  # strides 4, 8, 16, 32


class Encoder(nn.Module):
    """Features of images.

    A network that calls `nn.share_scope(self, self.encoder)` in its `setup` has the
    parameters of `body` and `fpn` as its own, by the names that weight files go by.

    Attributes:
        backbone: Makes the backbone.
        convention: How pixels enter the backbone; it belongs to the backbone's weights.
        frozen: Backbone and pyramid get no gradient.
    """

    backbone: Callable[[], nn.Module]
    fpn_channels: int
    convention: pixels.Convention
    frozen: bool
    dtype: DTypeLike

    @classmethod
    def from_config(cls, model: ConfigDict) -> "Encoder":
        return cls(
            backbone=backbones.from_config(model),
            fpn_channels=model.fpn_channels,
            convention=pixels.Convention.from_config(model.pixels),
            frozen=model.freeze_backbone,
            dtype=jnp.dtype(model.dtype),
        )

    def setup(self):
        # Made here, and not given as modules: their first weights then depend on their
        # names in the scope that is shared.
        self.body = self.backbone()
        self.fpn = fpn.FeaturePyramid(self.fpn_channels, dtype=self.dtype)

    def __call__(self, images: Float[Array, "*frames H W 3"]) -> Pyramid:
        """Takes what `convention` makes of the pixels."""
        frames = images.shape[:-3]
        maps = self.fpn(self.body(images.reshape(-1, *images.shape[-3:])))
        maps = tuple(x.reshape(*frames, *x.shape[1:]) for x in maps)
        return jax.lax.stop_gradient(maps) if self.frozen else maps

    @nn.nowrap  # it needs no variables
    def frozen_modules(self, path: str = "") -> tuple[str, ...]:
        """Beginnings of the paths of the parameters that training leaves alone.

        Args:
            path: Of this module in its network, e.g. "guide/"; empty if it shares the
                network's scope.
        """
        if self.frozen:
            return (f"{path}body", f"{path}fpn")
        return backbones.frozen_stages(self.backbone(), f"{path}body/")
