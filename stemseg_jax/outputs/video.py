"""Frames to an H.264 file that any player and browser shows."""

import contextlib
import pathlib
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from jaxtyping import UInt8

from stemseg_jax.formats import images, whole

MOST_SIDE = 16384  # pixels that x264 takes


class Writer:
    """Writes frames of one size; the file appears under its name once complete.

        with video.Writer(path, fps=source.fps) as writer:
            writer.write(image)

    Sizes that are odd grow by one row or column, the last one repeated: the colours of
    H.264 (4:2:0) come in pairs. The file appears once it is complete (`whole.file`).

    Args:
        path: Ends in .mp4; its folder is made.
        fps: Frames per second.
        quality: Constant rate factor of x264: 0 is lossless, 18 looks it, 51 the worst.

    Raises:
        ValueError: If frames differ in size, or there was none.
    """

    def __init__(
        self, path: pathlib.Path, *, fps: Fraction | float | int, quality: int = 18
    ):
        self.path = pathlib.Path(path)
        # A float such as 29.97 is a fraction of 2**48, more than a container holds.
        self.fps = Fraction(fps).limit_denominator(1_000_000)
        self.quality = quality
        self._size: tuple[int, int] | None = None

    def __enter__(self) -> "Writer":
        with contextlib.ExitStack() as stack:
            partial = str(stack.enter_context(whole.file(self.path)))
            options = {"movflags": "faststart"}
            container = av.open(partial, "w", format="mp4", options=options)
            self._container = stack.enter_context(container)
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def write(self, image: UInt8[np.ndarray, "H W 3"]) -> None:
        """Adds an RGB frame."""
        if self._size is None:
            self._size = image.shape[:2]
            self._stream = self._open_stream(*image.shape[:2])
        others = "the frames before it are"
        images.check_size(image.shape[:2], self._size, f"{self.path}: a frame", others)
        height, width = self._size
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
        self._container.mux(self._stream.encode(frame))

    def __exit__(self, *exception) -> None:
        self._stack.__exit__(*exception)

    def _finish(self, kind, *_) -> None:
        if kind is None and self._size is None:
            raise ValueError(f"{self.path}: no frame was written.")
        if kind is None:
            self._container.mux(self._stream.encode())

    def _open_stream(self, height: int, width: int) -> av.VideoStream:
        if max(height, width) > MOST_SIDE:
            raise ValueError(
                f"{self.path}: frames of {height} x {width}; H.264 has no more than "
                f"{MOST_SIDE} pixels a side. Shrink the frames first."
            )
        stream = self._container.add_stream("libx264", rate=self.fps)
        stream.height, stream.width = height + height % 2, width + width % 2
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(self.quality), "preset": "veryfast"}
        # Without these a player guesses, and guesses by the height.
        context = stream.codec_context
        context.colorspace = Colorspace.ITU709
        context.color_range = ColorRange.MPEG
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
        return stream
