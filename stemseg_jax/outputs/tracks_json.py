"""The tracks of one video as JSON: all that was found, in a form easy to read anywhere.

    {
      "format": "stemseg_jax tracks 1",
      "video": {"name": "clip", "height": 720, "width": 1280, "num_frames": 289,
                "fps": 29.97},
      "categories": {"1": "person", "8": "dog"},
      "tracks": [
        {"id": 1, "category": 1, "score": 1.0, "first": 0, "last": 288,
         "segmentations": [{"size": [720, 1280], "counts": "..."}, null, ...]},
        ...
      ]
    }

`segmentations` has one entry per frame: a COCO run-length encoded mask, as
`pycocotools.mask.decode` takes it, or null where the object is not seen. `first` and
`last` are the first and last frame with a mask, null if there is none. Ids count from
1; category 0 means that the model has no categories. Where masks overlap, later tracks
lie on top.
"""

import json
import pathlib
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import msgspec

from stemseg_jax.formats import declared, rle, whole
from stemseg_jax.tracks import Track, VideoTracks

FORMAT = "stemseg_jax tracks 1"


class TracksFile(NamedTuple):
    """What a file holds."""

    video: VideoTracks
    fps: float
    categories: dict[int, str]


def write(
    path: pathlib.Path,
    video: VideoTracks,
    *,
    fps: Fraction | float | int,
    categories: Mapping[int, str],
) -> pathlib.Path:
    """Writes the file, which appears once complete."""
    content = {
        "format": FORMAT,
        "video": {
            "name": video.name,
            "height": video.height,
            "width": video.width,
            "num_frames": video.num_frames,
            "fps": float(fps),
        },
        "categories": {str(number): name for number, name in categories.items()},
        "tracks": [_track_to_json(track) for track in video.tracks],
    }
    return whole.write_text(path, json.dumps(content) + "\n")


def read(path: pathlib.Path) -> TracksFile:
    """What `write` wrote, checked.

    Raises:
        ValueError: If this is no such file, or a mask does not fit its video.
    """
    content = declared.read(path, _File)
    header = content.video
    tracks = []
    for entry in content.tracks:
        where = f"{path}: track {entry.id}"
        count = len(entry.segmentations)
        if count != header.num_frames:
            raise ValueError(
                f"{where} has {count} segmentations, but the video has "
                f"{header.num_frames} frames; expected one per frame, or null."
            )
        try:
            tracks.append(_track_from_json(entry, header.height, header.width))
        except ValueError as error:
            raise ValueError(f"{where}: {error}.") from error
    size = header.height, header.width
    video = VideoTracks(header.name, *size, header.num_frames, tuple(tracks))
    return TracksFile(video, header.fps, content.categories)


class _Video(msgspec.Struct):
    name: str
    height: declared.Side
    width: declared.Side
    num_frames: declared.Count
    fps: float


class _Track(msgspec.Struct):
    id: declared.Id
    category: declared.Id
    score: float
    segmentations: list[rle.Compressed | None]


class _File(msgspec.Struct):
    format: Literal[FORMAT]
    video: _Video
    categories: dict[int, str]
    tracks: list[_Track]


def _track_to_json(track: Track) -> dict[str, Any]:
    seen = [i for i, mask in enumerate(track.segmentations) if mask is not None]
    return {
        "id": track.id,
        "category": track.category,
        "score": track.score,
        "first": seen[0] if seen else None,
        "last": seen[-1] if seen else None,
        "segmentations": [
            None if mask is None else rle.to_json(mask) for mask in track.segmentations
        ],
    }


def _track_from_json(entry: _Track, height: int, width: int) -> Track:
    masks = tuple(
        None if mask is None else rle.from_json(mask, height, width)
        for mask in entry.segmentations
    )
    rle.areas([mask for mask in masks if mask is not None])  # all whole?
    return Track(entry.id, entry.category, entry.score, masks)
