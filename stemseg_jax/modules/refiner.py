"""From a coarse score of one target to its mask, along the backbone's maps.

Source: FRTM (Robinson et al., CVPR 2020); its authors' code, where the paper is silent.
"""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stemseg_jax.modules import conv2d, norms
from stemseg_jax.ops import resize


class Refiner(nn.Module):
    """Knows nothing of a target but its score: one for all of them.

    From the coarsest map of a frame to the finest, each is put beside the score and
    beside what the coarser one gave.

    Attributes:
        channels: Of all levels.
    """

    norm: norms.Norm
    channels: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        maps: tuple[Float[Array, "B _ _ _"], ...],
        scores: Float[Array, "B K h w"],
        size: tuple[int, int],
    ) -> Float[Array, "B K H W"]:
        """Mask logits of the targets of frames.

        Args:
            maps: The backbone's, finest first.
            scores: Of each target.
            size: Of the images.
        """
        B, K, h, w = scores.shape
        scores = scores.reshape(B * K, h, w, 1)
        x = None
        for level, features in reversed([*enumerate(maps)]):
            reduced = self._conv(features, self.channels, 1, f"reduce{level}a")
            reduced = self._conv(nn.relu(reduced), self.channels, 1, f"reduce{level}b")
            reduced = jnp.repeat(reduced, K, axis=0)  # the same for all targets
            here = resize.linear(scores, features.shape[1:3]).astype(reduced.dtype)
            h = jnp.concatenate([reduced, here], axis=-1)
            for index, width in enumerate((self.channels + 1,) * 2 + (self.channels,)):
                h = nn.relu(self._conv(h, width, 3, f"score{level}_{index}"))
            h = self._residual(h, f"score{level}")
            # Nothing is coarser than the coarsest map: its mean stands for that.
            deeper = _mean(reduced) if x is None else x
            gate = jnp.concatenate([_mean(h), _mean(deeper)], axis=-1)
            gate = nn.relu(self._conv(gate, self.channels, 1, f"gate{level}a"))
            gate = nn.sigmoid(self._conv(gate, self.channels, 1, f"gate{level}b"))
            x = gate * h + resize.linear(deeper, features.shape[1:3])
            x = self._residual(x, f"out{level}")
        x = resize.cubic(x, tuple(2 * n for n in x.shape[1:3]))
        x = nn.relu(self._conv(x, self.channels // 2, 3, "up"))
        x = resize.cubic(x, tuple(2 * n for n in x.shape[1:3]))
        x = resize.linear(x, size)
        logits = self._conv(x, 1, 3, "mask").astype(jnp.float32)
        return logits.reshape(B, K, *size)

    def _residual(self, x: Array, name: str) -> Array:
        v = self._conv(x, self.channels, 1, f"{name}_in")
        y = self._conv(v, self.channels, 3, f"{name}_conv1")
        y = nn.relu(self.norm(dtype=self.dtype, name=f"{name}_norm")(y))
        return nn.relu(v + self._conv(y, self.channels, 3, f"{name}_conv2"))

    def _conv(self, x: Array, width: int, kernel: int, name: str) -> Array:
        return conv2d.Conv2D(
            width,
            (kernel, kernel),
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
            name=name,
        )(x)


def _mean(x: Float[Array, "B h w C"]) -> Float[Array, "B 1 1 C"]:
    return x.mean(axis=(1, 2), keepdims=True)
