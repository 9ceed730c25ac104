"""MobileNetV2 (Sandler et al., CVPR 2018) and EfficientNet-Lite (Tan and Le, 2020).

Networks of inverted residual blocks, narrow at their ends and wide in between, where
each channel is convolved on its own. EfficientNet-Lite is EfficientNet (ICML 2019)
without squeeze-and-excitation, with ReLU6 in place of swish.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stemseg_jax.modules import initialisers, norms
from stemseg_jax.modules.backbones.resnet import convolution
from stemseg_jax.ops import depthwise


class Stage(NamedTuple):
    """Blocks of one width; the first of them has the stride.

    Attributes:
        expansion: How much wider a block is inside than what enters it.
    """

    blocks: int
    width: int
    stride: int
    kernel: int = 3
    expansion: int = 6


MOBILENET_V2 = (
    Stage(1, 16, stride=1, expansion=1),
    Stage(2, 24, stride=2),
    Stage(3, 32, stride=2),
    Stage(4, 64, stride=2),
    Stage(3, 96, stride=1),
    Stage(3, 160, stride=2),
    Stage(1, 320, stride=1),
)
EFFICIENTNET_LITE0 = (
    Stage(1, 16, stride=1, expansion=1),
    Stage(2, 24, stride=2),
    Stage(2, 40, stride=2, kernel=5),
    Stage(3, 80, stride=2),
    Stage(3, 112, stride=1, kernel=5),
    Stage(4, 192, stride=2, kernel=5),
    Stage(1, 320, stride=1),
)


def efficientnet_lite(*, width: float, depth: float) -> tuple[Stage, ...]:
    """EfficientNet-Lite0 with factors of its widths and of its depths.

    Widths are rounded to multiples of 8, but not by more than a tenth downwards;
    the first and the last stage keep their one block.
    """

    def scaled(stage: Stage) -> Stage:
        wanted = stage.width * width
        rounded = max(8, int(wanted + 4) // 8 * 8)
        if rounded < 0.9 * wanted:
            rounded += 8
        blocks = stage.blocks
        if stage not in (EFFICIENTNET_LITE0[0], EFFICIENTNET_LITE0[-1]):
            blocks = math.ceil(blocks * depth)
        return stage._replace(width=rounded, blocks=blocks)

    return tuple(map(scaled, EFFICIENTNET_LITE0))


class InvertedResidualNet(nn.Module):
    """A stem of stride 2 and blocks; the last map of each of the strides 4 to 32.

    Attributes:
        plan: Its stages.
        padding: "same" as TensorFlow pads: a window of stride 2 is centred between
            cells if their number is even. "centred": on cells, whatever their number.
        freeze_at: `stages` whose output stops the gradient.
        remat: Recompute each block in the backward pass instead of storing it.
    """

    plan: tuple[Stage, ...]
    padding: str = "same"
    stem_width: int = 32
    norm: norms.Norm = norms.FrozenBatchNorm
    freeze_at: int = 0
    initialiser: str = "he_normal"
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @property
    def stages(self) -> tuple[str, ...]:
        """Stem and blocks, numbered through as published files do."""
        blocks = sum(stage.blocks for stage in self.plan)
        return ("stem", *(f"block{index:02d}" for index in range(blocks)))

    @nn.compact
    def __call__(
        self, images: Float[Array, "B H W _"]
    ) -> tuple[Float[Array, "B _ _ _"], ...]:
        block = nn.remat(InvertedResidual) if self.remat else InvertedResidual
        layer = {
            "padding": self.padding,
            "norm": self.norm,
            "initialiser": self.initialiser,
            "dtype": self.dtype,
        }
        x = Stem(self.stem_width, name="stem", **layer)(images)
        strides = [
            (stage, stage.stride if index == 0 else 1)
            for stage in self.plan
            for index in range(stage.blocks)
        ]
        maps = []
        for index, (stage, stride) in enumerate(strides, start=1):
            if index <= self.freeze_at:  # and so in every map that leaves before it
                x = jax.lax.stop_gradient(x)
            if stride == 2:
                maps.append(x)
            x = block(stage, stride, name=self.stages[index], **layer)(x)
        if self.freeze_at == len(self.stages):
            x = jax.lax.stop_gradient(x)
        return (*maps[1:], x)  # the first has a stride of 2


class Stem(nn.Module):
    """3x3 convolution of stride 2, norm and ReLU6."""

    width: int
    padding: str
    norm: norms.Norm
    initialiser: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B H W _"]) -> Float[Array, "B h w C"]:
        padding = _padding(self.padding, x.shape, 3, 2)
        x = convolution(self, self.width, 3, stride=2, padding=padding, name="conv")(x)
        return nn.relu6(self.norm(dtype=self.dtype, name="norm")(x))


class InvertedResidual(nn.Module):
    """1x1 convolution to many channels, depthwise, 1x1 to few, and a shortcut."""

    stage: Stage
    stride: int
    padding: str
    norm: norms.Norm
    initialiser: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"]) -> Float[Array, "B h w C"]:
        entered = x
        if self.stage.expansion > 1:
            wide = self.stage.expansion * x.shape[-1]
            x = convolution(self, wide, 1, name="expand")(x)
            x = nn.relu6(self._norm("expand_norm")(x))
        x = Depthwise(
            self.stage.kernel,
            self.stride,
            self.padding,
            self.initialiser,
            self.dtype,
            name="depthwise",
        )(x)
        x = nn.relu6(self._norm("depthwise_norm")(x))
        x = convolution(self, self.stage.width, 1, name="project")(x)
        x = self._norm("project_norm")(x)
        return x + entered if x.shape == entered.shape else x

    def _norm(self, name: str) -> nn.Module:
        return self.norm(dtype=self.dtype, name=name)


class Depthwise(nn.Module):
    """A convolution of each channel on its own, without bias."""

    size: int
    stride: int
    padding: str
    initialiser: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B h w C"]:
        initialise = initialisers.INITIALISERS[self.initialiser].kernel
        shape = (self.size, self.size, 1, x.shape[-1])
        x, kernel = nn.dtypes.promote_dtype(
            x, self.param("kernel", initialise, shape), dtype=self.dtype
        )
        padding = _padding(self.padding, x.shape, self.size, self.stride)
        return depthwise.convolve(x, kernel, stride=self.stride, padding=padding)


def _padding(
    kind: str, shape: tuple[int, ...], kernel: int, stride: int
) -> depthwise.Padding:
    """Cells before and after, of rows and columns."""
    if kind == "centred":
        return ((kernel // 2, kernel // 2),) * 2
    sides = []
    for size in shape[1:3]:
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        sides.append((total // 2, total - total // 2))
    return sides[0], sides[1]
