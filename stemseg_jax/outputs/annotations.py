"""Annotations over a frame: instances in colour, ignored regions hatched."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from stemseg_jax.outputs import overlay

HATCH = (255, 0, 160)


def draw(
    image: UInt8[np.ndarray, "h w 3"],
    masks: Bool[np.ndarray, "N h w"],
    ignore: Bool[np.ndarray, "h w"],
    *,
    numbers: Sequence[int],
    names: Mapping[int, str],
) -> UInt8[np.ndarray, "H W 3"]:
    """The frame, enlarged if it is small.

    Args:
        masks: Where they overlap, the last one is seen.
        numbers: From 1, one for each mask; they choose the colours.
        names: By number.
    """
    scale = overlay.enlargement(*ignore.shape)
    labels = np.zeros(ignore.shape, np.int32)
    for number, mask in zip(numbers, masks, strict=True):
        labels[mask] = number
    drawn = overlay.draw(image, labels, names, scale=scale)
    return _hatch(drawn, ignore.repeat(scale, axis=0).repeat(scale, axis=1))


def _hatch(
    image: UInt8[np.ndarray, "H W 3"], region: Bool[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """Diagonal lines over a darkened region."""
    if not region.any():
        return image
    height, width = region.shape
    step = max(8, min(height, width) // 16)
    lines = np.zeros((height, width), np.uint8)
    for start in range(-height, width, step):
        end = (start + height, height)
        cv2.line(lines, (start, 0), end, 255, max(1, step // 8), cv2.LINE_AA)
    weight = (lines / 255.0)[..., None] * 0.7
    hatched = (1 - weight) * (0.75 * image) + weight * np.array(HATCH)
    return np.where(region[..., None], np.rint(hatched).astype(np.uint8), image)
