"""From a decoded frame to what the network is fed."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from stemseg_jax import geometry
from stemseg_jax.ops import resize


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

    @classmethod
    def from_config(cls, pixels: ConfigDict) -> "Convention":
        return cls(order=pixels.order, mean=tuple(pixels.mean), std=tuple(pixels.std))

    def normalise(self, images: Array) -> Float[Array, "*frames H W 3"]:
        """RGB images in 0..255 -> network input; 0 is the mean colour."""
        images = jnp.asarray(images, jnp.float32)
        images = images if self.order == "rgb" else jnp.flip(images, -1)
        return (images - jnp.array(self.mean)) / jnp.array(self.std)


@functools.partial(jax.jit, static_argnums=(1, 2))
def prepare(
    images: UInt8[Array, "T _ _ 3"], resized: tuple[int, int], convention: Convention
) -> Float[Array, "T H W 3"]:
    """Resizes, normalises and pads frames of a video.

    Bilinear without antialiasing, not rounded back to whole grey levels; the padding
    has the mean colour. Jitted on its own: so small a program may be compiled for each
    size of frames, but not a network.
    """
    images = resize.linear(images.astype(jnp.float32), resized)
    height, width = geometry.padded(resized)
    return jnp.pad(
        convention.normalise(images),
        ((0, 0), (0, height - resized[0]), (0, width - resized[1]), (0, 0)),
    )


@functools.partial(jax.jit, static_argnums=(1, 2))
def warped(
    images: UInt8[Array, "T _ _ 3"], size: tuple[int, int], convention: Convention
) -> Float[Array, "T H W 3"]:
    """Frames in that size, whatever it does to their aspect; not padded."""
    return convention.normalise(resize.linear(images.astype(jnp.float32), size))
