"""Cameras and streams, read while they run."""

import itertools
import pathlib
import time
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from absl import logging
from jaxtyping import UInt8

from stemseg_jax.data.inputs import addresses, base, decoding
from stemseg_jax.data.inputs.frame_choice import ALL, FrameChoice
from stemseg_jax.data.inputs.timestamps import Clock

TIMEOUT = 10.0  # seconds without data
PICTURE_TIMEOUTS = 3  # so many times that, with data, but without a sound picture
# What a stream may lead to. Not "file": a playlist would read from this machine.
PROTOCOLS = (
    *("http", "https", "httpproxy", "tcp", "tls", "udp", "rtp", "srtp", "srt"),
    *("rtmp", "rtmpe", "rtmps", "rtmpt", "rtmpte", "rtmpts", "ffrtmphttp", "crypto"),
)
FORMATS = (*decoding.FORMATS, "hls", "rtsp", "rtp", "sdp", "live_flv", "mpjpeg")
CLOCKLESS = ("mjpeg", "mpjpeg")  # FFmpeg counts 25 frames a second, whenever they come


class LiveVideo:
    """The frames of a camera or a stream, until it ends or the choice does.

    It is opened at once, as its first frame says how large it is. Who reads more slowly
    than it runs gets later frames late (streams) or not at all (cameras). Pictures that
    were damaged on the way are left out, which is told at the end; those after them may
    show traces of it up to the next key frame. Times are those of the stream, or, where
    it has none, of the wall clock.

    Args:
        address: "camera:0", "camera:/dev/video0", or e.g. "rtsp://user:pw@host/path",
            of which no more than host and path is ever shown.
        timeout: Seconds without data after which the stream counts as broken.

    Raises:
        ValueError: It cannot be opened, shows nothing, or is read for the second time.
        BrokenVideoError: It breaks off, after frames were given.
    """

    num_frames: int | None = None
    sound: pathlib.Path | None = None
    live = True

    def __init__(
        self,
        address: str,
        *,
        name: str | None = None,
        choice: FrameChoice = ALL,
        timeout: float = TIMEOUT,
    ):
        self.name = name or addresses.name(address)
        self._shown = addresses.shown(address)
        self._choice = choice
        self._timeout = timeout
        self._lost = 0
        self._container = self._open(address)
        stream = decoding.video_stream(self._container, self._shown)
        self._source_fps = decoding.rate(stream)
        self.fps = choice.rate(self._source_fps)
        self._frames = self._timed(stream)
        self._first = self._first_frame(address)
        image = decoding.picture(self._first[1], self._shown)
        self.height, self.width = image.shape[:2]

    def __iter__(self) -> Iterator[base.InputFrame]:
        if self._first is None:
            raise ValueError(
                f"{self._shown}: a live video can be read once only. Record it, and "
                "give the file."
            )
        frames = itertools.chain([self._first], self._frames)
        self._first = None
        index = 0
        try:
            for seconds, frame in self._choice.of(frames, self._source_fps):
                yield base.InputFrame(index, self._picture(frame), seconds)
                index += 1
            if not index:
                raise decoding.DamagedError(f"it ended; no frame {self._choice.span}")
        except decoding.DamagedError as damage:
            raise base.BrokenVideoError(
                f"{self._shown}: broke off after {index} frames: {damage}.",
                read=index,
                promised=None,
            ) from None
        finally:
            self.close()

    def close(self) -> None:
        """Lets the camera or the server go; reading to the end does, too."""
        self._frames.close()
        self._container.close()
        if self._lost:
            lost, self._lost = self._lost, 0
            logging.warning(
                "%s: data were missing or wrong in %d place(s); the pictures there are "
                "left out.",
                *(self._shown, lost),
            )

    def _open(self, address: str) -> av.container.InputContainer:
        url, form, options = addresses.opened(address)
        if form is None:
            options = {
                **options,
                "protocol_whitelist": ",".join(PROTOCOLS),
                "format_whitelist": ",".join(FORMATS),
            }
        try:
            return av.open(url, format=form, options=options, timeout=self._timeout)
        except (av.error.FFmpegError, ValueError) as error:
            raise self._refused(address, self._why(error)) from None  # with the address

    def _first_frame(self, address: str) -> tuple[float, av.VideoFrame]:
        try:
            first = next(self._frames, None)
        except decoding.DamagedError as damage:
            raise self._refused(address, damage) from None
        if first is None:
            raise self._refused(address, "it ended before its first frame")
        return first

    def _refused(self, address: str, why: object) -> ValueError:
        return ValueError(
            f"{self._shown}: cannot be opened as a live video ({why}). "
            f"{addresses.advice(address)}"
        )

    def _why(self, error: Exception) -> str:
        if isinstance(error, av.error.ExitError):  # as FFmpeg is interrupted by PyAV
            return f"no data for {self._timeout:g} s"
        return getattr(error, "strerror", None) or "no address that FFmpeg knows"

    def _picture(self, frame: av.VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
        image = decoding.picture(frame, self._shown)
        height, width = image.shape[:2]
        if (height, width) != (self.height, self.width):
            raise decoding.DamagedError(
                f"it turned from {self.height} x {self.width} (height x width) to "
                f"{height} x {width}"
            )
        return image

    def _timed(self, stream: av.VideoStream) -> Iterator[tuple[float, av.VideoFrame]]:
        clock, by_wall = Clock(self._source_fps), None
        for frame in self._decoded(stream):
            stamp = decoding.stamp(frame, stream)
            if by_wall is None:
                by_wall = stream.container.format.name in CLOCKLESS or stamp is None
            if by_wall:
                stamp = Fraction(time.monotonic_ns(), 10**9)
            yield float(clock.time(stamp)), frame

    def _decoded(self, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        last, damaged = time.monotonic(), set()
        for packet in self._packets():
            if time.monotonic() - last > PICTURE_TIMEOUTS * self._timeout:
                raise decoding.DamagedError("there are data, but no sound pictures")
            if packet.stream.index != stream.index:
                continue
            if packet.is_corrupt:  # which the decoder hides as well as it can
                damaged.add(packet.pts)
                self._lost += 1
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self._lost += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._lost += 1
                elif frame.pts is None or frame.pts not in damaged:
                    yield frame
                    last = time.monotonic()

    def _packets(self) -> Iterator[av.Packet]:
        """Of all kinds, as sound may go on when the pictures do not."""
        try:
            yield from self._container.demux()
        except av.error.FFmpegError as error:
            raise decoding.DamagedError(self._why(error)) from None
