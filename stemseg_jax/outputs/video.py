"""Frames to an H.264 file that any player and browser shows."""

import pathlib
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from jaxtyping import UInt8


class Writer:
    """Writes frames of one size; the file appears under its name once complete.

        with video.Writer(path, fps=source.fps) as writer:
            writer.write(image)

    Sizes that are odd grow by one row or column, the last one repeated: the colours of
    H.264 (4:2:0) come in pairs. Until it is complete the file is `.<name>.partial.mp4`;
    after an exception nothing is left.

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
        self._partial = self.path.with_name(f".{self.path.stem}.partial.mp4")
        self._size: tuple[int, int] | None = None

    def __enter__(self) -> "Writer":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._container = av.open(
            str(self._partial), "w", options={"movflags": "faststart"}
        )
        return self

    def write(self, image: UInt8[np.ndarray, "H W 3"]) -> None:
        """Adds an RGB frame."""
        if self._size is None:
            self._size = image.shape[:2]
            self._stream = self._open_stream(*image.shape[:2])
        if image.shape[:2] != self._size:
            raise ValueError(
                f"{self.path}: a frame of {image.shape[0]} x {image.shape[1]} after "
                f"frames of {self._size[0]} x {self._size[1]} (height x width)."
            )
        height, width = self._size
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
        self._container.mux(self._stream.encode(frame))

    def __exit__(self, kind, *_) -> None:
        try:
            if kind is None and self._size is None:
                raise ValueError(f"{self.path}: no frame was written.")
            if kind is None:
                self._container.mux(self._stream.encode())
            self._container.close()
            if kind is None:
                self._partial.replace(self.path)
        finally:
            self._partial.unlink(missing_ok=True)

    def _open_stream(self, height: int, width: int) -> av.VideoStream:
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
