"""Where a video cuts to another picture, and how a system is kept from tracking across.

A frame begins a shot if it differs from the frame before in its colours and, once the
motion between the two is undone, in its structure. Fast motion keeps the colours; a
change of light keeps the structure. Fades and dissolves are no cuts: each frame follows
from the one before.
"""

import collections
import dataclasses
import functools
import itertools
import math
from collections.abc import Collection, Iterator
from typing import NamedTuple

import cv2
import numpy as np
from absl import logging
from jaxtyping import Float, Float32, UInt8

from stemseg_jax import ranges
from stemseg_jax.tracking import statistics, thumbnails
from stemseg_jax.tracks import Frame, LabelStream, Tracker, TrackStatistics, of_one_size

SIZE = (36, 64)  # of the thumbnails that are compared
BINS = (8, 16, 16)  # of L, a and b
# Colours beyond these are rare and lie in the outer bins.
RANGES = (0, 256, 64, 192, 64, 192)
LEAST_CONTRAST = 4  # grey levels; what differs by less is noise
USUAL = 9  # changes, whose median is the usual one


class Look(NamedTuple):
    """What is remembered of a frame."""

    colours: Float32[np.ndarray, "bins"]  # roots of shares, so a unit vector
    structure: Float32[np.ndarray, "h w"]  # brightness of mean 0 and deviation 1

    @classmethod
    def of(cls, image: UInt8[np.ndarray, "H W 3"]) -> "Look":
        lab = cv2.cvtColor(thumbnails.of(image, SIZE), cv2.COLOR_RGB2LAB)
        counts = cv2.calcHist([lab], [0, 1, 2], None, list(BINS), list(RANGES))
        inside = max(counts.sum(), 1)
        grey = lab[..., 0].astype(np.float32)
        grey = (grey - grey.mean()) / (grey.std() + LEAST_CONTRAST)
        return cls(np.sqrt(counts / inside).ravel(), grey)


def change(before: Look, after: Look) -> float:
    """How much of a picture is new: 0 for the same, about 0.8 for another scene.

    The geometric mean of how far apart the colours are (Hellinger, in [0, 1]) and of
    the mean difference in brightness after the motion, in standard deviations.
    """
    alike = min(float(before.colours @ after.colours), 1.0)
    moved = _moved(before.structure, after.structure)
    difference = float(np.abs(moved - before.structure).mean())
    return math.sqrt(math.sqrt(1 - alike) * difference)


def _moved(before, after):
    """`after`, brought to where its parts were before."""
    grey = [np.clip(48 * x + 128, 0, 255).astype(np.uint8) for x in (before, after)]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    place = _places() + flow.calc(*grey, None)
    return cv2.remap(
        after, place, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


@functools.cache
def _places() -> Float[np.ndarray, "h w 2"]:
    rows, columns = np.indices(SIZE, np.float32)
    return np.stack([columns, rows], axis=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Detector:
    """Which frames begin a shot.

    Args:
        threshold: Of `change`; experiments/shots says what it finds.
        above_usual: A change is also this many times the usual one: in a video that is
            jerky throughout, a jerk is no cut.
        longest_flash: So many frames or fewer that are unlike those before and after
            them begin no shot if those are alike. A frame that may begin one is held
            until as many more have come; all others pass at once.
    """

    threshold: float = 0.5
    above_usual: float = 1.5
    longest_flash: int = 2

    def __post_init__(self):
        for name, allowed in {
            "threshold": ranges.Real(above=0),
            "above_usual": ranges.Real(least=0),
            "longest_flash": ranges.Whole(),
        }.items():
            if not allowed.holds(value := getattr(self, name)):
                raise ValueError(f"shots.{name}={value!r}: expected {allowed}.")

    def marked(self, frames: Iterator[Frame]) -> Iterator[tuple[Frame, bool]]:
        """Each frame, and whether it begins a shot; the first of all does not."""
        coming = _Ahead((frame, Look.of(frame.image)) for frame in frames)
        past: collections.deque[Look] = collections.deque(maxlen=1 + self.longest_flash)
        changes: collections.deque[float] = collections.deque([0.0], maxlen=USUAL)
        for frame, look in coming:
            new = change(past[-1], look) if past else 0.0
            is_large = new > max(
                self.threshold, self.above_usual * float(np.median(changes))
            )
            yield frame, is_large and not self._goes_on(past, look, coming)
            changes.append(new)
            past.append(look)

    def _goes_on(self, past: Collection[Look], look: Look, coming: "_Ahead") -> bool:
        """Whether this frame, or one that comes soon, is like one of those before."""
        soon = map(coming.peek, range(1, 1 + self.longest_flash))
        frames = itertools.chain([look], (arrived[1] for arrived in soon if arrived))
        pairs = ((before, after) for after in frames for before in past)
        return any(change(*pair) <= self.threshold for pair in pairs)


class _Ahead:
    """What an iterator gives, and a look at what it will give."""

    def __init__(self, of: Iterator[tuple[Frame, Look]]):
        self._of = of
        self._held: collections.deque[tuple[Frame, Look]] = collections.deque()

    def __iter__(self) -> Iterator[tuple[Frame, Look]]:
        return self

    def __next__(self) -> tuple[Frame, Look]:
        return self._held.popleft() if self._held else next(self._of)

    def peek(self, place: int) -> tuple[Frame, Look] | None:
        """What comes at this place from now, counted from 1."""
        missing = max(place - len(self._held), 0)
        self._held.extend(itertools.islice(self._of, missing))
        return self._held[place - 1] if place <= len(self._held) else None


def by_shot(track: Tracker, frames: Iterator[Frame], detector: Detector) -> LabelStream:
    """Each shot as a video of its own; no label of one is in another.

    Raises:
        ValueError: If there is no frame, or frames differ in size.
    """
    video = _Video(detector.marked(of_one_size(frames)))
    tracks: dict[int, TrackStatistics] = {}
    while True:
        first = video.upcoming
        if first:
            logging.info("A new shot begins with frame %d.", first)
        shot = video.shot()
        tracks |= yield from _moved_on(track(shot), first, max(tracks, default=0))
        collections.deque(shot, maxlen=0)  # a system may leave the end unread
        if video.ended:
            return tracks


class _Video:
    """Frames that come shot by shot."""

    def __init__(self, marked: Iterator[tuple[Frame, bool]]):
        self._marked = marked
        self._next: Frame | None = None
        self.upcoming = 0  # index of the frame that begins the next shot
        self.ended = False

    def shot(self) -> Iterator[Frame]:
        """The frames of the next shot, counted from 0."""
        first = self.upcoming
        if self._next is not None:
            frame, self._next = self._next, None
            yield frame._replace(index=0)
        for frame, begins in self._marked:
            if begins:
                self._next, self.upcoming = frame, frame.index
                return
            yield frame._replace(index=frame.index - first)
        self.ended = True


def _moved_on(labelled: LabelStream, frames: int, labels: int) -> LabelStream:
    """The same, so many frames later and with labels so much higher."""
    while True:
        try:
            part = next(labelled)
        except StopIteration as end:
            tracks = end.value.items()
            return {k + labels: statistics.later(track, frames) for k, track in tracks}
        moved = np.where(part.labels > 0, part.labels + labels, part.labels)
        yield part._replace(first=part.first + frames, labels=moved)
