"""YouTube-VIS and OVIS results: one list of tracks over all videos, as JSON and zip."""

import functools
import json
import pathlib
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from stemseg_jax.formats import coco_json, rle, whole
from stemseg_jax.tracks import Track, VideoTracks


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
        ValueError: A video without an id or given twice, or what `coco_json.check`
            refuses.
    """
    final = pathlib.Path(folder, "results.json")
    written = set()
    with whole.file(final.with_suffix(".zip")) as archive, whole.file(final) as partial:
        with partial.open("w") as stream:
            separator = "["
            for video in videos:
                if video.name not in video_ids:
                    raise ValueError(
                        f"video {video.name} has no id in the annotation file"
                    )
                if video.name in written:
                    raise ValueError(f"video {video.name} is given twice")
                written.add(video.name)
                for entry in _entries(video, video_ids[video.name]):
                    stream.write(separator + json.dumps(entry))
                    separator = ",\n"
            stream.write("[]" if separator == "[" else "]")
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
            target.write(partial, "results.json")
    return final


def read(
    file: pathlib.Path, videos: Mapping[int, coco_json.Video] | None = None
) -> dict[str, Callable[[], VideoTracks]]:
    """What gives the tracks of each video, by its name, with ids from 1.

    Args:
        videos: By id, those of the annotation file. Without it videos with tracks alone
            are known, and called by their ids.

    Raises:
        ValueError: There is no such file, or it belongs to other videos.
    """
    entries: dict[int, list[coco_json.Entry]] = defaultdict(list)
    for number, entry in enumerate(coco_json.read_results(file)):
        where = f"{file}: entry {number}"
        if videos is not None and entry.video_id not in videos:
            raise ValueError(
                f"{where}: video {entry.video_id} is not in the annotation file"
            )
        entries[entry.video_id].append((where, entry))
    if videos is None:
        return {
            str(id): functools.partial(_tracks, str(id), own, _size_of(own))
            for id, own in entries.items()
        }
    return {
        video.name: functools.partial(
            *(_tracks, video.name, entries[id]),
            coco_json.VideoSize(video.height, video.width, video.num_frames),
        )
        for id, video in videos.items()
    }


def _tracks(
    name: str, entries: list[coco_json.Entry], size: coco_json.VideoSize
) -> VideoTracks:
    masks = coco_json.check_masks(entries, size)
    tracks = (
        Track(
            *(id, entry.category_id, entry.score),
            tuple(map(own.by_frame.get, range(size.num_frames))),
        )
        for id, ((_, entry), own) in enumerate(zip(entries, masks, strict=True), 1)
    )
    return VideoTracks(name, *size, tuple(tracks))


def _size_of(entries: list[coco_json.Entry]) -> coco_json.VideoSize:
    """As the first mask says; an entry without any is of no size."""
    each = [entry.segmentations for _, entry in entries]
    sizes = (mask.size for masks in each for mask in masks if mask is not None)
    return coco_json.VideoSize(*next(sizes, (1, 1)), len(each[0]))


def _entries(video: VideoTracks, video_id: int) -> Iterable[dict[str, Any]]:
    size = {video_id: coco_json.VideoSize(video.height, video.width, video.num_frames)}
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
        checked = msgspec.convert(entry, coco_json.Track)
        coco_json.check_head(checked, size, where, score_range=(0.0, 1.0))
        coco_json.check_masks([(where, checked)], size[video_id])
        yield entry
