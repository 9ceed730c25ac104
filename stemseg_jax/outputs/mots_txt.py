"""KITTI-MOTS and MOTSChallenge results: one text file a sequence, one mask a line.

A line is `frame id class height width rle`. Masks of a frame do not overlap.
"""

import os
import pathlib
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco

from stemseg_jax.outputs import rle
from stemseg_jax.tracks import VideoTracks

CAR, PEDESTRIAN, IGNORE = 1, 2, 10
IDS_PER_CLASS = 1000  # an id is its class times this, and a number below


class Line(NamedTuple):
    """One mask of a file."""

    id: int
    category: int
    mask: rle.Rle
    area: int


class Limits(NamedTuple):
    """What a detection or track of one class must reach to be kept by `clean`."""

    area: int
    filled: float  # area over that of the box, more than this
    gaps: float  # gaps over detections, at most
    detections: int


LIMITS = {
    CAR: Limits(area=150, filled=0.35, gaps=0.3, detections=3),
    PEDESTRIAN: Limits(area=250, filled=0.2, gaps=0.5, detections=10),
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
        if not 1 <= track.id < IDS_PER_CLASS:
            raise ValueError(f"{where}: ids run from 1 to {IDS_PER_CLASS - 1}")
        if track.id in seen:
            raise ValueError(f"{where}: another track has the same id")
        seen.add(track.id)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{video.name}.txt.partial"
    with partial.open("w") as stream:
        for track in sorted(without_overlaps(video).tracks):
            for frame, mask in enumerate(track.segmentations, start=first_frame):
                if mask is not None:
                    stream.write(
                        f"{frame} {track.category * IDS_PER_CLASS + track.id} "
                        f"{track.category} {video.height} {video.width} "
                        f"{mask['counts'].decode()}\n"
                    )
    check(
        partial,
        num_frames=video.num_frames,
        size=(video.height, video.width),
        first_frame=first_frame,
    )
    final = folder / f"{video.name}.txt"
    os.replace(partial, final)
    return final


def without_overlaps(video: VideoTracks) -> VideoTracks:
    """The tracks with every pixel given to the last painted.

    A mask that is wholly covered is kept, empty.
    """
    masks: list[list[rle.Rle | None]] = [[] for _ in video.tracks]
    for frame in range(video.num_frames):
        labels = np.zeros((video.height, video.width), np.int32)
        present = [
            number
            for number, track in enumerate(video.tracks)
            if track.segmentations[frame] is not None
        ]
        for number in present:
            labels[rle.decode(video.tracks[number].segmentations[frame])] = number + 1
        for number, track in enumerate(masks):
            visible = rle.encode(labels == number + 1) if number in present else None
            track.append(visible)
    tracks = (
        track._replace(segmentations=tuple(own))
        for track, own in zip(video.tracks, masks, strict=True)
    )
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
    _, _, width, height = coco.toBbox(mask)
    return area >= limits.area and bool(area > limits.filled * width * height)


def check(
    file: pathlib.Path,
    *,
    num_frames: int,
    size: tuple[int, int] | None = None,
    first_frame: int = 0,
) -> None:
    """Refuses a file that the servers of KITTI or MOTSChallenge would refuse.

    Raises:
        ValueError: As `read`; or masks of another size than (height, width), or another
            class than car and pedestrian.
    """
    for number, lines in enumerate(read(file, num_frames, first_frame)):
        for line in lines:
            where = f"{file}: frame {number + first_frame}, id {line.id}"
            if line.category not in LIMITS:
                raise ValueError(f"{where}: class {line.category}; expected 1 or 2")
            if size is not None and tuple(line.mask["size"]) != tuple(size):
                raise ValueError(
                    f"{where}: a mask of size {line.mask['size']}, expected {size}"
                )


def read(file: pathlib.Path, num_frames: int, first_frame: int = 0) -> list[list[Line]]:
    """The lines of each frame.

    Raises:
        ValueError: Names the file and the line or frame: a line that is not of the
            form, a frame beyond the sequence, an id twice in a frame, masks of
            different sizes, broken or overlapping masks.
    """
    try:
        rows = pathlib.Path(file).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: no readable text file ({error})") from error
    numbers = [number for number, row in enumerate(rows, start=1) if row.strip()]
    parsed = [_parse(rows[number - 1], f"{file}:{number}") for number in numbers]
    try:
        areas = rle.areas([mask for _, _, _, mask in parsed])
    except rle.BrokenMaskError as error:
        frame = parsed[error.index][0]
        where = f"{file}:{numbers[error.index]}: frame {frame}"
        raise ValueError(f"{where}: {error}") from error
    frames: list[list[Line]] = [[] for _ in range(num_frames)]
    for number, (frame, identity, category, mask), area in zip(
        numbers, parsed, areas, strict=True
    ):
        where = f"{file}:{number}: frame {frame}"
        if not first_frame <= frame < first_frame + num_frames:
            raise ValueError(
                f"{where}: the sequence has frames {first_frame} to "
                f"{first_frame + num_frames - 1}"
            )
        if mask["size"] != parsed[0][3]["size"]:
            raise ValueError(
                f"{where}: a mask of size {mask['size']}; earlier ones have "
                f"{parsed[0][3]['size']}"
            )
        lines = frames[frame - first_frame]
        if any(identity == line.id for line in lines):
            raise ValueError(f"{where}: the id {identity} for a second time")
        lines.append(Line(identity, category, mask, int(area)))
    for number, lines in enumerate(frames):
        _check_overlap(lines, f"{file}: frame {number + first_frame}")
    return frames


def _parse(row: str, where: str) -> tuple[int, int, int, rle.Rle]:
    fields = row.split(" ")
    try:
        frame, identity, category, height, width = map(int, fields[:5])
        (counts,) = fields[5:]
    except ValueError:
        raise ValueError(
            f"{where}: expected `frame id class height width rle`, found {row[:60]!r}"
        ) from None
    return (
        frame,
        identity,
        category,
        {
            "size": (height, width),
            "counts": counts.encode("ascii", "replace"),
        },
    )


def _check_overlap(lines: list[Line], where: str) -> None:
    union = coco.merge([line.mask for line in lines]) if lines else None
    if lines and int(coco.area(union)) != sum(line.area for line in lines):
        for number, line in enumerate(lines):
            for other in lines[:number]:
                both = coco.merge([line.mask, other.mask], intersect=True)
                if coco.area(both):
                    raise ValueError(
                        f"{where}: the masks of {other.id} and {line.id} overlap in "
                        f"{int(coco.area(both))} pixels"
                    )
