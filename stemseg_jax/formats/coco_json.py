"""The JSON files of the COCO family: YouTube-VIS, OVIS, COCO itself.

An annotation file is an object of `videos` (or `images`), `categories` and
`annotations`; a result file is a list of tracks. Masks are run lengths or polygons.
"""

import gzip
import json
import math
import pathlib
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from stemseg_jax.formats import rle, whole

KEYS = ("video_id", "category_id", "score", "segmentations")  # of a result
REQUIRED = {  # of an annotation file that is scored
    "videos": ("id", "height", "width"),
    "categories": ("id", "name"),
    "annotations": ("video_id", "category_id", "segmentations", "areas"),
}

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


class Annotations(NamedTuple):
    """An annotation file; masks stay as the file writes them."""

    sizes: dict[int, VideoSize]
    names: dict[int, str]  # of videos
    categories: dict[int, str]
    objects: dict[int, list[Entry]]  # by video


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


def read_object(file: pathlib.Path) -> dict:
    """The content of an annotation file, or of any other that holds an object."""
    content = read(file)
    if not isinstance(content, dict):
        raise ValueError(
            f"{file}: not an annotation file; expected an object with videos and "
            "annotations, found a list. Is it a results file?"
        )
    return content


def video_name(video: Mapping[str, Any]) -> str:
    """The folder of its frames; without one, its id."""
    files = video.get("file_names") or [""]
    folder = pathlib.PurePosixPath(files[0]).parent
    return folder.as_posix() if folder.name else str(video["id"])


def read_annotations(file: pathlib.Path) -> Annotations:
    """Reads an annotation file (.json or .json.gz).

    Raises:
        ValueError: It is not one, holds no annotations, or an object of a video or
            category that the file does not list.
    """
    content = read_object(file)
    for part, keys in REQUIRED.items():
        if not isinstance(content.get(part), list):
            raise ValueError(f"{file}: no {part}; only annotated videos can be scored")
        for number, entry in enumerate(content[part]):
            for key in keys:
                if not isinstance(entry, dict) or key not in entry:
                    raise ValueError(f"{file}: {part}[{number}] has no {key!r}")
    sizes, names = {}, {}
    for video in content["videos"]:
        frames = video.get("file_names") or [""] * video.get("length", 0)
        size = VideoSize(video["height"], video["width"], len(frames))
        sizes[video["id"]] = size
        names[video["id"]] = video_name(video)
    categories = {
        category["id"]: category["name"] for category in content["categories"]
    }
    objects = defaultdict(list)
    for annotation in content["annotations"]:
        where = f"{file}: annotation {annotation.get('id')}"
        if annotation["video_id"] not in sizes:
            raise ValueError(f"{where}: video {annotation['video_id']} is not listed")
        if annotation["category_id"] not in categories:
            raise ValueError(
                f"{where}: category {annotation['category_id']} is not listed"
            )
        objects[annotation["video_id"]].append((where, annotation))
    return Annotations(sizes, names, categories, dict(objects))


def read_results(file: pathlib.Path) -> list[Any]:
    """The tracks of a result file, not yet checked."""
    entries = read(file)
    if not isinstance(entries, list):
        raise ValueError(
            f"{file}: expected a list of tracks, found a {type(entries).__name__}; "
            "give the result file, not an annotation file"
        )
    return entries


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
    entries = read_results(file)
    for number, entry in enumerate(entries):
        where = f"{file}: entry {number}"
        check_head(entry, videos, where, score_range=(0.0, 1.0))
        check_masks([(where, entry)], videos[entry["video_id"]])
        if entry["category_id"] not in categories:
            raise ValueError(
                f"{where}: category {entry['category_id']} does not exist; "
                f"known are {sorted(categories)}"
            )


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


def track(segmentations: Sequence[rle.Rle | None]) -> dict[str, list]:
    """What an annotation file says of an object in each frame; null where it is not.

    Masks, boxes (x, y, width, height) and areas in pixels.
    """
    seen = [(t, mask) for t, mask in enumerate(segmentations) if mask is not None]
    content = {
        key: [None] * len(segmentations) for key in ("segmentations", "bboxes", "areas")
    }
    areas = rle.areas([mask for _, mask in seen]).tolist()
    for (t, mask), area in zip(seen, areas, strict=True):
        content["segmentations"][t] = rle.to_json(mask)
        content["bboxes"][t] = rle.box(mask)
        content["areas"][t] = area
    return content


def write_annotations(
    file: pathlib.Path,
    videos: Iterable[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]],
    categories: Mapping[int, str],
    **more: Any,
) -> pathlib.Path:
    """Writes an annotation file, numbering videos and objects from 1.

    Args:
        videos: Of each "height", "width", "length" and "file_names", and its objects: a
            "category_id" and what `track` gives.
        more: Further parts of the file.
    """
    listed, annotations = [], []
    for number, (video, objects) in enumerate(videos, start=1):
        listed.append({"id": number, **video})
        size = {key: video[key] for key in ("height", "width", "length")}
        for content in objects:
            identity = {"id": len(annotations) + 1, "video_id": number, "iscrowd": 0}
            annotations.append(identity | size | content)
    content = more | {
        "videos": listed,
        "categories": [
            {"supercategory": "object", "id": number, "name": name}
            for number, name in categories.items()
        ],
        "annotations": annotations,
    }
    return whole.write_text(file, json.dumps(content))
