"""From frames and palette masks to one JSON file in YouTube-VIS form.

    python -m stemseg_jax.data.palette_to_json --folder=DIR --split=train

reads DIR/train/JPEGImages/<video>/*.jpg and DIR/train/Annotations/<video>/*.png, masks
named as their frames, and writes DIR/train.json. docs/data.md tells the rest.
"""

import argparse
import pathlib
import sys
from collections.abc import Mapping

from stemseg_jax.data import encoded_video
from stemseg_jax.data.datasets import folders
from stemseg_jax.formats import coco_json, declared, files, images, rle


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
    names = [path.name for path in files.listed(frames_at) if path.is_dir()]
    if not names:
        raise ValueError(f"{frames_at}: holds no folders, expected one for each video.")
    videos = []
    for name in names:
        frames = folders.image_files(frames_at / name)
        masks = [masks_at / name / f"{frame.stem}.png" for frame in frames]
        if not any(mask.is_file() for mask in masks):
            raise ValueError(
                f"{masks_at / name}: no mask named as a frame, e.g. {masks[0].name}."
            )
        labels = encoded_video.PngLabels(
            [mask if mask.is_file() else None for mask in masks], encoded_video.indexed
        )
        video = encoded_video.EncodedVideo(
            name, *images.size(frames[0]), frames, labels
        )
        description = {
            "height": video.height,
            "width": video.width,
            "length": len(frames),
            "file_names": [f"{name}/{frame.name}" for frame in frames],
        }
        tracks = [
            {"category_id": _class(classes, name, instance), **coco_json.track(masks)}
            for instance, masks in _tracks(video).items()
        ]
        videos.append((description, tracks))
    kinds = sorted({track["category_id"] for _, tracks in videos for track in tracks})
    for _, tracks in videos:
        for track in tracks:
            track["category_id"] = kinds.index(track["category_id"]) + 1
    categories = dict(enumerate(kinds, start=1))
    return coco_json.write_annotations(folder / f"{split}.json", videos, categories)


def _tracks(video: encoded_video.EncodedVideo) -> dict[int, list[rle.Rle | None]]:
    """The masks of each instance, frame by frame."""
    tracks = {}
    for index in range(video.num_frames):
        for instance, mask in video.read_labels(index).masks.items():
            masks = tracks.setdefault(instance, [None] * video.num_frames)
            masks[index] = rle.encode(mask)
    return tracks


def _class(
    classes: str | Mapping[str, Mapping[str, str]], video: str, instance: int
) -> str:
    if isinstance(classes, str):
        return classes
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
        classes = given.name
        if given.classes:
            classes = declared.read(given.classes, dict[str, dict[str, str]])
        path = convert(given.folder, given.split, classes=classes)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    content = coco_json.read_annotations(path)
    instances = sum(map(len, content.objects.values()))
    print(
        f"{path}: {len(content.sizes)} videos, {instances} "
        f"instances of {', '.join(content.categories.values())}. Next: "
        f"--mode=check_data --input={path.parent}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
