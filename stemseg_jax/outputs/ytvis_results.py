"""YouTube-VIS and OVIS results: one list of tracks over all videos, as JSON and zip."""

import json
import pathlib
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from stemseg_jax.formats import coco_json, rle, whole
from stemseg_jax.tracks import VideoTracks


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
