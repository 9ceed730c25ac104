"""YouTube-VIS and OVIS results: one list of tracks over all videos, as JSON and zip."""

import gzip
import json
import math
import os
import pathlib
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from stemseg_jax.outputs import rle
from stemseg_jax.tracks import VideoTracks

KEYS = ("video_id", "category_id", "score", "segmentations")


Entry = tuple[str, dict[str, Any]]  # where it stands, for messages, and what is there


class VideoSize(NamedTuple):
    """What the masks of a video must agree with."""

    height: int
    width: int
    num_frames: int


class Masks(NamedTuple):
    """The masks of one entry."""

    by_frame: dict[int, rle.Rle]
    areas: Int64[np.ndarray, "T"]  # 0 without a mask


def write(
    folder: pathlib.Path,
    videos: Iterable[VideoTracks],
    video_ids: Mapping[str, int],
) -> pathlib.Path:
    """Writes `results.json`, and `results.zip` with it as the server wants it.

    Videos are taken one at a time. Both files appear once all is written and checked.

    Args:
        video_ids: By a video's name, its id in the annotation file.

    Raises:
        ValueError: A video without an id or given twice, or what `check` refuses.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / ".results.json.partial"
    written = set()
    with partial.open("w") as stream:
        separator = "["
        for video in videos:
            if video.name not in video_ids:
                raise ValueError(f"video {video.name} has no id in the annotation file")
            if video.name in written:
                raise ValueError(f"video {video.name} is given twice")
            written.add(video.name)
            for entry in _entries(video, video_ids[video.name]):
                stream.write(separator + json.dumps(entry))
                separator = ",\n"
        stream.write("]" if written and separator != "[" else "[]")
    archive = folder / ".results.zip.partial"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        target.write(partial, "results.json")
    os.replace(archive, folder / "results.zip")
    os.replace(partial, folder / "results.json")
    return folder / "results.json"


def _entries(video: VideoTracks, video_id: int) -> Iterable[dict[str, Any]]:
    size = {video_id: VideoSize(video.height, video.width, video.num_frames)}
    for number, track in enumerate(video.tracks):
        entry = {
            "video_id": video_id,
            "category_id": track.category,
            "score": float(track.score),
            "segmentations": [
                None if mask is None else rle.to_json(mask)
                for mask in track.segmentations
            ],
        }
        where = f"video {video.name}, track {number}"
        check_head(entry, size, where, score_range=(0.0, 1.0))
        check_masks([(where, entry)], size[video_id])
        yield entry


def read(file: pathlib.Path) -> Any:
    """The content of a .json, a .json.gz, or a .zip as it is handed in.

    Raises:
        ValueError: No such file, or one that is not JSON.
    """
    file = pathlib.Path(file)
    try:
        if file.suffix == ".gz":
            return json.loads(gzip.decompress(file.read_bytes()))
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as archive:
                return json.loads(archive.read("results.json"))
        return json.loads(file.read_bytes())
    except (OSError, KeyError, EOFError, zipfile.BadZipFile, ValueError) as error:
        raise ValueError(f"{file}: no readable JSON ({error})") from error


def check(
    file: pathlib.Path,
    videos: Mapping[int, VideoSize],
    categories: Collection[int],
) -> None:
    """Refuses a result file that the servers of YouTube-VIS and OVIS would refuse.

    Raises:
        ValueError: Names the first entry with a video or category that does not exist,
            a score outside [0, 1], or masks that do not fit the video.
    """
    entries = read_entries(file)
    for number, entry in enumerate(entries):
        where = f"{file}: entry {number}"
        check_head(entry, videos, where, score_range=(0.0, 1.0))
        check_masks([(where, entry)], videos[entry["video_id"]])
        if entry["category_id"] not in categories:
            raise ValueError(
                f"{where}: category {entry['category_id']} does not exist; "
                f"known are {sorted(categories)}"
            )


def read_entries(file: pathlib.Path) -> list:
    entries = read(file)
    if not isinstance(entries, list):
        raise ValueError(
            f"{file}: expected a list of tracks, found a {type(entries).__name__}; "
            "give the result file, not an annotation file"
        )
    return entries


def check_head(
    entry: Any,
    videos: Mapping[int, VideoSize],
    where: str,
    *,
    score_range: tuple[float, float] = (-math.inf, math.inf),
) -> None:
    """Refuses an entry whose video, category or score cannot be.

    Raises:
        ValueError: Begins with `where` and names the video.
    """
    try:
        video, category, score, _ = (entry[key] for key in KEYS)
    except (TypeError, KeyError):
        raise ValueError(f"{where}: expected the keys {', '.join(KEYS)}") from None
    if not _is_number(video) or video not in videos:
        raise ValueError(f"{where}: video {video!r} is not in the annotation file")
    where = f"{where}, video {video}"
    if not _is_number(category) or not isinstance(category, int):
        raise ValueError(f"{where}: the category is {category!r}; expected an integer")
    if not _is_number(score) or not math.isfinite(score):
        raise ValueError(f"{where}: the score is {score!r}; expected a number")
    low, high = score_range
    if not low <= score <= high:
        raise ValueError(f"{where}: the score is {score}; expected {low} to {high}")


def check_masks(
    entries: Sequence[Entry], size: VideoSize, *, annotations: Sequence[Entry] = ()
) -> list[Masks]:
    """The masks of the entries of one video, each found to fill its frame.

    Args:
        annotations: Entries of an annotation file, whose masks come first. They may
            have other forms than compressed run lengths. (All masks of a video are
            decoded together: that is faster than one after the other.)

    Raises:
        ValueError: Names the entry, the video and the frame, from 0.
    """
    tracks = [_masks(entry, size, rle.from_json) for entry in annotations]
    tracks += [_masks(entry, size, rle.from_compressed) for entry in entries]
    rows = np.repeat(np.arange(len(tracks)), [len(own) for own in tracks])
    frames = [frame for own in tracks for frame in own]
    masks = [mask for own in tracks for mask in own.values()]
    areas = np.zeros((len(tracks), size.num_frames), np.int64)
    try:
        areas[rows, frames] = rle.areas(masks)
    except rle.BrokenMaskError as error:
        where, entry = [*annotations, *entries][rows[error.index]]
        raise ValueError(
            f"{where}, video {entry['video_id']}, frame {frames[error.index]}: {error}"
        ) from error
    return [Masks(*track) for track in zip(tracks, areas, strict=True)]


def _masks(entry: Entry, size: VideoSize, read) -> dict[int, rle.Rle]:
    where, content = entry
    where = f"{where}, video {content['video_id']}"
    given = content["segmentations"]
    if not isinstance(given, list) or len(given) != size.num_frames:
        number = len(given) if isinstance(given, list) else "no list of"
        raise ValueError(
            f"{where}: {number} segmentations for {size.num_frames} frames; write null "
            "for a frame without the object"
        )
    masks = {}
    for frame, segmentation in enumerate(given):
        if segmentation is None:
            continue
        try:
            masks[frame] = read(segmentation, size.height, size.width)
        except ValueError as error:
            raise ValueError(f"{where}, frame {frame}: {error}") from error
    return masks


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
