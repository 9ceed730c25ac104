"""Feature pyramid network (Lin et al., CVPR 2017)."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stemseg_jax.modules import conv2d, initialisers
from stemseg_jax.ops import resize


class FeaturePyramid(nn.Module):
    """Brings maps of several strides to one width, each enriched by all coarser ones.

    Differs from the paper, as STEm-Seg's code does, in: the coarser map is enlarged
    bilinearly, not by nearest neighbour.
    """

    channels: int = 256
    initialiser: str = "lecun_uniform"
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, maps: tuple[Float[Array, "B _ _ _"], ...]
    ) -> tuple[Float[Array, "B _ _ C"], ...]:
        """Takes and gives the finest map first."""
        outputs = []
        inner = None
        for level, x in reversed(list(enumerate(maps, start=1))):
            lateral = self._convolution(1, x.shape[-1], f"lateral{level}")(x)
            if inner is not None:
                lateral = lateral + resize.linear(inner, lateral.shape[1:3])
            inner = lateral
            outputs.append(self._convolution(3, self.channels, f"output{level}")(inner))
        return tuple(reversed(outputs))

    def _convolution(self, kernel: int, inputs: int, name: str) -> nn.Conv:
        scheme = initialisers.INITIALISERS[self.initialiser]
        return conv2d.Conv2D(
            self.channels,
            (kernel, kernel),
            kernel_init=scheme.kernel,
            bias_init=scheme.bias(inputs * kernel**2),
            dtype=self.dtype,
            name=name,
        )
