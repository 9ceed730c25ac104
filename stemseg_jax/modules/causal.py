"""A network over frames that looks back in time and never ahead."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stemseg_jax.modules import conv3d, initialisers, norms

Past = Float[Array, "B _ h w _"]


class TemporalModel(nn.Module):
    """Residual bottlenecks; the first and the last see the frame before, too.

    Frame t is made of t, t - 1 and t - 2 alone, whatever the length of the clip. A
    video may be given in pieces, down to single frames: what comes out with one piece
    goes in with the next, and the maps are those of the whole.

    Attributes:
        channels: Of what goes in and comes out.

    Source: Hu, Kendall and Cipolla (arXiv 1912.08969), the temporal model; Table 5
        counts its parameters.
    """

    blocks: int = 12
    channels: int = 128
    norm: norms.Norm = norms.BatchNorm
    initialiser: str = "he_normal"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T h w C"], past: tuple[Past, ...] | None = None
    ) -> tuple[Float[Array, "B T h w C"], tuple[Past, ...]]:
        """Takes and gives what the blocks that look back remember.

        Args:
            past: None before the first frame.
        """
        before = iter(past or ())
        remembered = []
        for index in range(self.blocks):
            looks_back = index in (0, self.blocks - 1)
            x, last = CausalBottleneck(
                self.channels,
                reach=2 if looks_back else 1,
                norm=self.norm,
                initialiser=self.initialiser,
                dtype=self.dtype,
                name=f"block{index:02}",
            )(x, next(before, None) if looks_back else None)
            if looks_back:
                remembered.append(last)
        return x, tuple(remembered)


class CausalBottleneck(nn.Module):
    """To half the channels, a convolution over time and space, back, and a shortcut.

    Norm and ReLU follow each convolution; nothing follows the sum.

    Attributes:
        reach: Frames that the convolution sees: the same and those before.

    Source: Hu, Kendall and Cipolla (arXiv 1912.08969). What precedes the first frame
        is zero after the projection, and the places of norm and ReLU are as in the
        first author's later code (FIERY, ICCV 2021).
    """

    channels: int
    reach: int = 1
    norm: norms.Norm = norms.BatchNorm
    initialiser: str = "he_normal"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T h w C"], past: Past | None = None
    ) -> tuple[Float[Array, "B T h w C"], Past]:
        """Takes and gives the last `reach - 1` projected maps.

        Args:
            past: None before the first frame: zeros.
        """
        assert x.shape[-1] == self.channels, (x.shape, self.channels)
        inner = self.channels // 2
        y = self._normed(self._pointwise(inner, "project")(x), "project_norm")
        if past is None:
            past = jnp.zeros((y.shape[0], self.reach - 1, *y.shape[2:]), y.dtype)
        seen = jnp.concatenate([past, y], axis=1)
        kernel = self.param(
            "kernel",
            initialisers.INITIALISERS[self.initialiser].kernel,
            (self.reach, 3, 3, inner, inner),
        )
        y = conv3d.over_frames(*nn.dtypes.promote_dtype(seen, kernel, dtype=y.dtype))
        y = self._normed(y, "norm")
        y = self._normed(self._pointwise(self.channels, "expand")(y), "expand_norm")
        return x + y, seen[:, seen.shape[1] - (self.reach - 1) :]

    def _pointwise(self, features: int, name: str) -> nn.Module:
        return conv3d.Pointwise(
            features, initialiser=self.initialiser, dtype=self.dtype, name=name
        )

    def _normed(self, x: Array, name: str) -> Array:
        return nn.relu(self.norm(dtype=self.dtype, name=name)(x))
