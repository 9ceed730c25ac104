"""ResNet (He et al., CVPR 2016) and ResNeXt (Xie et al., CVPR 2017).

Maps of strides 4, 8, 16 and 32 of single frames of any number of channels. Where the
stride sits, which norm follows a convolution and how much of the network is frozen are
fields.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import FrozenDict
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stemseg_jax.modules import conv2d, initialisers, norms


class ResNet(nn.Module):
    """A stem and four stages of residual blocks, one map per stage.

    Stem and first stage reduce to stride 4: by a max pool after the stem (`stem_pool`),
    or by the first block of stage 1.

    Attributes:
        widths: Output channels of the four stages.
        freeze_at: Stages whose output stops the gradient, the stem counted as the
            first. The original trains with 2: stem and stage 1 keep their weights.
        dilated: The last stage keeps stride 16; its 3x3 convolutions reach twice as
            far.
        remat: Recompute each block in the backward pass instead of storing it.
    """

    stages: ClassVar = ("stem", "stage1", "stage2", "stage3", "stage4")

    block: type[nn.Module]
    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    block_options: FrozenDict[str, Any] = FrozenDict()
    stem_width: int = 64
    stem_kernel: int = 7
    stem_pool: bool = True
    norm: norms.Norm = norms.FrozenBatchNorm
    freeze_at: int = 0
    initialiser: str = "lecun_uniform"
    dilated: bool = False
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images: Float[Array, "B H W _"]
    ) -> tuple[Float[Array, "B _ _ _"], ...]:
        block = nn.remat(self.block) if self.remat else self.block
        layer = {
            "norm": self.norm,
            "initialiser": self.initialiser,
            "dtype": self.dtype,
        }
        x = Stem(
            self.stem_width, self.stem_kernel, pool=self.stem_pool, name="stem", **layer
        )(images)
        if self.freeze_at >= 1:
            # Also spares the gradient of the max pool, which is very slow on CPU.
            x = jax.lax.stop_gradient(x)
        maps = []
        for stage, (depth, width) in enumerate(
            zip(self.depths, self.widths, strict=True), start=1
        ):
            dilated = self.dilated and stage == 4
            for index in range(depth):
                reduces = index == 0 and (stage > 1 or not self.stem_pool)
                x = block(
                    width,
                    2 if reduces and not dilated else 1,
                    dilation=2 if dilated else 1,
                    name=f"stage{stage}_block{index}",
                    **layer,
                    **self.block_options,
                )(x)
            if self.freeze_at > stage:
                x = jax.lax.stop_gradient(x)
            maps.append(x)
        return tuple(maps)


class Stem(nn.Module):
    """Convolution of stride 2, norm, ReLU and, if wanted, the max pool to stride 4."""

    width: int
    kernel: int
    pool: bool
    norm: norms.Norm
    initialiser: str
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B H W _"]) -> Float[Array, "B h w C"]:
        x = convolution(self, self.width, self.kernel, stride=2, name="conv")(x)
        x = nn.relu(self.norm(dtype=self.dtype, name="norm")(x))
        if self.pool:
            x = nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        return x


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    width: int
    stride: int
    norm: norms.Norm
    initialiser: str
    dtype: DTypeLike
    dilation: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"]) -> Float[Array, "B h w C"]:
        norm = self.norm
        reach = {"dilation": self.dilation}
        y = convolution(self, self.width, 3, stride=self.stride, name="conv1", **reach)(
            x
        )
        y = nn.relu(norm(dtype=self.dtype, name="norm1")(y))
        y = convolution(self, self.width, 3, name="conv2", **reach)(y)
        y = norm(dtype=self.dtype, name="norm2")(y)
        return nn.relu(y + _shortcut(self, x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution around a shortcut.

    Attributes:
        stride_in_1x1: Whether the first 1x1 convolution carries the stride (the Caffe
            models of the ResNet authors, which the original starts from) or the 3x3
            (torchvision, ResNeXt).
        groups: Groups of the 3x3 convolution.
        group_width: Channels of each group at an output width of 256; 64 for one group.
    """

    width: int
    stride: int
    norm: norms.Norm
    initialiser: str
    dtype: DTypeLike
    stride_in_1x1: bool = True
    groups: int = 1
    group_width: int = 64
    dilation: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "B H W c"]) -> Float[Array, "B h w C"]:
        norm = self.norm
        inner = self.width * self.groups * self.group_width // 256
        first, second = (self.stride, 1) if self.stride_in_1x1 else (1, self.stride)
        y = convolution(self, inner, 1, name="conv1")(_every(first, x))
        y = nn.relu(norm(dtype=self.dtype, name="norm1")(y))
        y = convolution(
            self,
            inner,
            3,
            stride=second,
            groups=self.groups,
            dilation=self.dilation,
            name="conv2",
        )(y)
        y = nn.relu(norm(dtype=self.dtype, name="norm2")(y))
        y = convolution(self, self.width, 1, name="conv3")(y)
        y = norm(dtype=self.dtype, name="norm3")(y)
        return nn.relu(y + _shortcut(self, x))


def _shortcut(block: nn.Module, x: Array) -> Array:
    if block.stride == 1 and x.shape[-1] == block.width:
        return x
    # A 1x1 convolution of stride 2 sees every second cell: slicing first is the same
    # and several times faster on CPU.
    x = _every(block.stride, x)
    x = convolution(block, block.width, 1, name="shortcut_conv")(x)
    return block.norm(dtype=block.dtype, name="shortcut_norm")(x)


def _every(step: int, x: Array) -> Array:
    """Every n-th row and column."""
    # Where sizes are symbols, x[:, ::step, ::step] would be a gather.
    return jax.lax.slice(x, (0,) * 4, x.shape, (1, step, step, 1))


def convolution(
    module: nn.Module,
    width: int,
    kernel: int,
    *,
    name: str,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    padding: int | tuple[tuple[int, int], tuple[int, int]] | None = None,
) -> nn.Conv:
    """A convolution without bias, as `module` is set.

    Args:
        padding: As PyTorch pads, if none is given.
    """
    return conv2d.Conv2D(
        width,
        (kernel, kernel),
        strides=stride,
        padding=kernel // 2 * dilation if padding is None else padding,
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=False,
        kernel_init=initialisers.INITIALISERS[module.initialiser].kernel,
        dtype=module.dtype,
        name=name,
    )
