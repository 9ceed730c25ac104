"""The JSON files of the COCO family: YouTube-VIS, OVIS, COCO itself.

An annotation file is an object of `videos` (or `images`), `categories` and
`annotations`; a result file is a list of tracks. Masks are run lengths or polygons.
Files are read as the types declared here; what they do not say, the checks below do.
"""

import collections
import json
import math
import pathlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from jaxtyping import Int64

from stemseg_jax.formats import declared, rle, whole
from stemseg_jax.formats.declared import Count, Id, Name, Side

Area = Annotated[float, msgspec.Meta(ge=0)]  # pixels


class Category(msgspec.Struct):
    id: Id
    name: str


class Video(msgspec.Struct):
    id: Id
    height: Side
    width: Side
    file_names: list[Name] | None = None  # of its frames; results need them not
    length: Count | None = None

    @property
    def num_frames(self) -> int:
        return len(self.file_names) if self.file_names else self.length or 0

    @property
    def name(self) -> str:
        """The folder of its frames; without one, its id."""
        folder = pathlib.PurePosixPath((self.file_names or [""])[0]).parent
        return folder.as_posix() if folder.name else str(self.id)


class VideoObject(msgspec.Struct):
    """One object of a video: in each frame a mask, or null where it is not seen."""

    id: Id
    video_id: Id
    category_id: Id
    segmentations: list[rle.Segmentation | rle.Polygons | None]
    areas: list[Area | None] | None = None
    bboxes: list[list[float] | None] | None = None  # x, y, width, height
    iscrowd: bool | int = 0
    occlusion: list[str | None] | None = None  # OVIS


class VideoFile(msgspec.Struct):
    """What an annotation file of videos holds."""

    videos: list[Video]
    categories: list[Category] = []
    annotations: list[VideoObject] | None = None  # null: not published


class Image(msgspec.Struct):
    id: Id
    file_name: Name
    height: Side
    width: Side


class ImageObject(msgspec.Struct):
    id: Id
    image_id: Id
    category_id: Id
    segmentation: rle.Segmentation | rle.Polygons
    iscrowd: bool | int = 0


class ImageFile(msgspec.Struct):
    """What an annotation file of still images holds."""

    images: list[Image]
    annotations: list[ImageObject]


class Track(msgspec.Struct):
    """One entry of a result file."""

    video_id: Id
    category_id: int
    score: float
    segmentations: list[rle.Compressed | None]


AnyFile = TypeVar("AnyFile", VideoFile, ImageFile)
Entry = tuple[str, Track | VideoObject]  # where it stands, for messages, and what it is


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


def read_videos(
    file: pathlib.Path, *, report: declared.Report = declared.refuse
) -> VideoFile:
    """An annotation file in YouTube-VIS form, without what does not hold together.

    Args:
        report: Is told of each entry that does not; see `declared.read`.

    Raises:
        ValueError: It is not one.
    """
    content, incomplete = read_entries(file, VideoFile, report)
    videos = unique(content.videos, f"{file}: videos", report)
    content.categories = unique(content.categories, f"{file}: categories", report)
    content.videos = [
        video
        for video in videos
        if not _told(_video_fault(video), f"{file}: video {video.id}", report)
    ]
    if content.annotations is not None:
        by_id = {video.id: video for video in content.videos}
        classes = {category.id for category in content.categories}
        # What they belonged to was told already.
        orphans = {video.id for video in videos} - {*by_id}
        if "videos" in incomplete:
            orphans |= {one.video_id for one in content.annotations} - {*by_id}
        classless = (
            {one.category_id for one in content.annotations} - classes
            if "categories" in incomplete
            else set()
        )
        content.annotations = [
            one
            for one in unique(content.annotations, f"{file}: annotations", report)
            if one.video_id not in orphans
            and one.category_id not in classless
            and not _told(
                _object_fault(one, by_id, classes),
                f"{file}: annotation {one.id}",
                report,
            )
        ]
    return content


def read_entries(
    file: pathlib.Path, form: type[AnyFile], report: declared.Report
) -> tuple[AnyFile, set[str]]:
    """The content, and the lists of which entries were told and left out.

    What belongs to such an entry has nothing more to tell.
    """
    incomplete = set()

    def tell(where: str, kind: str, what: str):
        incomplete.add(what.removeprefix("$.").partition("[")[0])
        report(where, kind, what)

    return declared.read(file, form, report=tell), incomplete


def unique(entries: list, where: str, report: declared.Report) -> list:
    """The entries without those whose id stands for an earlier one, which are told."""
    seen = {}
    for entry in entries:
        if (before := seen.setdefault(entry.id, entry)) is not entry:
            what = "two entries have this id"
            kinds = [getattr(e, "category_id", None) for e in (before, entry)]
            if kinds[0] != kinds[1]:
                what += f", of category {kinds[0]} and of {kinds[1]}"
            report(f"{where}, id {entry.id}", "identity", f"{what}. Renumber them.")
    return list(seen.values())


def name_fault(names: Sequence[str]) -> str | None:
    """What is wrong with the names of a video's or image's files, if anything."""
    for name in names:
        path = pathlib.PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            return f"names the file {name}, outside of the folder of frames."
    return None


