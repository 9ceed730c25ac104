"""The sound of one file, for the pictures of another."""

import contextlib
import itertools
import pathlib
from collections.abc import Iterator
from fractions import Fraction

import av
from absl import logging

# What mp4 takes and browsers play.
COPIED = ("aac", "mp3", "opus", "flac")
RATE = 48000  # of sound that is encoded anew
MARGIN = 1.0  # seconds before the start, in which decoding settles
FAULTS = (av.error.FFmpegError, OSError, ValueError)  # in reading


class SilentError(ValueError):
    """A file without any sound, which is nothing wrong."""


class Sound:
    """The first sound of a file, from a time on.

    Packets are copied where the sound is of a kind that browsers play in an mp4;
    otherwise it is encoded anew, as AAC. Time counts from the file's first picture, or
    from the first sample if it has none.

    Args:
        path: Of a film or a recording.
        start: Seconds. What is heard then is heard at 0.

    Raises:
        SilentError: The file has no sound.
        ValueError: It cannot be opened, or its sound cannot be read from there.
    """

    def __init__(self, path: pathlib.Path, start: float | int = 0):
        self.path = path
        with contextlib.ExitStack() as stack:
            try:
                # No playlists, which would lead elsewhere.
                options = {"protocol_whitelist": "file"}
                source = av.open(f"file:{path}", options=options)
                self._source = stack.enter_context(source)
                self._open(start)
            except SilentError:
                raise
            except FAULTS as error:
                raise ValueError(f"{path}: no sound from it ({error})") from error
            self._opened = stack.pop_all()

    def _open(self, start: float) -> None:
        if not self._source.streams.audio:
            raise SilentError(f"{self.path}: no sound in it")
        self._stream = self._source.streams.audio[0]
        first, *_ = [*self._source.streams.video, self._stream]
        self._start = start + float((first.start_time or 0) * first.time_base)
        context = self._stream.codec_context
        known = context is not None and context.sample_rate > 0
        self.copied = known and context.codec.canonical_name in COPIED
        if start > MARGIN:
            target = (self._start - MARGIN) / self._stream.time_base
            self._source.seek(int(target), stream=self._stream)
        self._parts = self._packets() if self.copied else self._frames()
        self._next = next(self._parts, None)
        if self._next is None:
            raise ValueError(f"it ends before {start:g} s")

    def add_to(self, container: av.container.OutputContainer) -> None:
        """Adds a stream, before anything is written to the container."""
        if self.copied:
            self._target = container.add_stream_from_template(self._stream)
        else:
            self._target = container.add_stream("aac", rate=RATE, layout="stereo")
        self._container = container

    def write(self, until: float | int) -> None:
        """Writes what begins before `until` and was not written.

        A fault in the sound is a warning, and the end of it.
        """
        while self._next is not None and _begin(self._next) < until:
            try:
                self._put(self._next)
            except ValueError as error:  # an OSError is of the disk, and goes on
                self._break_off(error)
                return
            try:
                self._next = next(self._parts, None)
            except FAULTS as error:
                self._break_off(error)

    def finish(self, until: float | int) -> None:
        """Writes the rest of what begins before `until`."""
        self.write(until)
        if not self.copied:
            self._container.mux(self._target.encode(None))

    def close(self) -> None:
        self._opened.close()

    def _break_off(self, error: Exception) -> None:
        logging.warning("%s: its sound ends early (%s).", self.path, error)
        self._next = None

    def _put(self, part: av.Packet | av.AudioFrame) -> None:
        if self.copied:
            part.stream = self._target
            self._container.mux(part)
        else:
            self._container.mux(self._target.encode(part))

    def _packets(self) -> Iterator[av.Packet]:
        """Those that sound at the start or later, with time counted from there.

        One more comes before them, at a time below 0: a decoder needs it for the next.
        """
        last = None
        for packet in self._source.demux(self._stream):
            if packet.pts is None or (last is not None and packet.pts <= last):
                continue  # the end, or a clock that stands still
            last = packet.pts
            shift = round(self._start / packet.time_base)
            packet.pts = packet.dts = packet.pts - shift
            if packet.pts + 2 * (packet.duration or 0) > 0:
                yield packet

    def _frames(self) -> Iterator[av.AudioFrame]:
        """What sounds at the start or later, decoded, in small pieces."""
        resampler = av.AudioResampler("fltp", "stereo", RATE, frame_size=1024)
        # At the end, None brings out what the resampler still holds.
        for decoded in itertools.chain(self._source.decode(self._stream), [None]):
            for frame in resampler.resample(decoded):
                frame.pts = round((_begin(frame) - self._start) * RATE)
                frame.time_base = Fraction(1, RATE)
                if frame.pts + frame.samples > 0:
                    yield frame


def _begin(part: av.Packet | av.AudioFrame) -> float:
    return float(part.pts * part.time_base)
