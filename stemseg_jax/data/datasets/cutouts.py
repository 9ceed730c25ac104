"""Objects of videos and stills that can be cut out and put into others."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float

from stemseg_jax.data import composition, encoded_video, readers
from stemseg_jax.data.clips import sampling

# What makes an object worth cutting out, in every frame that is used of it.
AREA = (0.005, 0.3)  # of its frame: less is coarse when enlarged, more is a background
LARGEST_PART = 0.85  # of its area in one piece: else something before it cuts it up
RIM = 3  # pixels along the frame's border, to which masks do not always reach
AT_BORDER = 0.05  # of its contour in there, at most: that is where it is cut off
LEAST_RUN = 8  # frames in a row (of videos that have them): then it turns back in time
SMOOTH = 5  # frames over which the centre of an object is averaged


class Instance(NamedTuple):
    """An object of some video, and the frames it may be cut out of."""

    video: readers.Video
    id: int
    category: int
    frames: range
    centres: Float[np.ndarray, "L 2"]  # (y, x) in pixels, smooth in time
    size: float  # square root of its area, median of the frames
    colours: Float[np.ndarray, "2 3"]  # mean and standard deviation


def find(video: readers.Video) -> Iterator[Instance]:
    """The instances of a video that can be cut out; looks at every mask.

    Each with the longest run of frames in which it is whole, neither large nor small.

    Raises:
        readers.BrokenSample: A mask or an image cannot be read.
    """
    fit, categories = {}, {}  # of each instance: frame -> (y, x, area) of its mask
    for t in range(video.num_frames):
        labels = encoded_video.labels(video, t)
        categories |= labels.categories
        for instance, mask in labels.masks.items():
            if (found := measure(mask)) is not None:
                fit.setdefault(instance, {})[t] = found
    least = min(LEAST_RUN, video.num_frames)
    for instance, frames in sorted(fit.items()):
        run = max(sampling.segments(sorted(frames), max_gap=0), key=len)
        if len(run) < least:
            continue
        measured = np.array([fit[instance][t] for t in run])  # [L 3]
        middle = run[len(run) // 2]
        mask = encoded_video.labels(video, middle).masks[instance]
        yield Instance(
            video=video,
            id=instance,
            category=categories[instance],
            frames=range(run[0], run[-1] + 1),
            centres=_smooth(measured[:, :2]),
            size=math.sqrt(np.median(measured[:, 2])),
            colours=composition.colours(video.frame(middle)[mask]),
        )


def measure(mask: Bool[np.ndarray, "H W"]) -> Float[np.ndarray, "3"] | None:
    """Centre (y, x) and area of a mask, if it is one of a whole object."""
    whole = mask.view(np.uint8)
    area = cv2.countNonZero(whole)
    if not AREA[0] <= area / mask.size <= AREA[1]:
        return None
    left, top, width, height = cv2.boundingRect(whole)
    inside = whole[top : top + height, left : left + width]
    contour = np.zeros_like(whole)
    contour[top : top + height, left : left + width] = inside - cv2.erode(
        inside, np.ones((3, 3), np.uint8), borderValue=0
    )
    length = cv2.countNonZero(contour)
    free = contour[RIM:-RIM, RIM:-RIM]
    if length - np.count_nonzero(free) > AT_BORDER * length:
        return None
    _, _, figures, centres = cv2.connectedComponentsWithStats(inside)
    areas = figures[1:, cv2.CC_STAT_AREA]
    if areas.max() < LARGEST_PART * area:
        return None
    x, y = areas @ centres[1:] / area
    return np.array([top + y, left + x, area])


def _smooth(values: Float[np.ndarray, "L 2"]) -> Float[np.ndarray, "L 2"]:
    """A running mean over time; the ends are continued."""
    padded = np.pad(values, ((SMOOTH // 2, SMOOTH // 2), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, SMOOTH, axis=0)
    return windows.mean(axis=-1)
