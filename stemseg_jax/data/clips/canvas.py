"""A clip on a canvas of fixed size, with a fixed number of instances.

A program is compiled for each canvas, so there are few: one for each aspect that is
frequent among the frames.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, UInt8

from stemseg_jax.data import readers
from stemseg_jax.geometry import Size, SizeRule, padded

LEAST_KEPT = 0.9  # of a frame's area; see `best`


class Clip(NamedTuple):
    """A training example; its instances are padded to slots only in the batch."""

    frames: UInt8[np.ndarray, "T H W 3"]
    masks: Bool[np.ndarray, "N T H W"]
    categories: Int32[np.ndarray, "N"]
    ignore: Bool[np.ndarray, "T H W"]
    intrinsics: Float32[np.ndarray, "T 3 3"]  # NaN: not known
    clean: UInt8[np.ndarray, "T H W 3"] | None
    within: Int32[np.ndarray, "2"]  # see `structures.ClipBatch`
    dropped: int  # instances for which there was no slot


@dataclasses.dataclass(frozen=True, kw_only=True)
class Canvas:
    """What clips lie on, in the upper left corner.

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
        """Lays a clip on the canvas and chooses its instances, see `chosen`."""
        T, h, w = clip.ignore.shape
        H, W = self.height, self.width
        if h > H or w > W:
            raise ValueError(
                f"frames of {h} x {w} pixels (height x width) do not fit on the canvas "
                f"of {H} x {W}. Let config.data.transforms bring them to it, with "
                f"'keep_aspect', 'resize' or 'scale_and_crop'."
            )
        clip = chosen(clip, self.max_instances)
        intrinsics = clip.intrinsics
        if intrinsics is None:
            intrinsics = np.full((T, 3, 3), np.nan)
        # Padding to multiples of 32 is plain background, as in the authors' code:
        # inference sees it too. Theirs has nothing beyond: it is ignored, see `within`.
        beyond = (0, H - h), (0, W - w)
        ignore = np.pad(clip.ignore, ((0, 0), *beyond))
        rows, columns = padded((h, w))
        ignore[:, rows:] = ignore[:, :, columns:] = True
        return Clip(
            frames=self._filled(clip.frames),
            masks=np.pad(clip.masks, ((0, 0), (0, 0), *beyond)),
            categories=clip.categories.astype(np.int32),
            ignore=ignore,
            intrinsics=intrinsics.astype(np.float32),
            clean=None if clip.clean is None else self._filled(clip.clean),
            within=np.array([rows, columns], np.int32),
            dropped=clip.dropped,
        )

    def _filled(
        self, images: UInt8[np.ndarray, "T h w 3"]
    ) -> UInt8[np.ndarray, "T H W 3"]:
        T, h, w, _ = images.shape
        filled = np.empty((T, self.height, self.width, 3), np.uint8)
        filled[:, h:] = filled[:, :h, w:] = self.fill
        filled[:, :h, :w] = images
        return filled


def chosen(clip: readers.RawClip, most: int) -> readers.RawClip:
    """A clip without instances that have no pixel, and with so many at most.

    The smallest go; their pixels are ignored, since they are neither background nor to
    be found.
    """
    areas = [np.count_nonzero(mask) for mask in clip.masks]
    kept, surplus = largest(np.array(areas, int), most)
    if len(kept) == len(areas):
        return clip
    masks, ignore = clip.masks[kept], clip.ignore
    if len(surplus):
        ignore = ignore | clip.masks[surplus].any(axis=0) & ~masks.any(axis=0)
    return clip._replace(
        ids=clip.ids[kept],
        categories=clip.categories[kept],
        masks=masks,
        ignore=ignore,
        dropped=clip.dropped + len(surplus),
    )


def largest(
    areas: Int[np.ndarray, "N"], most: int
) -> tuple[Int[np.ndarray, "K"], Int[np.ndarray, "S"]]:
    """Which instances are kept, in their order, and which go although they are seen."""
    largest_first = np.argsort(-areas, kind="stable")[: np.count_nonzero(areas)]
    return np.sort(largest_first[:most]), largest_first[most:]


def sizes(aspects: Sequence[str], rule: SizeRule) -> list[Size]:
    """Canvases that hold frames of these aspects as the rule sizes them.

    Args:
        aspects: Width before height, e.g. "16:9".
    """
    widths_and_heights = [map(int, aspect.split(":")) for aspect in aspects]
    return [padded(rule.resized(height, width)) for width, height in widths_and_heights]


def best(canvases: Sequence[Size], size: Size) -> int:
    """Number of the canvas for frames of a size: of those that keep `LEAST_KEPT` of
    their area the smallest; if none does, the one that keeps most.

    Args:
        size: Of frames as the rule sizes them; on a smaller canvas they shrink.
    """
    kept = [area_kept(canvas, size) for canvas in canvases]
    enough = min(LEAST_KEPT, max(kept))
    areas = [
        height * width if share >= enough else np.inf
        for (height, width), share in zip(canvases, kept, strict=True)
    ]
    return int(np.argmin(areas))


def area_kept(canvas: Size, size: Size) -> float:
    """The share of their area that frames of a size have on a canvas."""
    height, width = size
    return min(1.0, canvas[0] / height, canvas[1] / width) ** 2
