"""The tracks of one video as JSON: all that was found, in a form easy to read anywhere.

    {
      "format": "stemseg_jax tracks 2",
      "video": {"name": "clip", "height": 720, "width": 1280, "num_frames": 289,
                "fps": 29.97, "times": [0.0, 0.033367, ...]},
      "categories": {"1": "person", "8": "dog"},
      "score": {"foreground": "Mean probability that what it covers is an object, ..."},
      "left_out": {"score below 0.7": 3, "beyond the first 254": 1},
      "tracks": [
        {"id": 1, "category": 1, "score": 0.93, "scored_by": "foreground",
         "evidence": {"foreground": 0.93, "seediness": 0.81}, "joined": [130],
         "segmentations": [{"size": [720, 1280], "counts": "..."}, null, ...],
         "boxes": [[412, 80, 233, 604], null, ...], "first": 0, "last": 288},
        ...
      ]
    }

`segmentations` has one entry per frame: a COCO run-length encoded mask, as
`pycocotools.mask.decode` takes it, or null where the object is not seen. `boxes` has
[x, y, width, height] in pixels around each mask, null where there is no pixel. `first`
and `last` are the first and last frame with a mask, null if there is none. `times` are
seconds from the first frame on. Ids count from 1; category 0 means that the model has
no categories. Where masks overlap, later tracks lie on top.

`scored_by` says in a word what a track's `score` is, null if that is not known; `score`
at the top explains each word. `evidence` are mean probabilities over the track,
`joined` the frames at which it was found again after an absence. `left_out` counts the
tracks that were found and are not in the file, by the reason. Any of them may be empty.

Version 1 is read, too: it has none of `times`, `score`, `scored_by`, `evidence`,
`joined`, `left_out` and `boxes`.
"""

import io
import itertools
import json
import pathlib
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Annotated, Literal, NamedTuple, TextIO

import msgspec

from stemseg_jax.formats import declared, rle, whole
from stemseg_jax.tracks import Track, VideoTracks

FORMAT = "stemseg_jax tracks 2"
EARLIER = "stemseg_jax tracks 1"


class Details(NamedTuple):
    """What is known besides the masks; mappings of tracks are by id."""

    times: Sequence[float] | None = None  # seconds; None: by the frame rate
    scored_by: Mapping[int, str] = {}  # one word each, a key of `score`
    score: Mapping[str, str] = {}  # a sentence on each word
    evidence: Mapping[int, Mapping[str, float]] = {}
    joined: Mapping[int, Sequence[int]] = {}
    left_out: Mapping[str, int] = {}


class TracksFile(NamedTuple):
    """What a file holds."""

    video: VideoTracks
    fps: float
    categories: dict[int, str]
    details: Details


def write(
    path: pathlib.Path,
    video: VideoTracks,
    *,
    fps: Fraction | float | int,
    categories: Mapping[int, str],
    details: Details | None = None,
) -> pathlib.Path:
    """Writes the file, which appears once complete.

    Segmentations are gone through once, track by track, and one mask is held at a time.

    Raises:
        ValueError: Times or segmentations that are not one per frame, or a word in
            `scored_by` that `score` does not explain.
    """
    details = details or Details()
    head = json.dumps(_head(video, float(fps), categories, details), allow_nan=False)
    with whole.file(path) as partial, partial.open("w") as stream:
        stream.write(f'{head[:-1]}, "tracks": [')
        for number, track in enumerate(video.tracks):
            stream.write(",\n" if number else "\n")
            _write_track(stream, track, video, details)
        stream.write("]}\n")
    return pathlib.Path(path)


def read(path: pathlib.Path) -> TracksFile:
    """What `write` wrote, checked.

    Raises:
        ValueError: If this is no such file, the video has no frames or no time passes
            in it, or a mask does not fit it.
    """
    content = declared.read(path, _File)
    header = content.video
    if header.times is not None and len(header.times) != header.num_frames:
        raise ValueError(f"{path}: {_uneven('times', len(header.times), header)}")
    for frame, (before, time) in enumerate(itertools.pairwise(header.times or ()), 1):
        if time <= before:
            raise ValueError(
                f"{path}: frame {frame} is at {time} s, after one at {before} s; "
                "expected times that increase."
            )
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
    details = Details(
        times=header.times,
        scored_by={t.id: t.scored_by for t in content.tracks if t.scored_by},
        score=content.score,
        evidence={t.id: t.evidence for t in content.tracks if t.evidence},
        joined={t.id: t.joined for t in content.tracks if t.joined},
        left_out=content.left_out,
    )
    return TracksFile(video, header.fps, content.categories, details)


