"""Frames to an H.264 file that any player and browser shows."""

import contextlib
import pathlib
from fractions import Fraction

import av
import cv2
import numpy as np
from absl import logging
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from jaxtyping import UInt8

from stemseg_jax.formats import images, whole
from stemseg_jax.outputs import sound as sounds

MOST_SIDE = 16384  # pixels that x264 takes
MOST_PIXELS = 139264 * 16 * 16  # of level 6.2, the highest of H.264
CLOCK = Fraction(1, 90000)  # of frames that come with their times


class Writer:
    """Writes frames of one size; the file appears under its name once complete.

        with video.Writer(path, fps=source.fps, sound=source.path) as writer:
            writer.write(image)

    Sizes that are odd grow by one row or column, the last one repeated: the colours of
    H.264 (4:2:0) come in pairs. What is larger than H.264 holds is shrunk. The file
    appears once it is complete (`whole.file`).

    Args:
        path: Ends in .mp4; its folder is made.
        fps: Frames per second. With times, the last frame is shown for one over it.
        sound: A file whose first sound accompanies the pictures as long as they last.
            A fault in it is a warning, and the video goes without.
        sound_start: Seconds after the first picture of `sound`, heard with our first.
        quality: Constant rate factor of x264: 0 is lossless, 18 looks it, 51 the worst.

    Raises:
        ValueError: If frames differ in size, or there was none; if some have a time and
            some none, or a time is not after the one before.
    """

    def __init__(
        self,
        path: pathlib.Path,
        *,
        fps: Fraction | float | int,
        sound: pathlib.Path | None = None,
        sound_start: float | int = 0,
        quality: int = 18,
    ):
        self.path = pathlib.Path(path)
        # A float such as 29.97 is a fraction of 2**48, more than a container holds.
        self.fps = Fraction(fps).limit_denominator(1_000_000)
        self.quality = quality
        self._sound_from = sound, sound_start
        self._sound: sounds.Sound | None = None
        self._size: tuple[int, int] | None = None
        self._count = 0

    def __enter__(self) -> "Writer":
        with contextlib.ExitStack() as stack:
            partial = str(stack.enter_context(whole.file(self.path)))
            options = {"movflags": "faststart"}
            container = av.open(partial, "w", format="mp4", options=options)
            self._container = stack.enter_context(container)
            stack.callback(self._close_sound)
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def write(
        self, image: UInt8[np.ndarray, "H W 3"], time: float | int | None = None
    ) -> None:
        """Adds an RGB frame.

        Args:
            time: Seconds on any clock; the first frame is shown at 0. None: frames
                follow each other by `fps`.
        """
        if self._size is None:
            self._begin(image.shape[:2], time)
        others = "the frames before it are"
        images.check_size(image.shape[:2], self._size, f"{self.path}: a frame", others)
        frame = av.VideoFrame.from_ndarray(_fitted(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
        self._place(frame, time)
        self._container.mux(self._stream.encode(frame))
        self._count += 1
        if self._sound:
            self._sound.write(until=self._end())

    def __exit__(self, *exception) -> None:
        self._stack.__exit__(*exception)

    def _begin(self, size: tuple[int, int], time: float | int | None) -> None:
        self._size, self._first, self._time = size, time, None
        self._stream = self._open_stream(*size, timed=time is not None)
        path, start = self._sound_from
        if path is None:
            return
        try:
            self._sound = sounds.Sound(path, start)
            self._sound.add_to(self._container)
        except sounds.SilentError:
            pass
        except ValueError as error:
            logging.warning("%s is written without sound: %s.", self.path, error)

    def _place(self, frame: av.VideoFrame, time: float | int | None) -> None:
        """Gives the frame its time, after that of the frame before."""
        if (time is None) != (self._first is None):
            raise ValueError(
                f"{self.path}: frame {self._count} has time {time}, the first one has "
                f"{self._first}; expected a time for each frame, or for none."
            )
        if time is None:
            return
        if self._time is not None and not time > self._time:
            raise ValueError(
                f"{self.path}: frame {self._count} is at {time} s, and the one before "
                f"at {self._time} s; expected times that increase."
            )
        ticks = round((time - self._first) / CLOCK)
        self._ticks = max(ticks, self._ticks + 1) if self._count else 0
        self._time = time
        frame.pts, frame.time_base = self._ticks, CLOCK

    def _end(self) -> float:
        """Seconds until which the frames so far are shown."""
        if self._first is None:
            return float(self._count / self.fps)
        return float(self._ticks * CLOCK + 1 / self.fps)

    def _finish(self, kind, *_) -> None:
        if kind is None and self._size is None:
            raise ValueError(f"{self.path}: no frame was written.")
        if kind is None:
            self._container.mux(self._stream.encode())
            if self._sound:
                self._sound.finish(until=self._end())

    def _close_sound(self) -> None:
        if self._sound:
            self._sound.close()

    def _open_stream(self, height: int, width: int, *, timed: bool) -> av.VideoStream:
        shown = shrunk_to(height, width)
        if shown != (height, width):
            logging.warning(
                "%s: frames of %d x %d are shrunk to %d x %d, the most that H.264 has.",
                *(self.path, height, width, *shown),
            )
        stream = self._container.add_stream("libx264", rate=self.fps)
        stream.height, stream.width = (side + side % 2 for side in shown)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(self.quality), "preset": "veryfast"}
        if timed:
            stream.codec_context.time_base = stream.time_base = CLOCK
            # Frames in another order than they are shown would confuse the durations.
            stream.options |= {"bf": "0"}
        # Without these a player guesses, and guesses by the height.
        context = stream.codec_context
        context.colorspace = Colorspace.ITU709
        context.color_range = ColorRange.MPEG
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        return stream


def shrunk_to(height: int, width: int) -> tuple[int, int]:
    """The size in which frames of this size are written, before it is made even."""
    scale = min(1.0, MOST_SIDE / max(height, width))
    scale = min(scale, (MOST_PIXELS / (height * width)) ** 0.5)
    return max(int(height * scale), 1), max(int(width * scale), 1)


def _fitted(image: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "h w 3"]:
    size = shrunk_to(*image.shape[:2])
    if size != image.shape[:2]:
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    height, width = size
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(image)
