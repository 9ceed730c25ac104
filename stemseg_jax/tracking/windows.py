"""Which windows a video is cut into, and when each can be worked on.

A window is n consecutive frames; the next one begins n - overlap frames later. The last
one is moved back to end with the video. A video shorter than n is one window that
begins before frame 0, which is repeated at the front.

Source: the authors' program (the paper does not say how clips are laid).
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from stemseg_jax.tracks import Frame, of_one_size


class Window(NamedTuple):
    """Frames `start` ... `start + size - 1` of a video."""

    start: int  # negative for a video shorter than the window
    size: int
    new: int  # first frame that no earlier window has

    @property
    def frames(self) -> tuple[int, ...]:
        """Indices of the frames; frame 0 is repeated in front of a short video."""
        return tuple(max(self.start + k, 0) for k in range(self.size))

    @property
    def end(self) -> int:
        return self.start + self.size

    @property
    def repeats(self) -> int:
        """How many of its first places only repeat frame 0."""
        return max(-self.start, 0)

    @property
    def known(self) -> int:
        """How many of its first places are labelled already, or are repeats."""
        return self.new - self.start


class Progress(NamedTuple):
    """What one more frame, or the end of the video, makes possible."""

    complete: list[Window]  # all frames are there
    final: list[Window]  # and no later window will share a frame with them
    keep_from: int  # frames before this one are in no later window


class Group(NamedTuple):
    """Frames to encode together. All groups of a video have one shape: the last one may
    repeat the last frame."""

    indices: range
    images: UInt8[np.ndarray, "group H W 3"]


def schedule(
    frames: Iterator[Frame], size: int, overlap: int, *, group: int
) -> Iterator[tuple[Group | None, Progress]]:
    """What each frame, and then the end of the video, makes possible.

    Groups know nothing of windows. All frames of a group come with the first of them;
    what each makes possible comes one by one, so that no more is decoded at a time than
    if frames came alone.

    Raises:
        ValueError: If there is no frame, or frames differ in size.
    """
    planner = Planner(size, overlap)
    frames = of_one_size(frames)
    while taken := _take(frames, group, first=planner.arrived):
        yield taken, planner.arrive()
        for _ in taken.indices[1:]:
            yield None, planner.arrive()
    yield None, planner.end()


def _take(frames: Iterator[Frame], group: int, *, first: int) -> Group | None:
    images = [frame.image for frame in itertools.islice(frames, group)]
    if not images:
        return None
    indices = range(first, first + len(images))
    missing = [images[-1]] * (group - len(images))
    return Group(indices, np.stack(images + missing))


def windows(length: int, size: int, overlap: int) -> list[Window]:
    """The windows of a video whose length is known."""
    first = starts(length, size, overlap)
    new = [0] + [start + size for start in first[:-1]]
    return [Window(start, size, n) for start, n in zip(first, new, strict=True)]


def starts(length: int, size: int, overlap: int) -> list[int]:
    """Where the windows of a video begin; [length - size] if it is a short one."""
    check(size, overlap)
    if length < 1:
        raise ValueError(f"A video of {length} frames has no window.")
    regular = list(range(0, length - size + 1, size - overlap))
    if not regular or regular[-1] + size < length:
        regular.append(length - size)
    return regular


def labelling_windows(size: int, overlap: int) -> int:
    """Of how many earlier windows a window can hold labels, at most."""
    return max(math.ceil((size - 1) / (size - overlap)), 1)


class Planner:
    """The same windows while the length is unknown: frames come one at a time."""

    def __init__(self, size: int, overlap: int):
        check(size, overlap)
        self.size = size
        self.stride = size - overlap
        self.arrived = 0
        self._last = None
        self._waiting = []

    def arrive(self) -> Progress:
        """One more frame is there."""
        self.arrived += 1
        complete = []
        start = self.arrived - self.size
        if start >= 0 and start % self.stride == 0:
            complete = [self._open(start)]
        return self._progress(complete, self._earliest_later_start())

    def end(self) -> Progress:
        """No more frames come; call it once."""
        if self.arrived == 0:
            raise ValueError("The video has no frames.")
        complete = []
        if self._last is None or self._last.end < self.arrived:
            complete = [self._open(self.arrived - self.size)]
        return self._progress(complete, self.arrived)

    def _earliest_later_start(self):
        """Of the windows still to come, whenever the video may end."""
        start = self.arrived - self.size
        return start + 1 if start % self.stride == 0 else start

    def _open(self, start):
        new = 0 if self._last is None else self._last.end
        self._last = Window(start, self.size, new)
        self._waiting.append(self._last)
        return self._last

    def _progress(self, complete, later):
        final = [window for window in self._waiting if window.end <= later]
        self._waiting = self._waiting[len(final) :]
        return Progress(complete, final, max(later, 0))


def check(size: int, overlap: int) -> None:
    if not 0 <= overlap < size:
        raise ValueError(
            f"tracking.overlap={overlap} must be at least 0 and less than the window's "
            f"{size} frames."
        )
