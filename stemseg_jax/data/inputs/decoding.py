"""What FFmpeg decodes of files, cameras and streams, as far as it is sound."""

import itertools
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from jaxtyping import UInt8

from stemseg_jax.data.inputs import base
from stemseg_jax.formats import declared

MISSING = "data missing or wrong"
# Without playlists, which lead to other files and may never end.
FORMATS = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "asf", "flv"),
    *("ogg", "mxf", "gif", "apng", "ivf", "nut", "dv", "rm", "h264", "hevc", "obu"),
    *("mjpeg", "yuv4mpegpipe", "m4v", "mjpeg_2000", "vc1", "webp_anim", "wtv"),
    *("wav", "mp3", "flac", "aac"),  # to say that they hold no video
)


class DamagedError(Exception):
    """Says what is wrong, after the last sound frame."""


def video_stream(
    container: av.container.InputContainer, where: object
) -> av.VideoStream:
    """The pictures of a file or stream, rather than the cover of a song.

    Raises:
        ValueError: It has none that can be decoded; names `where`.
    """
    stream = container.streams.best("video")
    if stream is None:
        kinds = sorted({stream.type for stream in container.streams})
        raise ValueError(f"{where}: holds no video, only {kinds}.")
    if stream.codec_context is None:
        raise ValueError(
            f"{where}: FFmpeg does not know how its frames are encoded. Convert it, or "
            "copy it again."
        )
    check_pixels(stream.codec_context, where)
    # "AUTO" would lose frames and errors near damage. Of 1280 x 720, two busy cores
    # decode 290 to 350 frames a second so, and 290 to 660 with "AUTO".
    stream.thread_type = "SLICE"
    stream.codec_context.options = {"max_pixels": str(declared.MOST_PIXELS)}
    return stream


def check_pixels(of: av.VideoCodecContext | av.VideoFrame, where: object) -> None:
    """Refuses frames that no memory holds."""
    if fault := declared.size_fault(of.height, of.width):
        raise ValueError(f"{where}: {fault} Shrink the video.")


def rate(stream: av.VideoStream) -> Fraction:
    """The nominal frames per second."""
    rates = (stream.average_rate, stream.guessed_rate, base.DEFAULT_FPS)
    rate = next(rate for rate in rates if rate and rate > 0)
    return Fraction(rate.numerator, rate.denominator)  # PyAV 19 has its own kind


def stamp(frame: av.VideoFrame, stream: av.VideoStream) -> Fraction | None:
    """When a frame is shown, in seconds of the stream's clock."""
    # An AVI says when frames are decoded, and FFmpeg gives that out under both names.
    avi = stream.container.format.name == "avi"
    ticks = frame.dts if avi else frame.pts
    return None if ticks is None else ticks * Fraction(stream.time_base)


def frames(stream: av.VideoStream, *, num_skipped: int = 0) -> Iterator[av.VideoFrame]:
    """From where the file is read on, to its end.

    Args:
        num_skipped: Packets that are not decoded.

    Raises:
        DamagedError: In place of the first frame that is damaged.
    """
    damage = None
    packets = itertools.islice(stream.container.demux(stream), num_skipped, None)
    while damage is None:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            if packet.is_corrupt:  # as the last of a file that was cut
                damage = MISSING
                decoded = stream.codec_context.decode(None)  # those before it
            else:
                decoded = packet.decode()
        except av.error.FFmpegError as error:
            damage, decoded = error.strerror, []
        for frame in decoded:
            # FFmpeg paints over what it cannot decode and goes on; labels would lie.
            if frame.is_corrupt:
                damage = MISSING
                break
            yield frame
    raise DamagedError(damage)


def picture(frame: av.VideoFrame, where: object) -> UInt8[np.ndarray, "H W 3"]:
    """RGB, turned upright if the file says how the camera was held."""
    check_pixels(frame, where)
    # A display matrix counts anticlockwise, as rot90 does.
    image = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
    return np.ascontiguousarray(image)
