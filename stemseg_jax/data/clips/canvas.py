"""A clip on a canvas of fixed size, with a fixed number of instances."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

from stemseg_jax.data import readers
from stemseg_jax.geometry import padded


class Clip(NamedTuple):
    """A training example; its instances are padded to slots only in the batch."""

    frames: UInt8[np.ndarray, "T H W 3"]
    masks: Bool[np.ndarray, "N T H W"]
    categories: Int32[np.ndarray, "N"]
    ignore: Bool[np.ndarray, "T H W"]
    intrinsics: Float32[np.ndarray, "T 3 3"]  # NaN: not known
    clean: UInt8[np.ndarray, "T H W 3"] | None
    dropped: int  # instances for which there was no slot


@dataclasses.dataclass(frozen=True, kw_only=True)
class Canvas:
    """What every clip of a run lies on, in the upper left corner.

    Args:
        height, width: In multiples of 32.
        max_instances: Slots of a clip.
        fill: RGB of pixels without a source; the mean colour becomes 0 in the network.
    """

    height: int
    width: int
    max_instances: int = 20
    fill: tuple[int, int, int] = (123, 116, 103)

    def __post_init__(self):
        height, width = padded((self.height, self.width))
        if (height, width) != (self.height, self.width):
            raise ValueError(
                f"height={self.height}, width={self.width}: the network needs "
                f"multiples of 32; use {height} and {width}."
            )

    def place(self, clip: readers.RawClip) -> Clip:
        """Lays a clip on the canvas and chooses its instances.

        Instances without a pixel go. Of too many the smallest go; their pixels are
        ignored, since they are neither background nor to be found.
        """
        T, h, w = clip.ignore.shape
        H, W = self.height, self.width
        if h > H or w > W:
            raise ValueError(
                f"frames of {h} x {w} pixels (height x width) do not fit on the canvas "
                f"of {H} x {W}. Let config.data.transforms bring them to it, with "
                f"'keep_aspect', 'resize' or 'scale_and_crop'."
            )
        areas = np.array([np.count_nonzero(mask) for mask in clip.masks], int)
        largest_first = np.argsort(-areas, kind="stable")[: np.count_nonzero(areas)]
        kept = np.sort(largest_first[: self.max_instances])
        surplus = largest_first[self.max_instances :]
        ignore = clip.ignore
        if len(surplus):
            hidden = clip.masks[surplus].any(axis=0) & ~clip.masks[kept].any(axis=0)
            ignore = ignore | hidden
        intrinsics = clip.intrinsics
        if intrinsics is None:
            intrinsics = np.full((T, 3, 3), np.nan)
        # Padding is plain background, as in the authors' code: inference sees it too.
        beyond = (0, H - h), (0, W - w)
        return Clip(
            frames=self._filled(clip.frames),
            masks=np.pad(clip.masks[kept], ((0, 0), (0, 0), *beyond)),
            categories=clip.categories[kept].astype(np.int32),
            ignore=np.pad(ignore, ((0, 0), *beyond)),
            intrinsics=intrinsics.astype(np.float32),
            clean=None if clip.clean is None else self._filled(clip.clean),
            dropped=len(surplus),
        )

    def _filled(
        self, images: UInt8[np.ndarray, "T h w 3"]
    ) -> UInt8[np.ndarray, "T H W 3"]:
        T, h, w, _ = images.shape
        filled = np.empty((T, self.height, self.width, 3), np.uint8)
        filled[:, h:] = filled[:, :h, w:] = self.fill
        filled[:, :h, :w] = images
        return filled
