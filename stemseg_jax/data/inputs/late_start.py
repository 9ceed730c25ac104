"""Where to begin to read a video file of which only a later part is wanted."""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import av
from av.format import Flags

from stemseg_jax.data.inputs import decoding

# Before the wanted time. Containers that look for it by decoding time, or by halving
# the file, come out at the key frame behind it.
SECONDS_BACK = (0, 1, 2, 4, 8, 16)


class Beginning(NamedTuple):
    """Where to read on; without anything, at the front."""

    tick: int | None = None  # of the stream's clock, to seek to
    num_skipped: int = 0  # packets after that which need not be decoded

    def frames(self, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
        """Those of a file that was just opened."""
        if self.tick is not None:
            stream.container.seek(self.tick, stream=stream)
        return decoding.frames(stream, num_skipped=self.num_skipped)


def find(
    stream: Callable[[], av.VideoStream], *, origin: Fraction, start: Fraction
) -> Beginning:
    """The key frame before `start`, if decoding from there gives the same frames.

    Args:
        stream: Opens the file anew: what was read before changes where a seek ends.
        origin: Stamp of the first frame, in seconds.
        start: Stamp from which on frames are wanted.

    Returns:
        The front if there is no other place, or no way to be sure of it.
    """
    for beginning in _beginnings(stream(), origin, start):
        landed = _first_stamp(stream(), beginning)
        if landed is not None and origin <= landed <= start:
            return beginning
    return Beginning()


def _beginnings(
    stream: av.VideoStream, origin: Fraction, start: Fraction
) -> Iterator[Beginning]:
    # The clocks of broadcasts may begin anew, and FFmpeg makes up stamps that are not
    # written: both are the same only if the file is read from the front.
    if stream.container.format.flags & Flags.ts_discont.value:
        yield Beginning(num_skipped=_num_before(stream, start))
        return
    for back in SECONDS_BACK:
        if start - back > origin:
            yield Beginning(tick=math.floor((start - back) / stream.time_base))


def _num_before(stream: av.VideoStream, start: Fraction) -> int:
    """How many packets come before the last key frame that is not later than `start`.

    Takes a small part of the time of decoding them. 0 if the clock begins anew, or a
    stamp is there twice: how such are mended depends on the frames before.
    """
    found, last, seen = 0, -math.inf, set()
    for index, packet in enumerate(stream.container.demux(stream)):
        if packet.dts is None or packet.pts is None:
            continue
        if packet.dts < last or packet.pts in seen:
            return 0
        seen.add(packet.pts)
        last = packet.dts
        if last * stream.time_base > start:
            break
        if packet.is_keyframe and packet.pts * stream.time_base <= start:
            found = index
    return found


def _first_stamp(stream: av.VideoStream, beginning: Beginning) -> Fraction | None:
    """Of the first frame from there, if it is a key frame, which needs no others."""
    try:
        frame = next(beginning.frames(stream), None)
    except (av.error.FFmpegError, decoding.DamagedError):
        return None
    if frame is None or not frame.key_frame:
        return None
    return decoding.stamp(frame, stream)
