"""Where to begin to read a video file of which only a later part is wanted."""

import math
from collections.abc import Callable
from fractions import Fraction

import av
from av.format import Flags

from stemseg_jax.data.inputs import decoding

# Before the wanted time. Containers that look for it by decoding time, or by halving
# the file, come out at the key frame behind it.
SECONDS_BACK = (0, 1, 2, 4, 8, 16)


def seek_target(
    stream: Callable[[], av.VideoStream], *, origin: Fraction, start: Fraction
) -> int | None:
    """A tick to seek to, from where decoding gives the same frames as from the front.

    Args:
        stream: Opens the file anew: what was read before changes where a seek ends.
        origin: Stamp of the first frame, in seconds.
        start: Stamp from which on frames are wanted.

    Returns:
        None if there is no such place, or no way to be sure of it.
    """
    if _clock_begins_anew(stream(), start):
        return None
    for back in SECONDS_BACK:
        if start - back <= origin:
            return None
        fresh = stream()
        target = math.floor((start - back) / fresh.time_base)
        landed = _first_stamp(fresh, target)
        if landed is not None and origin <= landed <= start:
            return target
    return None


def _first_stamp(stream: av.VideoStream, target: int) -> Fraction | None:
    """Of the frame after a seek, if it is a key frame, which needs no others."""
    try:
        stream.container.seek(target, stream=stream)
        frame = next(decoding.frames(stream), None)
    except (av.error.FFmpegError, decoding.DamagedError):
        return None
    if frame is None or not frame.key_frame:
        return None
    return decoding.stamp(frame, stream)


def _clock_begins_anew(stream: av.VideoStream, start: Fraction) -> bool:
    """Whether stamps up to `start` occur twice, as in broadcasts that were joined.

    Reads the file up to there, which still takes a small part of decoding it.
    """
    if not stream.container.format.flags & Flags.ts_discont.value:
        return False
    last = -math.inf
    for packet in stream.container.demux(stream):
        if packet.dts is None:
            continue
        if packet.dts < last:
            return True
        last = packet.dts
        if last * stream.time_base > start:
            return False
    return False