class _Video(msgspec.Struct):
    name: str
    height: declared.Side
    width: declared.Side
    num_frames: Annotated[int, msgspec.Meta(ge=1, le=10**6)]
    fps: Annotated[float, msgspec.Meta(gt=0)]
    times: list[float] | None = None


class _Track(msgspec.Struct):
    id: declared.Id
    category: declared.Id
    score: float
    segmentations: list[rle.Compressed | None]
    scored_by: str | None = None
    evidence: dict[str, float] = {}
    joined: list[declared.Count] = []


class _File(msgspec.Struct):
    format: Literal[FORMAT, EARLIER]
    video: _Video
    categories: dict[int, str]
    tracks: list[_Track]
    score: dict[str, str] = {}
    left_out: dict[str, declared.Id] = {}


def _head(
    video: VideoTracks, fps: float, categories: Mapping[int, str], details: Details
) -> dict:
    times = details.times
    if times is None:
        times = [frame / fps for frame in range(video.num_frames)]
    if len(times) != video.num_frames:
        raise ValueError(f"video {video.name}: {_uneven('times', len(times), video)}")
    return {
        "format": FORMAT,
        "video": {
            "name": video.name,
            "height": video.height,
            "width": video.width,
            "num_frames": video.num_frames,
            "fps": fps,
            "times": [round(float(time), 6) for time in times],
        },
        "categories": {str(number): name for number, name in categories.items()},
        "score": dict(details.score),
        "left_out": {reason: int(n) for reason, n in details.left_out.items()},
    }


def _write_track(
    stream: TextIO, track: Track, video: VideoTracks, details: Details
) -> None:
    where = f"video {video.name}, track {track.id}"
    known = json.dumps(_known(track, where, details), allow_nan=False)
    stream.write(f'{known[:-1]}, "segmentations": [')
    boxes = io.StringIO()  # they come after the masks
    first = last = None
    count = 0
    for frame, mask in enumerate(track.segmentations):
        comma, count = ", " * (frame > 0), frame + 1
        stream.write(comma + json.dumps(None if mask is None else rle.to_json(mask)))
        boxes.write(comma + json.dumps(_box(mask)))
        if mask is not None:
            first, last = frame if first is None else first, frame
    if count != video.num_frames:
        raise ValueError(f"{where}: {_uneven('segmentations', count, video)}")
    ends = json.dumps({"first": first, "last": last})
    stream.write(f'], "boxes": [{boxes.getvalue()}], {ends[1:]}')


def _known(track: Track, where: str, details: Details) -> dict:
    word = details.scored_by.get(track.id)
    if word is not None and word not in details.score:
        raise ValueError(
            f"{where}: scored by {word!r}, which `score` does not explain; it has "
            f"{sorted(details.score)}."
        )
    evidence = details.evidence.get(track.id, {})
    return {
        "id": track.id,
        "category": track.category,
        "score": float(track.score),
        "scored_by": word,
        "evidence": {name: float(value) for name, value in evidence.items()},
        "joined": [int(frame) for frame in details.joined.get(track.id, ())],
    }


def _box(mask: rle.Rle | None) -> list[int] | None:
    if mask is None:
        return None
    box = [int(value) for value in rle.box(mask)]
    return box if box[2] else None


def _uneven(what: str, count: int, video: VideoTracks | _Video) -> str:
    return f"{count} {what} for {video.num_frames} frames; expected one per frame."


def _track_from_json(entry: _Track, height: int, width: int) -> Track:
    masks = tuple(
        None if mask is None else rle.from_json(mask, height, width)
        for mask in entry.segmentations
    )
    rle.areas([mask for mask in masks if mask is not None])  # all whole?
    return Track(entry.id, entry.category, entry.score, masks)
