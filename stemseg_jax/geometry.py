"""How the network's view of a video lies over its frames, in both directions.

A frame is resized, then padded at the bottom and on the right. All sizes are (height,
width).
"""

import dataclasses
import math
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

MULTIPLE = 32  # the coarsest stride: padded sizes are multiples of it

Size = tuple[int, int]


class Geometry(NamedTuple):
    """How a label map lies over the original frame.

    A map of size `labels` covers the padded network input. It is enlarged by `stride`
    to the padded size, cropped to `resized` and brought to `original`.
    """

    original: Size
    resized: Size
    labels: Size
    stride: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SizeRule:
    """The shorter side becomes `min_dim`, unless the longer one would exceed `max_dim`.

    Source: the authors' code; frames are enlarged too.
    """

    min_dim: int
    max_dim: int

    def scale(self, height: int, width: int) -> float:
        scale = self.min_dim / min(height, width)
        if max(height, width) * scale > self.max_dim:
            scale = self.max_dim / max(height, width)
        return scale

    def resized(self, height: int, width: int) -> Size:
        return scaled((height, width), self.scale(height, width))

    def geometry(self, original: Size, *, stride: int) -> Geometry:
        """Of a video, whose label maps have this stride."""
        resized = self.resized(*original)
        height, width = padded(resized)
        return Geometry(original, resized, (height // stride, width // stride), stride)


def scaled(size: Size, scale: float) -> Size:
    """Halves are rounded to even; no side vanishes."""
    height, width = size
    return max(round(scale * height), 1), max(round(scale * width), 1)


def padded(size: Size) -> Size:
    """The size after padding at the bottom and on the right."""
    height, width = size
    return (
        math.ceil(height / MULTIPLE) * MULTIPLE,
        math.ceil(width / MULTIPLE) * MULTIPLE,
    )


def cover(
    numbers: Int[np.ndarray, "H W"], geometry: Geometry
) -> Int[np.ndarray, "h w"]:
    """A map of numbers over the original frame, in the size of the label maps.

    Each cell has the number nearest to its centre; what is padded has 0.
    """
    rows, columns = (
        _nearest(*sizes, geometry.stride, cells)
        for *sizes, cells in zip(
            geometry.original, geometry.resized, geometry.labels, strict=True
        )
    )
    inside = numbers[np.ix_(rows, columns)]
    missing = [(0, n - m) for n, m in zip(geometry.labels, inside.shape, strict=True)]
    return np.pad(inside, missing)


def _nearest(original: int, resized: int, stride: int, cells: int) -> np.ndarray:
    """The row or column of the original at the centre of each cell that has one."""
    centres = (np.arange(cells) + 0.5) * stride
    centres = centres[centres < resized]
    return np.minimum(centres * original / resized, original - 1).astype(int)


def restore(
    mask: Bool[np.ndarray, "h w"], geometry: Geometry
) -> Bool[np.ndarray, "H W"]:
    """A mask of the label map, in the original frame: above one half once enlarged."""
    return restore_values(mask.astype(np.float32), geometry) > 0.5


def restore_values(
    values: Float[np.ndarray, "h w"], geometry: Geometry
) -> Float[np.ndarray, "H W"]:
    """A map of the labels' size, in the original frame.

    Enlarged by the stride, cropped to the resized frame, brought to the original size,
    all bilinearly with half-pixel centres.
    """
    height, width = geometry.labels
    whole = (height * geometry.stride, width * geometry.stride)
    rows, columns = geometry.resized
    return _resize(_resize(values, whole)[:rows, :columns], geometry.original)


def _resize(image: Float[np.ndarray, "h w"], size: Size) -> Float[np.ndarray, "H W"]:
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
