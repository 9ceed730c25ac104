"""The recipes behind the reference figures: weights, pixels, features and targets.

The figures come from the authors' program, run on inputs that a few integers determine,
so only what came out had to be stored. Arrays are channels first, as they were made;
`channels_last` turns them.
"""

import json
import pathlib
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from stemseg_jax.losses import embedding

KEPT = pathlib.Path(__file__).parent / "figures"  # a few of them, thinned

Shape = tuple[int, ...]
OUTPUTS = ("conv_embedding", "conv_variance", "conv_seediness", "conv_out")


def load(folder: pathlib.Path, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings and arrays of one fixture."""
    meta = json.loads((folder / f"{name}.json").read_text())
    with np.load(folder / f"{name}.npz") as arrays:
        return meta, dict(arrays)


def error(actual: Any, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest expected magnitude."""
    actual = np.asarray(actual)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def channels_last(x: np.ndarray, axis: int = 1) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(x, axis, -1))


def weight(name: str, shape: Shape, *, salt: str = "") -> np.ndarray:
    """The tensor of that name in the authors' state dict.

    All but `free_dim_bandwidths`, which are a setting.
    """
    seed = zlib.crc32((salt + name).encode())
    z = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    if name.endswith("time_scale"):
        return np.ones(shape, np.float32)
    if len(shape) >= 4:
        z = z / np.sqrt(np.float32(np.prod(shape[1:])))
        if name == "backbone.body.stem.conv1.weight":
            z = z / 64
        return 4 * z if any(output in name for output in OUTPUTS) else z
    if name.endswith("running_var"):
        return 1 + 0.1 * np.abs(z)
    if name.endswith((".bias", ".running_mean")):
        return 0.1 * z
    return (0.5 if name.endswith("bn3.weight") else 1) * (1 + 0.1 * z)


def state_dict(shapes: Mapping[str, Shape], *, salt: str = "") -> dict[str, np.ndarray]:
    return {name: weight(name, shape, salt=salt) for name, shape in shapes.items()}


def decoder_shapes(
    prefix: str,
    channels: Iterable[int],
    outputs: Mapping[str, int],
    *,
    inputs: int = 256,
) -> dict[str, Shape]:
    """Names and shapes of a decoder's tensors, `channels` coarsest first.

    Args:
        outputs: Channels of each output convolution, by name.
    """
    channels = tuple(channels)
    shapes = {}
    for scale, units, width in zip((32, 16, 8, 4), (3, 2, 1, 1), channels, strict=True):
        for unit in range(units):
            block = f"{prefix}.block_{scale}x."
            source = width if unit else inputs
            shapes[f"{block}{4 * unit}.weight"] = (width, source, 3, 3, 3)
            for name in (f"{4 * unit}.bias", f"{4 * unit + 1}.weight"):
                shapes[block + name] = (width,)
            shapes[f"{block}{4 * unit + 1}.bias"] = (width,)
    for scale, coarse, width in zip((16, 8, 4), channels, channels[1:], strict=False):
        shapes[f"{prefix}.conv_{scale}.weight"] = (width, coarse + width, 1, 1, 1)
    for name, width in outputs.items():
        shapes[f"{prefix}.{name}.weight"] = (width, channels[-1], 1, 1, 1)
        if name == "conv_variance":
            shapes[f"{prefix}.{name}.bias"] = (width,)
    if "conv_embedding" in outputs:
        shapes[f"{prefix}.time_scale"] = ()
    return shapes


