"""How the camera moves from one frame to the next."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stemseg_jax.modules import conv2d, initialisers
from stemseg_jax.ops import cost_volume

MEAN, STD = 0.45, 0.225  # of grey levels in [0, 1]
SCALE = 0.01  # so that an untrained network says that the camera hardly moves


class PoseNetwork(nn.Module):
    """Rotation and translation of each pair of images.

    Attributes:
        backbone: Makes the backbone, of whose maps the coarsest is used. Its first
            convolution takes six channels: `widen="repeat"` of a file of three.
        width: Of the convolutions after it.
        reach: (0, 0): the backbone sees the pair. Else it sees, at half the size, how
            likely each shift of so many pixels along y and x is: how motion looks need
            not be learnt, which takes long without weights of ImageNet. Ours.

    Source: Hu, Kendall and Cipolla (arXiv 1912.08969): ResNet-18 and four convolutions,
        averaged over space. Kernel sizes, scale and pixels are those of the network
        with the same number of parameters, monodepth2's (Godard et al., ICCV 2019).
    """

    backbone: Callable[[], nn.Module]
    width: int = 256
    reach: tuple[int, int] = (0, 0)
    initialiser: str = "he_normal"
    dtype: DTypeLike = jnp.float32

    def setup(self):
        self.body = self.backbone()
        self.squeeze = self._convolution(self.width, 1)
        self.conv1 = self._convolution(self.width, 3)
        self.conv2 = self._convolution(self.width, 3)
        self.conv_out = self._convolution(6, 1)

    def __call__(self, pairs: Float[Array, "*pairs H W 6"]) -> Float[Array, "*pairs 6"]:
        """The motion as axis times angle in radians, then a translation.

        Both are for points (x, y, z), as camera matrices are.

        Args:
            pairs: RGB in [0, 1] of the earlier image and the later one.
        """
        images = (pairs.reshape(-1, *pairs.shape[-3:]) - MEAN) / STD
        if any(self.reach):
            halves = nn.avg_pool(images, (2, 2), (2, 2))
            images = cost_volume.shift_likelihoods(
                halves[..., :3], halves[..., 3:], self.reach
            )
        return self.of_features(self.body(images)[-1]).reshape(*pairs.shape[:-3], 6)

    def of_features(self, x: Float[Array, "B h w _"]) -> Float[Array, "B 6"]:
        """The same from the backbone's coarsest map."""
        for layer in (self.squeeze, self.conv1, self.conv2):
            x = nn.relu(layer(x))
        return SCALE * self.conv_out(x).astype(jnp.float32).mean(axis=(1, 2))

    def _convolution(self, features: int, kernel: int) -> nn.Conv:
        scheme = initialisers.INITIALISERS[self.initialiser]
        return conv2d.Conv2D(
            features,
            (kernel, kernel),
            kernel_init=scheme.kernel,
            bias_init=nn.initializers.zeros,
            dtype=self.dtype,
        )