def _told(fault: str | None, where: str, report: declared.Report) -> bool:
    if fault:
        report(where, "annotation", fault)
    return fault is not None


def _video_fault(video: Video) -> str | None:
    if fault := name_fault(video.file_names or ()):
        return fault
    if video.length is not None and video.num_frames != video.length:
        return f"has length {video.length}, but {video.num_frames} file_names."
    names = collections.Counter(video.file_names or ())
    for name, count in names.most_common(1):
        if count > 1:
            return f"has the frame {name} {count} times."
    return declared.size_fault(video.height, video.width)


def _object_fault(
    annotation: VideoObject, videos: Mapping[int, Video], classes: Collection[int]
) -> str | None:
    """What makes an annotation meaningless, if anything."""
    video = videos.get(annotation.video_id)
    if video is None:
        return f"belongs to video {annotation.video_id}, which the file does not list."
    if annotation.category_id not in classes:
        known = sorted(classes)
        return f"has category {annotation.category_id}; the file lists {known}."
    for name in ("segmentations", "areas", "bboxes"):
        given = getattr(annotation, name)
        if given is not None and len(given) != video.num_frames:
            return (
                f"has {len(given)} {name} for {video.num_frames} frames; expected one "
                "(or null) each."
            )
    return None


def read_annotations(file: pathlib.Path) -> Annotations:
    """Reads an annotation file (.json or .json.gz) that results are scored with.

    Raises:
        ValueError: It is not one, or holds no annotations.
    """
    content = read_videos(file)
    if content.annotations is None:
        raise ValueError(f"{file}: no annotations; only annotated videos can be scored")
    objects = collections.defaultdict(list)
    for annotation in content.annotations:
        where = f"{file}: annotation {annotation.id}"
        if annotation.areas is None:
            raise ValueError(f"{where}: has no areas; only with them it can be scored")
        objects[annotation.video_id].append((where, annotation))
    return Annotations(
        {v.id: VideoSize(v.height, v.width, v.num_frames) for v in content.videos},
        {video.id: video.name for video in content.videos},
        {category.id: category.name for category in content.categories},
        dict(objects),
    )


def read_results(file: pathlib.Path) -> list[Track]:
    """The tracks of a result file, of which no more than the types is checked."""
    return declared.read(file, list[Track])


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
    for number, entry in enumerate(read_results(file)):
        where = f"{file}: entry {number}"
        check_head(entry, videos, where, score_range=(0.0, 1.0))
        check_masks([(where, entry)], videos[entry.video_id])
        if entry.category_id not in categories:
            raise ValueError(
                f"{where}: category {entry.category_id} does not exist; "
                f"known are {sorted(categories)}"
            )


def check_head(
    entry: Track,
    videos: Mapping[int, VideoSize],
    where: str,
    *,
    score_range: tuple[float, float] = (-math.inf, math.inf),
) -> None:
    """Refuses an entry whose video or score cannot be.

    Raises:
        ValueError: Begins with `where` and names the video.
    """
    if entry.video_id not in videos:
        raise ValueError(
            f"{where}: video {entry.video_id} is not in the annotation file"
        )
    low, high = score_range
    if not low <= entry.score <= high:
        raise ValueError(
            f"{where}, video {entry.video_id}: the score is {entry.score}; expected "
            f"{low} to {high}"
        )


def check_masks(
    entries: Sequence[Entry], size: VideoSize, *, annotations: Sequence[Entry] = ()
) -> list[Masks]:
    """The masks of the entries of one video, each found to fill its frame.

    Args:
        annotations: Entries of an annotation file, whose masks come first. (All masks
            of a video are decoded together: that is faster than one after the other.)

    Raises:
        ValueError: Names the entry, the video and the frame, from 0.
    """
    entries = [*annotations, *entries]
    tracks = [_masks(entry, size) for entry in entries]
    rows = np.repeat(np.arange(len(tracks)), [len(own) for own in tracks])
    frames = [frame for own in tracks for frame in own]
    masks = [mask for own in tracks for mask in own.values()]
    areas = np.zeros((len(tracks), size.num_frames), np.int64)
    try:
        areas[rows, frames] = rle.areas(masks)
    except rle.BrokenMaskError as error:
        where, entry = entries[rows[error.index]]
        raise ValueError(
            f"{where}, video {entry.video_id}, frame {frames[error.index]}: {error}"
        ) from error
    return [Masks(*track) for track in zip(tracks, areas, strict=True)]


def _masks(entry: Entry, size: VideoSize) -> dict[int, rle.Rle]:
    where, content = entry
    where = f"{where}, video {content.video_id}"
    given = content.segmentations
    if len(given) != size.num_frames:
        raise ValueError(
            f"{where}: {len(given)} segmentations for {size.num_frames} frames; write "
            "null for a frame without the object"
        )
    masks = {}
    for frame, segmentation in enumerate(given):
        if segmentation is None:
            continue
        try:
            masks[frame] = rle.from_json(segmentation, size.height, size.width)
        except ValueError as error:
            raise ValueError(f"{where}, frame {frame}: {error}") from error
    return masks


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
