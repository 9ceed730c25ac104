"""KITTI-MOTS and MOTSChallenge results: tracks that do not overlap, in text files."""

import math
import pathlib
from typing import NamedTuple

import numpy as np

from stemseg_jax.formats import files, mots_txt, rle, track_scores, whole
from stemseg_jax.tracks import Track, VideoTracks


class Limits(NamedTuple):
    """What a detection or track of one class must reach to be kept by `clean`."""

    area: int
    filled: float  # area over that of the box, more than this
    gaps: float  # gaps over detections, at most
    detections: int


LIMITS = {
    mots_txt.CAR: Limits(area=150, filled=0.35, gaps=0.3, detections=3),
    mots_txt.PEDESTRIAN: Limits(area=250, filled=0.2, gaps=0.5, detections=10),
}


def write(
    folder: pathlib.Path,
    video: VideoTracks,
    *,
    first_frame: int = 0,
) -> pathlib.Path:
    """Writes `folder/<video>.txt`, checked; without tracks an empty file.

    A pixel goes to the last painted of its tracks. Lines come track by track.

    Args:
        first_frame: The number of the first frame: 0 in KITTI, 1 in MOTSChallenge.

    Raises:
        ValueError: A class other than car and pedestrian, or ids that are not unique or
            not in 1..999.
    """
    _check_classes(video)
    seen = set()
    for track in video.tracks:
        where = f"video {video.name}, track {track.id}"
        if not 1 <= track.id < mots_txt.IDS_PER_CLASS:
            raise ValueError(f"{where}: ids run from 1 to {mots_txt.IDS_PER_CLASS - 1}")
        if track.id in seen:
            raise ValueError(f"{where}: another track has the same id")
        seen.add(track.id)
    final = whole.inside(folder, f"{video.name}.txt")
    with whole.file(final) as partial, partial.open("w") as stream:
        for track in sorted(without_overlaps(video).tracks):
            identity = _identity(track)
            for frame, mask in enumerate(track.segmentations, start=first_frame):
                if mask is not None:
                    line = mots_txt.Line(frame, identity, track.category, mask)
                    stream.write(f"{line}\n")
        stream.flush()
        mots_txt.check(
            partial,
            num_frames=video.num_frames,
            size=(video.height, video.width),
            first_frame=first_frame,
        )
    return final


def write_scores(folder: pathlib.Path, video: VideoTracks) -> pathlib.Path:
    """Writes `folder/<video>.scores.json`, beside what `write` makes of the same."""
    scores = {_identity(track): float(track.score) for track in video.tracks}
    return track_scores.write(whole.inside(folder, f"{video.name}.txt"), scores)


def read(file: pathlib.Path, *, first_frame: int = 0) -> VideoTracks:
    """The tracks of `<video>.txt`, with the ids that it has; frames up to the last one
    that it speaks of.

    Scores are those beside it (`write_scores`), or not known (NaN).

    Raises:
        ValueError: As `mots_txt.read`.
    """
    rows = files.read_text(file).split("\n")
    numbers = (row.split(maxsplit=1)[0] for row in rows if row.strip())
    last = max((int(n) for n in numbers if n.isdecimal()), default=first_frame)
    num_frames = min(last, mots_txt.MOST_FRAMES) - first_frame + 1
    masks: dict[tuple[int, int], list[rle.Rle | None]] = {}
    size = (1, 1)
    for frame, lines in enumerate(mots_txt.read(file, num_frames, first_frame)):
        for line in lines:
            size = tuple(line.mask["size"])
            own = masks.setdefault((line.id, line.category), [None] * num_frames)
            own[frame] = line.mask
    scores = track_scores.read(file) or {}
    tracks = (
        Track(id, category, scores.get(id, math.nan), tuple(own))
        for (id, category), own in sorted(masks.items())
    )
    return VideoTracks(file.stem, *size, num_frames, tuple(tracks))


def _identity(track: Track) -> int:
    return track.category * mots_txt.IDS_PER_CLASS + track.id


def without_overlaps(video: VideoTracks) -> VideoTracks:
    """The tracks with every pixel given to the last painted.

    A mask that is wholly covered is kept, empty.
    """
    masks: list[list[rle.Rle | None]] = [[] for _ in video.tracks]
    for frame in range(video.num_frames):
        labels = np.zeros((video.height, video.width), np.int32)
        held = [track.segmentations[frame] for track in video.tracks]
        for number, mask in enumerate(held, start=1):
            if mask is not None:
                labels[rle.decode(mask)] = number
        for number, mask in enumerate(held, start=1):
            visible = None if mask is None else rle.encode(labels == number)
            masks[number - 1].append(visible)
    tracks = (
        track._replace(segmentations=tuple(own))
        for track, own in zip(video.tracks, masks, strict=True)
    )
    return video._replace(tracks=tuple(tracks))


def cars(video: VideoTracks) -> VideoTracks:
    """The same tracks, those without a class as cars."""
    tracks = (t._replace(category=t.category or mots_txt.CAR) for t in video.tracks)
    return video._replace(tracks=tuple(tracks))


def clean(video: VideoTracks) -> VideoTracks:
    """Drops what is too small, too thin, too interrupted or too short to be an object.

    Detections go first, by their area and the share of their box that they fill; then
    tracks, by gaps between their detections and by the number of these.

    Source: the authors' post-processing for KITTI-MOTS.
    """
    _check_classes(video)
    video = without_overlaps(video)
    tracks = []
    for track in video.tracks:
        limits = LIMITS[track.category]
        masks = tuple(
            mask if mask is not None and _is_object(mask, limits) else None
            for mask in track.segmentations
        )
        frames = [frame for frame, mask in enumerate(masks) if mask is not None]
        gaps = int((np.diff(frames) > 1).sum())
        if len(frames) >= limits.detections and gaps <= limits.gaps * len(frames):
            tracks.append(track._replace(segmentations=masks))
    return video._replace(tracks=tuple(tracks))


def _check_classes(video: VideoTracks) -> None:
    for track in video.tracks:
        if track.category not in LIMITS:
            raise ValueError(
                f"video {video.name}, track {track.id}: class {track.category}; "
                "expected 1 (car) or 2 (pedestrian)"
            )


def _is_object(mask: rle.Rle, limits: Limits) -> bool:
    area = int(rle.areas([mask])[0])
    _, _, width, height = rle.box(mask)
    return area >= limits.area and area > limits.filled * width * height
