"""Backbones by name: images [B H W 3] to maps of strides 4, 8, 16 and 32."""

import functools

from stemseg_jax.modules import norms
from stemseg_jax.modules.backbones.resnet import BasicBlock, Bottleneck, ResNet


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
        block_options={
            "stride_in_1x1": stride_in_1x1,
            "groups": groups,
            "group_width": group_width,
        },
        depths=depths,
        widths=(256, 512, 1024, 2048),
        **fields,
    )


# Call one with the fields of `ResNet`; those of bottlenecks also take `stride_in_1x1`.
BACKBONES = {
    "resnet18": functools.partial(
        ResNet, block=BasicBlock, depths=(2, 2, 2, 2), widths=(64, 128, 256, 512)
    ),
    "resnet50": functools.partial(_bottlenecks, (3, 4, 6, 3)),
    "resnet101": functools.partial(_bottlenecks, (3, 4, 23, 3)),
    "resnext101_32x8d": functools.partial(
        _bottlenecks, (3, 4, 23, 3), stride_in_1x1=False, groups=32, group_width=8
    ),
    # Trains from nothing on a CPU. A strided convolution stands in for the max pool,
    # whose gradient is slow there.
    "tiny": functools.partial(
        ResNet,
        block=BasicBlock,
        depths=(1, 1, 1, 1),
        widths=(32, 48, 64, 96),
        stem_width=16,
        stem_kernel=3,
        stem_pool=False,
        norm=norms.group_norm(channels_per_group=8),
        initialiser="he_normal",
    ),
}
