"""Backbones by name: images [B H W c] to maps of strides 4, 8, 16 and 32.

A new backbone is an entry of `BACKBONES`. It takes the options of `build`, whether it
has a use for them or not, and its module has `stages`: the beginnings of the names of
its parameters, from the image on, which `freeze_at` counts.
"""

import functools
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.core import FrozenDict
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from stemseg_jax import choices
from stemseg_jax.modules import norms
from stemseg_jax.modules.backbones import inverted_residual
from stemseg_jax.modules.backbones.inverted_residual import InvertedResidualNet
from stemseg_jax.modules.backbones.resnet import BasicBlock, Bottleneck, ResNet
from stemseg_jax.modules.recipes import Recipe


def _bottlenecks(
    depths: tuple[int, int, int, int],
    *,
    stride_in_1x1: bool = True,
    groups: int = 1,
    group_width: int = 64,
    **fields,
) -> ResNet:
    return ResNet(
        block=Bottleneck,
        block_options=FrozenDict(
            stride_in_1x1=stride_in_1x1, groups=groups, group_width=group_width
        ),
        depths=depths,
        widths=(256, 512, 1024, 2048),
        **fields,
    )


def _basic_blocks(
    depths: tuple[int, int, int, int],
    widths: tuple[int, int, int, int],
    *,
    stride_in_1x1: bool = True,
    **fields,
) -> ResNet:
    del stride_in_1x1  # there is no 1x1 convolution before the 3x3
    return ResNet(block=BasicBlock, depths=depths, widths=widths, **fields)


def _inverted_residuals(
    plan: tuple[inverted_residual.Stage, ...],
    padding: str,
    *,
    stride_in_1x1: bool = True,
    dilated: bool = False,
    **fields,
) -> InvertedResidualNet:
    del stride_in_1x1  # the depthwise convolution has the stride
    if dilated:
        raise ValueError(
            "model.backbone: networks of inverted residuals have no dilated form; use "
            "a ResNet, or 'tiny'."
        )
    return InvertedResidualNet(plan, padding, **fields)


BACKBONES = {
    "resnet18": functools.partial(_basic_blocks, (2, 2, 2, 2), (64, 128, 256, 512)),
    "resnet50": functools.partial(_bottlenecks, (3, 4, 6, 3)),
    "resnet101": functools.partial(_bottlenecks, (3, 4, 23, 3)),
    "resnext101_32x8d": functools.partial(
        _bottlenecks, (3, 4, 23, 3), stride_in_1x1=False, groups=32, group_width=8
    ),
    "resnext101_64x4d": functools.partial(
        _bottlenecks, (3, 4, 23, 3), stride_in_1x1=False, groups=64, group_width=4
    ),
    # As their published weights were trained: on even sizes, and on odd ones.
    "efficientnet_lite0": functools.partial(
        _inverted_residuals, inverted_residual.EFFICIENTNET_LITE0, "same"
    ),
    "efficientnet_lite1": functools.partial(
        _inverted_residuals,
        inverted_residual.efficientnet_lite(width=1.0, depth=1.1),
        "same",
    ),
    "efficientnet_lite2": functools.partial(
        _inverted_residuals,
        inverted_residual.efficientnet_lite(width=1.1, depth=1.2),
        "same",
    ),
    "mobilenet_v2": functools.partial(
        _inverted_residuals, inverted_residual.MOBILENET_V2, "centred"
    ),
    # Trains from nothing on a CPU. A strided convolution stands in for the max pool,
    # whose gradient is slow there.
    "tiny": functools.partial(
        _basic_blocks,
        (1, 1, 1, 1),
        (32, 48, 64, 96),
        stem_width=16,
        stem_kernel=3,
        stem_pool=False,
        norm=norms.group_norm(channels_per_group=8),
        initialiser="he_normal",
    ),
}


def from_config(model: ConfigDict, *, name: str = "", **changes: Any) -> Recipe:
    """What makes the backbone that a config describes.

    Args:
        name: Of another one than `model.backbone`.
        changes: Arguments of `build` that are not as the config says.

    Raises:
        ValueError: It is unknown, or cannot be what it is asked to be.
    """
    options = dict(
        norm=norms.named(model.norm, epsilon=model.norm_epsilon),
        stride_in_1x1=model.stride_in_1x1,
        freeze_at=model.freeze_stages,
        remat=model.remat,
        dtype=jnp.dtype(model.dtype),
    )
    recipe = Recipe(build, name or model.backbone, **{**options, **changes})
    recipe()  # refuses what it cannot be
    return recipe


def frozen_stages(backbone: nn.Module, path: str) -> tuple[str, ...]:
    """Beginnings of the paths of the parameters that it lets no gradient reach.

    Args:
        path: Of the backbone in its network, e.g. "encoder/body/".
    """
    return tuple(path + stage for stage in backbone.stages[: backbone.freeze_at])


def build(
    name: str,
    *,
    norm: norms.Norm,
    stride_in_1x1: bool,
    freeze_at: int,
    remat: bool,
    dtype: DTypeLike,
    dilated: bool = False,
) -> nn.Module:
    """The backbone of that name.

    Args:
        norm: As `norms.named` gives it.
        stride_in_1x1: Where bottlenecks stride; it belongs to the weights.
        freeze_at: The first `stages` that get no gradient.
        dilated: Whether the last stage has stride 16 as the one before it.

    Raises:
        ValueError: It is unknown, has no dilated form, or has fewer stages than are to
            be frozen.
    """
    backbone = BACKBONES[choices.known("model.backbone", name, BACKBONES)](
        norm=norm,
        stride_in_1x1=stride_in_1x1,
        freeze_at=freeze_at,
        remat=remat,
        dtype=dtype,
        dilated=dilated,
    )
    if not 0 <= freeze_at <= len(backbone.stages):
        raise ValueError(
            f"freeze_stages={freeze_at}: {name} has {len(backbone.stages)} stages, "
            f"{', '.join(backbone.stages)}."
        )
    return backbone
