"""What is an object in a frame, seen beside what was one in the frame before.

Source: Zhou et al. (CVPR 2021), Sec. 3.1: the D-Net.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from stemseg_jax.modules import conv2d, norms
from stemseg_jax.modules.aspp import ASPP
from stemseg_jax.modules.guidance import GuidanceGate
from stemseg_jax.modules.skip_decoder import SkipDecoder

STRIDE = 4  # of what comes out
DESCRIPTORS = ("pair", "printed")


class Maps(NamedTuple):
    """What is said of frames."""

    logits: Float[Array, "*B h w C"]  # of the foreground alone, or background first
    heatmap: Float[Array, "*B h w"]  # of centres
    offsets: Float[Array, "*B h w 2"]  # (y, x) to the centre, in cells

    def foreground(self) -> Float[Array, "*B h w"]:
        """Probability of belonging to any object."""
        if self.logits.shape[-1] == 1:
            return nn.sigmoid(self.logits[..., 0])
        return 1 - nn.softmax(self.logits)[..., 0]


class Guide(nn.Module):
    """A backbone over the frame before and its foreground."""

    backbone: Callable[[], nn.Module]
    aspp: Callable[..., nn.Module]

    def setup(self):
        self.body = self.backbone()
        self.pool = self.aspp()

    def __call__(
        self, before: Float[Array, "B H W 4"], keys: Key[Array, "B"] | None
    ) -> Float[Array, "B h w C"]:
        return self.pool(self.body(before)[-1], keys)


class GuidedDiscovery(nn.Module):
    """A backbone and two branches, one for the foreground, one for instances.

    Attributes:
        backbone: Makes the backbone, whose last stage has stride 16; also that of the
            guide, whose first convolution has one more input channel.
        outputs: Of the foreground: 1, or classes with the background.
        descriptor: What a gate sees: its own map and the guide's ("pair"), or the maps
            of both branches ("printed"). The paper declares the one and prints the
            other.
        guided: Without, no guide is made, and maps pass as they are.
        widths: Of the decoders of foreground and instances; `foreground_skips` and
            `instance_skips` of their finer maps.
    """

    backbone: Callable[[], nn.Module]
    outputs: int
    norm: norms.Norm
    channels: int = 256
    gate_width: int = 64
    widths: tuple[int, int] = (256, 128)
    foreground_skips: tuple[int, int] = (64, 32)
    instance_skips: tuple[int, int] = (32, 16)
    descriptor: str = "pair"
    guided: bool = True
    dtype: DTypeLike = jnp.float32

    def setup(self):
        made = {"norm": self.norm, "dtype": self.dtype}

        def aspp():
            return ASPP(self.channels, **made)

        self.body = self.backbone()
        self.foreground_aspp, self.instance_aspp = aspp(), aspp()
        if self.guided:
            self.guide = Guide(self.backbone, aspp)
            self.foreground_gate = GuidanceGate(self.gate_width, self.dtype)
            self.instance_gate = GuidanceGate(self.gate_width, self.dtype)
        self.foreground_decoder = SkipDecoder(
            self.widths[0], self.foreground_skips, **made
        )
        self.instance_decoder = SkipDecoder(self.widths[1], self.instance_skips, **made)
        self.foreground_head = conv2d.Conv2D(self.outputs, (1, 1))
        self.heatmap_head = conv2d.Conv2D(1, (1, 1))
        self.offset_head = conv2d.Conv2D(2, (1, 1))

    def __call__(
        self,
        images: Float[Array, "B H W 3"],
        before: Float[Array, "B H W 4"],
        keys: Key[Array, "B"] | None = None,
    ) -> Maps:
        """Maps of stride 4, of normalised frames, those before them with their
        foreground in [0, 1], and in training a key of each for the dropout."""
        of_4, of_8, _, x = self.body(images)
        # Each ASPP drops something else.
        dropping = [None] * 3
        if keys is not None:
            dropping = jax.vmap(lambda key: jax.random.split(key, 3))(keys).T
        foreground = self.foreground_aspp(x, dropping[0])
        instances = self.instance_aspp(x, dropping[1])
        if self.guided:
            guide = self.guide(before, dropping[2])
            printed = (foreground, instances)
            pairs = {
                "pair": ((foreground, guide), (instances, guide)),
                "printed": (printed, printed),
            }[self.descriptor]
            foreground = self.foreground_gate(foreground, guide, pairs[0])
            instances = self.instance_gate(instances, guide, pairs[1])
        foreground = self.foreground_decoder(foreground, (of_8, of_4))
        instances = self.instance_decoder(instances, (of_8, of_4))
        return Maps(
            self.foreground_head(foreground.astype(jnp.float32)),
            self.heatmap_head(instances.astype(jnp.float32))[..., 0],
            self.offset_head(instances.astype(jnp.float32)),
        )
