"""From a video to a clip of fixed shape: which frames, what size, which instances."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Int32, UInt8

from stemseg_jax.data import readers


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipSettings:
    """What every clip of a run has in common.

    Frames keep their aspect ratio and lie in the upper left corner of the canvas.
    With `min_dim` the shorter side is brought to it, unless the longer side would
    exceed `max_dim` or the frame the canvas; without, the frame fills the canvas.

    Args:
        height, width: The canvas, in multiples of 32.
        max_instances: Slots of a clip.
        flip: Whether to mirror every other clip.
        reverse: Whether to play every other clip backwards.
        fill: RGB of pixels without a source; the mean colour becomes 0 in the network.
    """

    num_frames: int
    height: int
    width: int
    min_dim: int | None = None
    max_dim: int | None = None
    max_instances: int = 20
    flip: bool = True
    reverse: bool = True
    fill: tuple[int, int, int] = (123, 116, 103)

    def __post_init__(self):
        if self.height % 32 or self.width % 32:
            raise ValueError(
                f"height={self.height}, width={self.width}: the network needs "
                f"multiples of 32; use {-(-self.height // 32) * 32} and "
                f"{-(-self.width // 32) * 32}."
            )

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Size of a frame on the canvas."""
        scale = min(self.height / height, self.width / width)
        if self.min_dim:
            scale = min(scale, self.min_dim / min(height, width))
        if self.max_dim:
            scale = min(scale, self.max_dim / max(height, width))
        return round(scale * height), round(scale * width)


class Clip(NamedTuple):
    """A training example; its instances are padded to slots only in the batch."""

    frames: UInt8[np.ndarray, "T H W 3"]
    masks: Bool[np.ndarray, "N T H W"]
    categories: Int32[np.ndarray, "N"]
    ignore: Bool[np.ndarray, "T H W"]
    dropped: int  # instances for which there was no slot


def frame_positions(start: int, *, span: int, num_frames: int) -> list[int]:
    """Positions of a clip's frames, spread evenly from `start` to `start + span`.

    Source: the authors' loaders; halves go to the even number, as in Python.
    """
    return np.round(np.linspace(start, start + span, num_frames)).astype(int).tolist()


def sample_positions(
    rng: np.random.Generator, length: int, *, num_frames: int, span: tuple[int, int]
) -> list[int]:
    """Draws the frames of one clip out of `length` frames.

    Args:
        length: At least `num_frames`.
        span: Bounds (inclusive) of the distance between first and last frame; a
            shorter video is taken whole.
    """
    distance = min(int(rng.integers(span[0], span[1] + 1)), length - 1)
    start = int(rng.integers(length - distance))
    return frame_positions(start, span=distance, num_frames=num_frames)


def segments(frames: Sequence[int], *, max_gap: int | None) -> list[list[int]]:
    """Cuts annotated frames where more than `max_gap` lie without annotation.

    Without `max_gap` time is compressed: all frames are one segment.
    """
    frames = list(frames)
    if max_gap is None or not frames:
        return [frames] if frames else []
    cuts = np.flatnonzero(np.diff(frames) > max_gap + 1) + 1
    return [part.tolist() for part in np.split(np.array(frames), cuts)]


def mark_unlabelled(clip: readers.RawClip) -> readers.RawClip:
    """Ignores all that is not an instance, where unlabelled objects may exist."""
    return clip._replace(ignore=clip.ignore | ~clip.masks.any(axis=0))


def resize(clip: readers.RawClip, size: tuple[int, int]) -> readers.RawClip:
    """Bilinear, half-pixel centres, no antialiasing; masks cover more than one half."""
    if clip.frames.shape[1:3] == size:
        return clip
    return clip._replace(
        frames=np.stack([_resize(frame, size) for frame in clip.frames]),
        masks=_resize_masks(clip.masks, size),
        ignore=_resize_masks(clip.ignore, size),
    )


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


def _resize_masks(masks: Bool[np.ndarray, "*n H W"], size: tuple[int, int]):
    *batch, height, width = masks.shape
    resized = np.zeros((*batch, *size), bool)
    flat = resized.reshape(-1, *size)
    for out, mask in zip(flat, masks.reshape(-1, height, width), strict=True):
        if mask.any():
            # Not in bytes, whose weights of 11 bits move pixels across one half.
            np.greater(_resize(mask.astype(np.float32), size), 0.5, out=out)
    return resized


def mirror(clip: readers.RawClip) -> readers.RawClip:
    """Left becomes right."""
    return clip._replace(
        frames=np.stack([cv2.flip(frame, 1) for frame in clip.frames]),
        masks=clip.masks[..., ::-1],
        ignore=clip.ignore[..., ::-1],
    )


def backwards(clip: readers.RawClip) -> readers.RawClip:
    """The last frame becomes the first."""
    return clip._replace(
        frames=clip.frames[::-1], masks=clip.masks[:, ::-1], ignore=clip.ignore[::-1]
    )


def augment(
    rng: np.random.Generator, clip: readers.RawClip, settings: ClipSettings
) -> readers.RawClip:
    """Mirrors and reverses, each with probability one half."""
    draws = rng.random(2) < 0.5  # drawn always: an option shifts no later draw
    if settings.flip and draws[0]:
        clip = mirror(clip)
    if settings.reverse and draws[1]:
        clip = backwards(clip)
    return clip


def place(clip: readers.RawClip, settings: ClipSettings) -> Clip:
    """Lays a resized clip on the canvas and chooses its instances.

    Instances without a pixel go. Of too many the smallest go; their pixels are ignored,
    since they are neither background nor to be found.
    """
    areas = np.array([np.count_nonzero(mask) for mask in clip.masks], int)
    largest_first = np.argsort(-areas, kind="stable")[: np.count_nonzero(areas)]
    kept = np.sort(largest_first[: settings.max_instances])
    surplus = largest_first[settings.max_instances :]
    ignore = clip.ignore
    if len(surplus):
        hidden = clip.masks[surplus].any(axis=0) & ~clip.masks[kept].any(axis=0)
        ignore = ignore | hidden

    T, h, w = ignore.shape
    H, W = settings.height, settings.width
    frames = np.empty((T, H, W, 3), np.uint8)
    frames[:, h:] = frames[:, :h, w:] = settings.fill
    frames[:, :h, :w] = clip.frames
    # Padding is plain background, as in the authors' code: inference sees it too.
    beyond = (0, H - h), (0, W - w)
    return Clip(
        frames=frames,
        masks=np.pad(clip.masks[kept], ((0, 0), (0, 0), *beyond)),
        categories=clip.categories[kept].astype(np.int32),
        ignore=np.pad(ignore, ((0, 0), *beyond)),
        dropped=len(surplus),
    )
