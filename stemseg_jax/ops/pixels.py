"""From a decoded frame to what the network is fed."""

import dataclasses
import math

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from stemseg_jax.ops import resize

MULTIPLE = 32  # the coarsest stride: padded sizes are multiples of it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Convention:
    """How pixel values 0..255 enter a network; it belongs to the weights.

    Attributes:
        order: "bgr" or "rgb": the order of the network's input channels.
        mean, std: Per channel, in that order.
    """

    order: str = "bgr"
    mean: tuple[float, float, float] = (102.9801, 115.9465, 122.7717)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self):
        if self.order not in ("bgr", "rgb"):
            raise ValueError(f"pixels.order={self.order!r} is neither 'bgr' nor 'rgb'.")

    def normalise(self, images: Array) -> Float[Array, "*frames H W 3"]:
        """RGB images in 0..255 -> network input; 0 is the mean colour."""
        images = jnp.asarray(images, jnp.float32)
        images = images if self.order == "rgb" else images[..., ::-1]
        return (images - jnp.array(self.mean)) / jnp.array(self.std)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SizeRule:
    """The shorter side becomes `min_dim`, unless the longer one would exceed `max_dim`.

    Source: the authors' code; frames are enlarged too.
    """

    min_dim: int
    max_dim: int

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Halves are rounded to even."""
        scale = self.min_dim / min(height, width)
        if max(height, width) * scale > self.max_dim:
            scale = self.max_dim / max(height, width)
        return max(round(scale * height), 1), max(round(scale * width), 1)


def padded(size: tuple[int, int]) -> tuple[int, int]:
    """The size after padding at the bottom and on the right."""
    height, width = size
    return (
        math.ceil(height / MULTIPLE) * MULTIPLE,
        math.ceil(width / MULTIPLE) * MULTIPLE,
    )


def prepare(
    images: UInt8[Array, "T _ _ 3"], resized: tuple[int, int], convention: Convention
) -> Float[Array, "T H W 3"]:
    """Resizes, normalises and pads frames of a video.

    Bilinear without antialiasing, not rounded back to whole grey levels; the padding
    has the mean colour.
    """
    images = resize.linear(images.astype(jnp.float32), resized)
    height, width = padded(resized)
    return jnp.pad(
        convention.normalise(images),
        ((0, 0), (0, height - resized[0]), (0, width - resized[1]), (0, 0)),
    )
