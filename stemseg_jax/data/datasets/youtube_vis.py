"""YouTube-VIS 2019 and 2021, OVIS, and own videos in the same form.

Licences: YouTube-VIS CC BY 4.0 (annotations); OVIS CC BY-NC-SA 4.0. 2019: 2238 train,
302 valid, 343 test videos, 40 classes; 2021: 2985 / 421 / 453 videos, 40 other classes;
OVIS: 607 / 140 / 154 videos, 25 classes. Only train is published with annotations.

    YouTubeVIS/train.json  or  annotations/instances_train.json ...
    YouTubeVIS/train/JPEGImages/<file_names of the JSON>   or  train/<file_names> ...
"""

import pathlib
from collections.abc import Sequence

from stemseg_jax.data import encoded_video, kept_annotations, readers
from stemseg_jax.data.datasets import folders
from stemseg_jax.data.datasets.categories import OBJECT
from stemseg_jax.formats import coco_json, rle

NAMES = {
    "ytvis": ("YouTubeVIS", "YouTube-VIS", "youtube_vis", "ytvis_2019", "ytvis"),
    "ytvis21": ("YouTubeVIS2021", "YouTube-VIS-2021", "youtube_vis_2021", "ytvis_2021"),
    "ovis": ("OVIS", "ovis"),
    "own": (),
}
# The releases, their mirrors and the common tools spell these differently.
SPLITS = {
    "train": ("train",),
    "valid": ("valid", "val"),
    "val": ("valid", "val"),
    "test": ("test",),
}
JSON = (
    "{split}.json",
    "annotations_{split}.json",
    "instances_{split}.json",
    "instances_{split}_sub.json",
    "annotations/{split}.json",
    "annotations/instances_{split}.json",
    "annotations/instances_{split}_sub.json",
    "annotations/annotations_{split}.json",
    "{split}/instances.json",
)
FRAMES = (
    "{split}/JPEGImages",
    "{split}",
    "{split}_all_frames/JPEGImages",
    "JPEGImages",
)


def load(
    root: folders.Root,
    split: str,
    *,
    name: str = "ytvis",
    categories: str | None = None,
    report: readers.Report = readers.refuse,
) -> readers.Dataset:
    """Reads a split by its JSON file.

    Args:
        name: One of NAMES. "own" takes any folder of this form as root.
        categories: "object" makes all instances one class, as for training on DAVIS.
    """
    path, folder = annotation_file(root, split, name=name)
    return read(
        path,
        root=folder,
        frames=[form.format(split=s) for s in _spellings(split) for form in FRAMES],
        name=name,
        categories=categories,
        report=report,
    )


def annotation_file(
    root: folders.Root, split: str, *, name: str = "ytvis"
) -> tuple[pathlib.Path, pathlib.Path]:
    """The JSON file of a split, and the dataset's folder."""
    jsons = [form.format(split=s) for s in _spellings(split) for form in JSON]
    folder = folders.dataset_folder(root, names=NAMES[name], holds=jsons)
    return folders.first_existing(folder, jsons), folder


def _spellings(split: str) -> tuple[str, ...]:
    return SPLITS.get(split, (split,))


def read_below(
    path: pathlib.Path, root: pathlib.Path, report: readers.Report
) -> readers.Dataset:
    """Reads a JSON file whose name may be any, with its frames below the root."""
    known = [s for s in SPLITS if s in path.stem] or [path.stem]
    spellings = [*SPLITS.get(known[0], known), path.stem, path.parent.name]
    frames = [form.format(split=s) for s in spellings for form in FRAMES]
    return read(path, root=root, frames=[*frames, "."], name="own", report=report)


