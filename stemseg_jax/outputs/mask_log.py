"""The masks of a video on disk, written frame by frame as they become final.

A line a frame, as JSON, which can be followed while it grows:

    {"frame": 7, "time": 0.28, "objects": {"3": {"size": [720, 1280], "counts": "..."}}}

Objects go by the labels of their tracks; which of these are kept, and under what ids,
is known only when the video has ended. Until then, and while the results are written,
memory holds where each mask lies, 20 bytes of it.
"""

import array
import bisect
import collections
import json
import os
import pathlib
from collections.abc import Mapping, Sequence

from stemseg_jax.formats import rle
from stemseg_jax.outputs.collector import Chosen
from stemseg_jax.tracks import Track, VideoTracks


class MaskLog:
    """Takes the masks of one frame after the other, and gives back any of them.

    Args:
        path: Of a file that is not there yet.
    """

    def __init__(self, path: pathlib.Path):
        self.times = array.array("d")  # seconds, of each frame
        self._places: dict[int, _Places] = collections.defaultdict(_Places)
        self._file = path.open("x+b")
        self._end = 0

    def __len__(self) -> int:
        """Frames so far."""
        return len(self.times)

    def __enter__(self) -> "MaskLog":
        return self

    def __exit__(self, *exception) -> None:
        self._file.close()

    def append(self, time: float, masks: Mapping[int, rle.Rle]) -> None:
        """The masks of the next frame by label, none empty of size."""
        self._write(
            f'{{"frame": {len(self)}, "time": {time:.6f}, "objects": {{'.encode()
        )
        for number, (label, mask) in enumerate(sorted(masks.items())):
            self._write(f'{", " * bool(number)}"{label}": '.encode())
            place = self._end
            self._write(json.dumps(rle.to_json(mask)).encode())
            self._places[label].append(len(self), place, self._end - place)
        self._write(b"}}\n")
        self._file.flush()
        self.times.append(time)

    def _write(self, data: bytes) -> None:
        self._end += self._file.write(data)

    def masks(self, label: int) -> "LoggedMasks":
        """Of a track over all frames so far."""
        return LoggedMasks(self._file.fileno(), self._places[label], len(self))

    def tracks(
        self, name: str, size: tuple[int, int], chosen: Sequence[Chosen]
    ) -> VideoTracks:
        """The chosen tracks; their masks stay on disk until they are looked at.

        They can be read while this log is open, also from several threads.
        """
        tracks = (
            Track(one.id, one.category, one.score, self.masks(one.label))
            for one in chosen
        )
        return VideoTracks(name, *size, len(self), tuple(tracks))


class _Places:
    """Where the masks of a track lie in the file."""

    def __init__(self):
        self.frames = array.array("i")
        self.starts = array.array("q")
        self.lengths = array.array("q")

    def append(self, frame: int, start: int, length: int) -> None:
        self.frames.append(frame)
        self.starts.append(start)
        self.lengths.append(length)


class LoggedMasks(Sequence):
    """One mask, or None, for each frame; read when it is asked for."""

    def __init__(self, descriptor: int, places: _Places, num_frames: int):
        self._descriptor, self._places = descriptor, places
        self._num_frames = num_frames

    def __len__(self) -> int:
        return self._num_frames

    def __getitem__(self, frame: int) -> rle.Rle | None:
        frame = range(self._num_frames)[frame]
        index = bisect.bisect_left(self._places.frames, frame)
        if self._places.frames[index : index + 1] != array.array("i", [frame]):
            return None
        held = os.pread(
            self._descriptor, self._places.lengths[index], self._places.starts[index]
        )
        mask = json.loads(held)
        return {"size": tuple(mask["size"]), "counts": mask["counts"].encode()}
