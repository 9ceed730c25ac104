"""From a coarse map to one of full size, frame by frame."""

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stemseg_jax import choices
from stemseg_jax.modules import conv2d, initialisers, norms
from stemseg_jax.modules.backbones import resnet
from stemseg_jax.ops import convolution, resize

UPSAMPLINGS = ("transposed", "bilinear")


class UpsamplingDecoder(nn.Module):
    """Pairs of 3x3 convolutions, each pair followed by a doubling; one more at the end.

    Norm and ReLU follow every convolution but the last, which has a bias instead and
    computes in float32.

    Attributes:
        widths: Of the convolutions, two for each doubling.
        upsample: "transposed": by a convolution that is learned. "bilinear".

    Raises:
        ValueError: `upsample` is neither, or a doubling lacks a convolution.

    Source: Hu, Kendall and Cipolla (arXiv 1912.08969) give the widths. Where and how it
        doubles is not in the paper; of these two only "transposed" has the number of
        parameters of its Table 5.
    """

    out_channels: int
    widths: tuple[int, ...] = (64, 64, 32, 32, 16, 16)
    upsample: str = "transposed"
    norm: norms.Norm = norms.BatchNorm
    initialiser: str = "he_normal"
    dtype: DTypeLike = jnp.float32

    def __post_init__(self):
        choices.known("upsample", self.upsample, UPSAMPLINGS)
        if len(self.widths) % 2:
            raise ValueError(
                f"widths={self.widths}: expected two convolutions for each doubling."
            )
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Float[Array, "*frames h w c"]
    ) -> Float[Array, "*frames H W C"]:
        frames = x.shape[:-3]
        x = x.reshape(-1, *x.shape[-3:])
        for index, width in enumerate(self.widths):
            x = resnet.convolution(self, width, 3, name=f"conv{index}")(x)
            x = nn.relu(self.norm(dtype=self.dtype, name=f"norm{index}")(x))
            if index % 2:
                x = self._doubled(x, f"up{index // 2}")
        scheme = initialisers.INITIALISERS[self.initialiser]
        x = conv2d.Conv2D(
            self.out_channels,
            (3, 3),
            kernel_init=scheme.kernel,
            bias_init=scheme.bias(9 * x.shape[-1]),
            dtype=jnp.float32,
            name="conv_out",
        )(x)
        return x.reshape(*frames, *x.shape[1:])

    def _doubled(self, x: Array, name: str) -> Array:
        if self.upsample == "transposed":
            return Doubling(self.initialiser, self.dtype, name=name)(x)
        return resize.linear(x, (2 * x.shape[1], 2 * x.shape[2]))


class Doubling(nn.Module):
    """A transposed 3x3 convolution of stride 2 to exactly twice the size, without bias.

    Element k of the kernel takes cell i to 2i - 1 + k, along each axis: PyTorch's with
    padding 1 and output padding 1.
    """

    initialiser: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B h w C"]) -> Float[Array, "B H W C"]:
        batch, height, width, channels = x.shape
        initialise = initialisers.INITIALISERS[self.initialiser].kernel
        kernel = self.param("kernel", initialise, (3, 3, channels, channels))
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        # Output cell 2a + p sees the input cells a + d, for d of 0 and 1, through
        # element p - 2d + 1, which is zero at -1: one convolution with a 2x2 kernel for
        # each of the four p. Several times faster on CPU than with zeros between cells.
        kernel = jnp.pad(kernel, ((1, 0), (1, 0), (0, 0), (0, 0)))
        kernel = kernel.reshape(2, 2, 2, 2, channels, channels)[::-1, :, ::-1]
        kernel = kernel.transpose(0, 2, 4, 1, 3, 5)  # [d d in p p out]
        y = convolution.general_dilated(
            x,
            kernel.reshape(2, 2, channels, 4 * channels),
            (1, 1),
            ((0, 1), (0, 1)),
            dimension_numbers=convolution.AXES,
        )
        y = y.reshape(batch, height, width, 2, 2, channels).swapaxes(2, 3)
        return y.reshape(batch, 2 * height, 2 * width, channels)
