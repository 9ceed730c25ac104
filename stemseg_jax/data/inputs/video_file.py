"""A video file, or a part of it."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator
from fractions import Fraction

import av
from absl import logging

from stemseg_jax.data.inputs import base, decoding, late_start, naming
from stemseg_jax.data.inputs.frame_choice import ALL, FrameChoice
from stemseg_jax.data.inputs.timestamps import Clock
from stemseg_jax.formats import containers

MISSING_SECONDS = 0.5  # that are not told; headers and clocks are not exact


class VideoFile:
    """Any file that FFmpeg reads; turned upright if it says how it was held.

    Of a late start only what lies between the key frame before and the start is decoded
    in vain, and nothing behind the end is read: damage there is none of ours.

    Args:
        name: Instead of the file's, without its ending.

    Raises:
        ValueError: If the file is not a video, none of its frames is chosen, or frames
            are of several sizes.
        BrokenVideoError: After the last sound frame, if it is cut short or damaged.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        name: str | None = None,
        choice: FrameChoice = ALL,
    ):
        self.path = pathlib.Path(path)
        self.name = name or naming.told(self.path.stem)
        self.live = False
        self._choice = choice
        with self._open() as stream:
            self._read_header(stream)
            self._read_first_frame(stream)
        self.fps = choice.rate(self._source_fps)
        self.num_frames = self._estimate()
        self._beginning = late_start.Beginning()
        if choice.start:
            self._find_start()

    def __iter__(self) -> Iterator[base.InputFrame]:
        index = 0
        with contextlib.closing(self._timed()) as frames:
            try:
                for time, frame in self._choice.of(frames, self._source_fps):
                    image = decoding.picture(frame, self.path)
                    where = f"{self.path}: frame {index}"
                    base.check_size(image.shape[:2], self, where)
                    yield base.InputFrame(index, image, time)
                    index += 1
            except decoding.DamagedError as damage:
                raise self._broken(str(damage), index) from None

    def _estimate(self) -> int | None:
        """How many frames are chosen; one at least, or the source is refused."""
        total = self._promised or round((self._seconds or 0) * self._source_fps)
        return max(self._choice.count(total, self._source_fps), 1) if total else None

    @contextlib.contextmanager
    def _open(self) -> Iterator[av.VideoStream]:
        """Its pictures, not read yet."""
        options = {
            "format_whitelist": ",".join(decoding.FORMATS),
            "protocol_whitelist": "file",
        }
        try:
            if not self.path.is_file():
                raise ValueError("not a regular file")
            container = av.open(f"file:{self.path}", options=options)
        except (av.error.FFmpegError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise ValueError(
                f"{self.path}: cannot be opened as a video ({why}). Expected a file "
                "that FFmpeg reads, complete and not encrypted."
            ) from error
        with container:
            yield decoding.video_stream(container, self.path)

    def _read_header(self, stream: av.VideoStream) -> None:
        self.sound = self.path if stream.container.streams.audio else None
        self._source_fps = decoding.rate(stream)
        self._seconds = _told_seconds(stream)
        # Only what the file counts: duration times rate is a guess.
        self._promised = stream.frames or None

    def _read_first_frame(self, stream: av.VideoStream) -> None:
        """Which says the size, and when the clock starts."""
        try:
            frame = next(decoding.frames(stream), None)
        except decoding.DamagedError as damage:
            raise self._broken(_undecoded(0, damage), 0) from None
        if frame is None:
            raise ValueError(
                f"{self.path}: no frame in this video. Expected at least one; check "
                "that the recording or the download was finished."
            )
        self.height, self.width = decoding.picture(frame, self.path).shape[:2]
        self._origin = decoding.stamp(frame, stream)
        told = (stream.start_time or 0) * Fraction(stream.time_base)
        # Frames before it, which cannot be decoded, count as there.
        self._lead = float((self._origin or told) - told)

    def _find_start(self) -> None:
        """Where to read from; refuses a start that nothing follows."""
        if self._origin is not None:
            with contextlib.ExitStack() as opened:
                self._beginning = late_start.find(
                    lambda: opened.enter_context(self._open()),
                    origin=self._origin,
                    start=self._origin + Fraction(self._choice.start),
                )
        if next(iter(self), None) is None:
            lasts = f"; it lasts {self._seconds:.1f} s" if self._seconds else ""
            raise ValueError(
                f"{self.path}: no frame {self._choice.span}{lasts}. Choose another "
                "--start or --end."
            )

    def _timed(self) -> Iterator[tuple[float, av.VideoFrame]]:
        """The frames with their times, from the start of the choice or before."""
        with self._open() as stream:
            clock = Clock(self._source_fps, origin=self._origin)
            count, end, gap = 0, None, (0.0, 0.0)
            try:
                for frame in self._beginning.frames(stream):
                    time = float(clock.time(decoding.stamp(frame, stream)))
                    count = count or round(time * self._source_fps)
                    yield time, frame
                    count += 1
                    if end is not None:
                        gap = max(gap, (end, time), key=lambda gap: gap[1] - gap[0])
                    end = time + float((frame.duration or 0) * stream.time_base)
                fault = self._fault_of_end(end or 0.0, count)
            except decoding.DamagedError as damage:
                fault = _undecoded(count, damage)
            # What is wrong with a frame behind the choice is nobody's concern.
            if self._choice.is_over(clock.expected + 1 / (2 * self._source_fps)):
                return
            if fault:
                raise decoding.DamagedError(fault)
            self._tell_missing(count, gap)

    def _broken(self, what: str, read: int) -> base.BrokenVideoError:
        promised = self._promised if self._choice.takes_all else None
        of = f" of {promised} promised" if promised else ""
        return base.BrokenVideoError(
            f"{self.path}: {what}; {read}{of} frames can be read. Copy the file again, "
            f"or keep what is there: ffmpeg -i {self.path.name} shorter.mp4",
            read=read,
            promised=promised,
        )

    def _fault_of_end(self, end: float, count: int) -> str:
        """Of a file cut short FFmpeg only says that it has ended."""
        missing = (self._seconds or 0) - (self._lead + end)
        fewer = self._promised is None or count < self._promised
        cut = missing > MISSING_SECONDS or (fewer and containers.is_cut(self.path))
        return "is cut short" if cut else ""

    def _tell_missing(self, count: int, gap: tuple[float, float]):
        """Damage that leaves no trace, but also what a camera or an edit left out."""
        if self._promised and count < self._promised:
            if self._beginning == late_start.Beginning():  # or the count is a guess
                logging.warning(
                    "%s: %d of %d promised frames were read; the others may be lost.",
                    *(self.path, count, self._promised),
                )
        elif not self._promised and gap[1] - gap[0] > MISSING_SECONDS:
            logging.warning(
                "%s: no frame from %.1f to %.1f s; some may be lost.", self.path, *gap
            )


def _undecoded(index: int, damage: decoding.DamagedError) -> str:
    return f"frame {index} cannot be decoded ({damage})"


def _told_seconds(stream: av.VideoStream) -> float | None:
    """How long the pictures last, as the header says."""
    container = stream.container
    said = []
    if stream.duration:
        said.append(float(stream.duration * stream.time_base))
    if written := re.fullmatch(  # Matroska
        r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", "")
    ):
        hours, minutes, seconds = map(float, written.groups())
        said.append(3600 * hours + 60 * minutes + seconds)
    # Sound may last longer than the pictures, and a cut of both shorter than either.
    if container.duration and (said or len(container.streams) == 1):
        said.append(container.duration / av.time_base)
    return min(said, default=None)
