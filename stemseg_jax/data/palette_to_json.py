"""From frames and palette masks to one JSON file in YouTube-VIS form.

    python -m stemseg_jax.data.palette_to_json --folder=DIR --split=train

reads DIR/train/JPEGImages/<video>/*.jpg and DIR/train/Annotations/<video>/*.png, masks
named as their frames, and writes DIR/train.json. docs/data.md tells the rest.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping

import numpy as np
from pycocotools import mask as coco

from stemseg_jax.data import encoded_video, images, rle
from stemseg_jax.data.datasets import folders


def convert(
    folder: pathlib.Path, split: str, *, classes: str | Mapping[str, Mapping[str, str]]
) -> pathlib.Path:
    """Writes the JSON file and gives its path.

    Args:
        classes: The class of all instances, or one for each video and number.

    Raises:
        ValueError: A frame or mask cannot be used, or a number has no class.
    """
    frames_at = folders.first_existing(folder / split, ["JPEGImages"])
    masks_at = folders.first_existing(folder / split, ["Annotations"])
    names = sorted(path.name for path in frames_at.iterdir() if path.is_dir())
    if not names:
        raise ValueError(f"{frames_at}: holds no folders, expected one for each video.")
    videos, tracks = [], []
    for number, name in enumerate(names, start=1):
        files = folders.image_files(frames_at / name)
        masks = [masks_at / name / f"{file.stem}.png" for file in files]
        if not any(mask.is_file() for mask in masks):
            raise ValueError(
                f"{masks_at / name}: no mask named as a frame, e.g. {masks[0].name}."
            )
        labels = encoded_video.PngLabels(
            [mask if mask.is_file() else None for mask in masks], encoded_video.indexed
        )
        video = encoded_video.EncodedVideo(name, *images.size(files[0]), files, labels)
        size = {"height": video.height, "width": video.width, "length": len(files)}
        listed = [f"{name}/{file.name}" for file in files]
        videos.append({"id": number, **size, "file_names": listed})
        for instance, track in _tracks(video).items():
            kind = (
                classes if isinstance(classes, str) else _class(classes, name, instance)
            )
            identity = {"id": len(tracks) + 1, "video_id": number, "iscrowd": 0}
            tracks.append({**identity, "class": kind, **size, **track})
    kinds = sorted({track["class"] for track in tracks})
    for track in tracks:
        track["category_id"] = kinds.index(track.pop("class")) + 1
    content = {
        "videos": videos,
        "categories": [{"id": n, "name": name} for n, name in enumerate(kinds, 1)],
        "annotations": tracks,
    }
    path = folder / f"{split}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content))
    return part.replace(path)


def _tracks(video: encoded_video.EncodedVideo) -> dict[int, dict[str, list]]:
    """Segmentations, boxes (x, y, width, height) and areas of each instance."""
    tracks = {}
    size = [video.height, video.width]
    for index in range(video.num_frames):
        for instance, mask in video.read_labels(index).masks.items():
            track = tracks.setdefault(
                instance,
                {
                    key: [None] * video.num_frames
                    for key in ("segmentations", "bboxes", "areas")
                },
            )
            counts = rle.encode(mask)
            box = coco.toBbox({"size": size, "counts": counts}).tolist()
            track["segmentations"][index] = {"size": size, "counts": counts.decode()}
            track["bboxes"][index] = box
            track["areas"][index] = int(np.count_nonzero(mask))
    return tracks


def _class(classes: Mapping[str, Mapping[str, str]], video: str, instance: int) -> str:
    try:
        return classes[video][str(instance)]
    except KeyError as error:
        raise ValueError(
            f"--classes: instance {instance} of video {video!r} has no class; expected "
            f'{{"{video}": {{"{instance}": "<class>"}}}}.'
        ) from error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--split", default="train", help="names the JSON file, too")
    parser.add_argument("--class", dest="name", default="object", help="of all, or")
    parser.add_argument(
        "--classes",
        type=pathlib.Path,
        help='JSON: {"<video>": {"<number>": "<class>", ...}, ...}',
    )
    given = parser.parse_args()
    try:
        classes = folders.read_json(given.classes) if given.classes else given.name
        path = convert(given.folder, given.split, classes=classes)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    content = json.loads(path.read_text())
    print(
        f"{path}: {len(content['videos'])} videos, {len(content['annotations'])} "
        f"instances of {', '.join(c['name'] for c in content['categories'])}. Next: "
        f"--mode=check_data --input={path.parent}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
