"""What a crop looks like, in a vector: whether two show the same object.

Source: Zhou et al. (CVPR 2021) take a pre-trained network of another work, which
    needs a training of its own. Here it is the mean of a backbone's last map, as it is
    or trained further. Others are not here: the one of that work (PReMVOS's) is a
    checkpoint of TensorFlow or a training on COCO, and class logits of ImageNet, which
    UnOVOST takes in its place, need a classifier, before which backbones here end.
"""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


class CropEmbedding(nn.Module):
    """The mean over a backbone's coarsest map.

    Attributes:
        backbone: Makes the backbone.
    """

    backbone: Callable[[], nn.Module]

    def setup(self):
        self.body = self.backbone()

    def __call__(self, crops: Float[Array, "K H W 3"]) -> Float[Array, "K C"]:
        """Takes what the backbone's convention makes of the pixels."""
        return self.body(crops)[-1].mean(axis=(1, 2)).astype(jnp.float32)