def read(
    path: pathlib.Path,
    *,
    root: pathlib.Path,
    frames: Sequence[str],
    name: str,
    categories: str | None = None,
    report: readers.Report = readers.refuse,
) -> readers.Dataset:
    """Reads one JSON file in YouTube-VIS form.

    Args:
        frames: Folders of the root where the `file_names` may lie; the first that holds
            the first frame is taken for all.
    """
    there = [folder for folder in frames if (root / folder).is_dir()]
    return kept_annotations.dataset(
        path,
        lambda report: _read(path, root, frames, name, categories, report),
        report=report,
        options=("youtube_vis", str(root.absolute()), there, name, categories),
        holds=lambda kept: kept.videos[0].files[0].is_file(),
    )


def _read(
    path: pathlib.Path,
    root: pathlib.Path,
    frames: Sequence[str],
    name: str,
    categories: str | None,
    report: readers.Report,
) -> readers.Dataset:
    faults = []

    def tell(fault: readers.Fault):
        faults.append(fault)
        report(fault)

    content = coco_json.read_videos(path, report=readers.told(tell))
    videos = [video for video in content.videos if _has_frames(video, path, tell)]
    if not videos and faults:
        return readers.Dataset(name, {}, [])
    if not videos:
        raise ValueError(
            f"{path}: no videos in this file. Expected the YouTube-VIS form: videos, "
            "annotations, categories."
        )
    frames_at = _frames_folder(root, frames, videos[0].file_names[0])
    classes = {category.id: category.name for category in content.categories}
    if categories not in (None, "object"):
        raise ValueError(
            f"categories={categories!r}: videos in YouTube-VIS form keep their own "
            f"classes (None) or become class-agnostic ('object')."
        )
    tracks = {video.id: [] for video in videos}
    for annotation in content.annotations or ():
        if annotation.video_id in tracks:  # else its video was left out
            tracks[annotation.video_id].append(annotation)
    agnostic = categories == "object"
    return readers.Dataset(
        name=name,
        categories=OBJECT if agnostic else classes,
        videos=[
            _video(
                video,
                frames_at,
                # valid and test hold null, or an empty list
                tracks[video.id] if content.annotations else None,
                dict.fromkeys(classes, 1) if agnostic else {c: c for c in classes},
            )
            for video in videos
        ],
    )


def _has_frames(
    video: coco_json.Video, path: pathlib.Path, report: readers.Report
) -> bool:
    if not video.file_names:
        where = f"{path}: video {video.id}"
        report(readers.Fault(where, "annotation", "lists no file_names."))
    return bool(video.file_names)


def _frames_folder(
    root: pathlib.Path, folders: Sequence[str], first: str
) -> pathlib.Path:
    for folder in folders:
        if (root / folder / first).is_file():
            return root / folder
    raise ValueError(
        f"{root}: frame {first} is in none of {', '.join(dict.fromkeys(folders))}. "
        f"Unpack the frames into one of these."
    )


def _video(
    video: coco_json.Video,
    frames_at: pathlib.Path,
    tracks: list[coco_json.VideoObject] | None,
    category_of: dict[int, int],
) -> encoded_video.EncodedVideo:
    files = [frames_at / file for file in video.file_names]
    size = video.height, video.width
    labels = None
    if tracks is not None:
        labels = encoded_video.RleLabels(
            {track.id: category_of[track.category_id] for track in tracks},
            _frames(tracks, len(files), size),
            size=size,
            name=video.name,
        )
    return encoded_video.EncodedVideo(video.name, *size, files, labels)


def _frames(
    tracks: list[coco_json.VideoObject], num_frames: int, size: tuple[int, int]
) -> list[dict[int, bytes | rle.Segmentation | rle.Polygons]]:
    """Compressed counts by frame and instance; absences are left out."""
    frames = [{} for _ in range(num_frames)]
    for track in tracks:
        for frame, segmentation in zip(frames, track.segmentations, strict=True):
            if segmentation:
                frame[track.id] = _compressed(segmentation, size)
    return frames


def _compressed(
    segmentation: rle.Segmentation | rle.Polygons, size: tuple[int, int]
) -> bytes | rle.Segmentation | rle.Polygons:
    """What is broken stays as it is, to be refused when it is read."""
    try:
        return rle.from_json(segmentation, *size)["counts"]
    except ValueError:
        return segmentation
