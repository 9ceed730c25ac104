"""Which frames of a video are labelled."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

Frame = TypeVar("Frame")


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrameChoice:
    """A part of a video, and how densely; by default all of it.

    Args:
        start, end: Seconds from the first frame of the video: those of
            start <= time < end.
        fps: Of videos: at most so many frames a second, by leaving frames out, as
            evenly as they come; none is ever doubled. Of images: the rate at which they
            were taken.
        stride: Of these the first and then each n-th.

    Raises:
        ValueError: One of them cannot be meant.
    """

    start: float | int = 0.0
    end: float | int | None = None
    stride: int = 1
    fps: Fraction | float | int | None = None

    def __post_init__(self):
        if not 0 <= self.start < math.inf:
            raise ValueError(f"--start={self.start:g}: expected 0 seconds or more.")
        if self.end is not None and not self.start < self.end:  # as with a nan
            raise ValueError(
                f"--start={self.start:g} is not before --end={self.end:g}; both are "
                "seconds from the first frame."
            )
        if self.stride < 1:
            raise ValueError(
                f"--stride={self.stride}: expected 1 for every frame, 2 for every "
                "second one, and so on."
            )
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ValueError(
                f"--fps={float(self.fps):g}: expected more than 0 frames a second."
            )

    def of(
        self, frames: Iterable[tuple[float, Frame]], fps: Fraction
    ) -> Iterator[tuple[float, Frame]]:
        """The chosen ones of (time, frame), whose times grow; asks for none after them.

        Args:
            fps: Their nominal rate.
        """
        chosen = self._within(frames)
        if self.fps is not None:
            chosen = self._thinned(chosen, fps)
        return itertools.islice(chosen, 0, None, self.stride)

    def _within(self, frames):
        for time, frame in frames:
            if self.is_over(time):
                return
            if time >= self.start:
                yield time, frame

    def is_over(self, time: Fraction | float) -> bool:
        """Whether neither a frame of this time nor a later one is wanted."""
        return self.end is not None and time >= self.end

    def _thinned(self, frames, fps: Fraction):
        """The first frame of each beat of the wanted rate, from the first of all on."""
        first, due = None, 0
        # Clocks shake (Matroska's counts milliseconds): frames may be early by a
        # quarter, and one that is late by no more than half does not use up two beats.
        quarter = 0.25 * float(self.fps / fps)
        for time, frame in frames:
            first = time if first is None else first
            beat = (time - first) * self.fps + quarter
            if beat >= due:
                yield time, frame
                late = beat >= due + 1 + 2 * quarter
                due = math.floor(beat) + 1 if late else due + 1

    def rate(self, fps: Fraction) -> Fraction:
        """The nominal rate of what is chosen of a video with `fps`."""
        return min(fps, self.fps_or(fps)) / self.stride

    def fps_or(self, default: Fraction) -> Fraction:
        if self.fps is None:
            return default
        return Fraction(self.fps).limit_denominator(1_000_000)  # of 29.97, say

    def count(self, num_frames: int, fps: Fraction) -> int:
        """About how many are chosen of `num_frames`."""
        begin = math.ceil(self.start * fps)
        end = num_frames if self.end is None else math.ceil(self.end * fps)
        within = max(min(end, num_frames) - begin, 0)
        return math.ceil(within * self.rate(fps) / fps)

    @property
    def takes_all(self) -> bool:
        return self == ALL

    @property
    def span(self) -> str:
        """In words, e.g. "from 5 s to 7.5 s"."""
        until = " on" if self.end is None else f" to {self.end:g} s"
        return f"from {self.start:g} s{until}"


ALL = FrameChoice()


def seconds(time: str) -> float:
    """Reads "12.5", "1:30" and "0:01:30.5".

    Raises:
        ValueError: It is none of these.
    """
    found = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?)", time.strip())
    if found:
        hours, minutes, rest = (float(part or 0) for part in found.groups())
        # 90 are seconds, and 90:00 is an hour and a half, but 1:90 a mistake.
        if (rest < 60 or not found[2]) and (minutes < 60 or not found[1]):
            return 3600 * hours + 60 * minutes + rest
    raise ValueError(
        f"{time!r} is no time. Expected seconds (12.5), minutes and seconds (1:30), or "
        "hours, too (0:01:30.5)."
    )