def backbone_shapes(depths: Iterable[int]) -> dict[str, Shape]:
    """Names and shapes of a ResNet of bottlenecks with its FPN."""
    shapes: dict[str, Shape] = {}

    def norm(name, width):
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{leaf}"] = (width,)

    body = "backbone.body."
    shapes[body + "stem.conv1.weight"] = (64, 3, 7, 7)
    norm(body + "stem.bn1", 64)
    width = 64
    for stage, depth in enumerate(depths, start=1):
        inner = 32 * 2**stage
        for index in range(depth):
            block = f"{body}layer{stage}.{index}."
            shapes[block + "conv1.weight"] = (inner, width, 1, 1)
            shapes[block + "conv2.weight"] = (inner, inner, 3, 3)
            shapes[block + "conv3.weight"] = (4 * inner, inner, 1, 1)
            for number, size in ((1, inner), (2, inner), (3, 4 * inner)):
                norm(f"{block}bn{number}", size)
            if index == 0:
                shapes[block + "downsample.0.weight"] = (4 * inner, width, 1, 1)
                norm(block + "downsample.1", 4 * inner)
            width = 4 * inner
        shapes[f"backbone.fpn.fpn_inner{stage}.weight"] = (256, width, 1, 1)
        shapes[f"backbone.fpn.fpn_layer{stage}.weight"] = (256, 256, 3, 3)
        shapes[f"backbone.fpn.fpn_inner{stage}.bias"] = (256,)
        shapes[f"backbone.fpn.fpn_layer{stage}.bias"] = (256,)
    return shapes


def pixels(seed: int, frames: int, height: int, width: int) -> np.ndarray:
    """A clip, uint8 [T 3 H W], blue first."""
    rng = np.random.default_rng(seed)
    cells = (frames, 3, -(-height // 8), -(-width // 8))
    coarse = rng.integers(0, 256, size=cells, dtype=np.int64)
    fine = rng.integers(0, 256, size=(frames, 3, height, width), dtype=np.int64)
    coarse = coarse.repeat(8, axis=2).repeat(8, axis=3)[:, :, :height, :width]
    return ((3 * coarse + fine) // 4).astype(np.uint8)


def features(seed: int, frames: int, height: int, width: int) -> list[np.ndarray]:
    """Feature maps [1 256 T h w] of strides 4, 8, 16 and 32."""
    rng = np.random.default_rng(seed)
    return [
        rng.standard_normal(
            (1, 256, frames, height // stride, width // stride), dtype=np.float32
        )
        for stride in (4, 8, 16, 32)
    ]


def tubes(seed: int, count: int, frames: int, height: int, width: int) -> np.ndarray:
    """Ellipses on straight paths, uint8 [N T H W]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    masks = np.zeros((count, frames, height, width), np.uint8)
    for mask in masks:
        cy = rng.integers(height // 6, height - height // 6)
        cx = rng.integers(width // 6, width - width // 6)
        ry = rng.integers(height // 8, height // 3)
        rx = rng.integers(width // 8, width // 3)
        vy, vx = rng.integers(-2, 3), rng.integers(-3, 4)
        for k, frame in enumerate(mask):
            dy, dx = y - cy - vy * k, x - cx - vx * k
            frame[:] = dy**2 * rx**2 + dx**2 * ry**2 <= rx**2 * ry**2
    return masks


def ignore_block(seed: int, frames: int, height: int, width: int) -> np.ndarray:
    """A rectangle that stands still, uint8 [T H W]."""
    rng = np.random.default_rng(seed)
    y, x = rng.integers(0, height // 2), rng.integers(0, width // 2)
    dy = rng.integers(height // 4, height // 2)
    dx = rng.integers(width // 4, width // 2)
    ignore = np.zeros((frames, height, width), np.uint8)
    ignore[:, y : y + dy, x : x + dx] = 1
    return ignore


class EmbeddingSums(NamedTuple):
    """What each clip adds to the embedding loss of a batch."""

    lovasz: Any
    smoothness: Any
    seediness: Any
    instances: Any


def embedding_sums(terms: embedding.EmbeddingTerms, masks, valid) -> EmbeddingSums:
    """Of one clip. The authors' program averages over the instances of a batch, where
    ours does over those of a clip."""
    owns = (masks & valid[:, None, None, None]).any(axis=(1, 2, 3))
    count = owns.sum().astype(jnp.float32)
    return EmbeddingSums(
        terms.overlap * jnp.maximum(count, 1),
        terms.smoothness,
        terms.seediness * (count + 1),
        count,
    )


def embedding_means(sums: EmbeddingSums) -> embedding.EmbeddingTerms:
    """The terms of a batch, as the authors' program averages them, from sums [B]."""
    count = sums.instances.sum()
    return embedding.EmbeddingTerms(
        overlap=sums.lovasz.sum() / jnp.maximum(count, 1),
        smoothness=sums.smoothness.mean(),
        seediness=sums.seediness.sum() / (count + 1),
    )
