"""Writes a dataset to disk in the official layout of a benchmark.

For generated videos: readers and metrics can be tried on them without a download. The
folder of a video gets its name only when it is whole, and the list by which readers
find the videos comes last, so that an interrupted export never looks complete.
"""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import PIL.Image
from jaxtyping import UInt8, UInt16
from pycocotools import mask as coco

from stemseg_jax.data import readers, rle

DAVIS_VOID = 255
KITTI_IGNORE_CLASS = 10
KITTI_IGNORE = 10_000


def write_davis(
    dataset: readers.Dataset, root: str | os.PathLike, split: str = "train"
) -> pathlib.Path:
    """Writes the layout of DAVIS 2017 unsupervised; gives the path of the list.

        JPEGImages/480p/<video>/00000.jpg                   whatever the frames' size
        Annotations_unsupervised/480p/<video>/00000.png     palette PNG, 255 is void
        ImageSets/2017/<split>.txt                          one video a line

    Instances are numbered from 1 as they appear; categories have no place here.

    Raises:
        ValueError: The list is there already, two videos share a name, or a video has
            no annotations or more than 254 instances.
    """
    root = pathlib.Path(root)
    listing = root / "ImageSets/2017" / f"{split}.txt"
    _check(dataset, listing)
    for video in dataset.videos:
        with (
            _whole_folder(root / "JPEGImages/480p" / video.name) as frames,
            _whole_folder(root / "Annotations_unsupervised/480p" / video.name) as masks,
        ):
            for index, clip, numbers in _numbered_frames(video, most=DAVIS_VOID - 1):
                _save_jpeg(frames / f"{index:05d}.jpg", clip)
                labels = _label_map(clip, numbers, ignore=DAVIS_VOID)
                image = PIL.Image.fromarray(labels.astype(np.uint8))
                image.putpalette(palette().tobytes())
                image.save(masks / f"{index:05d}.png")
    return _write_whole(listing, "".join(f"{v.name}\n" for v in dataset.videos))


def write_youtube_vis(
    dataset: readers.Dataset, root: str | os.PathLike, split: str = "train"
) -> pathlib.Path:
    """Writes the layout of YouTube-VIS; gives the path of the JSON file.

        <split>/JPEGImages/<video>/00000.jpg
        <split>.json          compressed RLE; null in frames without the instance

    Ignore regions have no place here.

    Raises:
        ValueError: The JSON file is there already, two videos share a name, or a video
            has no annotations.
    """
    root = pathlib.Path(root)
    listing = root / f"{split}.json"
    _check(dataset, listing)
    videos, annotations = [], []
    for number, video in enumerate(dataset.videos, start=1):
        with _whole_folder(root / split / "JPEGImages" / video.name) as folder:
            tracks = _save_frames_and_collect_tracks(video, folder)
        size = {"height": video.height, "width": video.width}
        files = [f"{video.name}/{index:05d}.jpg" for index in range(video.num_frames)]
        videos.append(
            {"id": number, **size, "length": video.num_frames, "file_names": files}
        )
        for track in tracks:
            identity = {"id": len(annotations) + 1, "video_id": number, "iscrowd": 0}
            annotations.append(identity | size | {"length": video.num_frames} | track)
    content = {
        "info": {"description": f"{dataset.name} {split}, in YouTube-VIS form"},
        "licenses": [],
        "videos": videos,
        "categories": [
            {"supercategory": "object", "id": category, "name": name}
            for category, name in dataset.categories.items()
        ],
        "annotations": annotations,
    }
    return _write_whole(listing, json.dumps(content))


def write_kitti_mots(
    dataset: readers.Dataset,
    root: str | os.PathLike,
    *,
    classes: Mapping[int, int] | None = None,
) -> pathlib.Path:
    """Writes the layout of KITTI MOTS; gives the path of the seqmap.

        training/image_02/0000/000000.png
        instances/0000/000000.png       16 bits: class * 1000 + instance, 10000 ignore
        instances_txt/0000.txt          frame, object, class, height, width, RLE
        evaluate_mots.seqmap            sequence, first frame, number of frames

    Videos are numbered from 0000 in their order. Instances are numbered from 1 as they
    appear; where masks overlap, the later one in the clip has the pixel.

    Args:
        classes: 1 (car) or 2 (pedestrian) for each category of the dataset. Without it
            odd categories are cars and even ones pedestrians.

    Raises:
        ValueError: The seqmap is there already, two videos share a name, or a video has
            no annotations or more than 999 instances.
    """
    root = pathlib.Path(root)
    listing = root / "evaluate_mots.seqmap"
    _check(dataset, listing)
    classes = classes or {c: 1 + (c - 1) % 2 for c in dataset.categories}
    seqmap = []
    for number, video in enumerate(dataset.videos):
        sequence = f"{number:04d}"
        lines = []
        with (
            _whole_folder(root / "training/image_02" / sequence) as frames,
            _whole_folder(root / "instances" / sequence) as masks,
        ):
            for index, clip, numbers in _numbered_frames(video, most=999):
                name = f"{index:06d}.png"
                PIL.Image.fromarray(clip.frames[0]).save(frames / name)
                objects = [
                    1000 * classes[category] + n
                    for category, n in zip(
                        clip.categories.tolist(), numbers, strict=True
                    )
                ]
                labels = _label_map(clip, objects, ignore=KITTI_IGNORE)
                PIL.Image.fromarray(labels).save(masks / name)
                lines += [f"{index} {line}\n" for line in _kitti_lines(labels)]
        _write_whole(root / "instances_txt" / f"{sequence}.txt", "".join(lines))
        seqmap.append(f"{sequence} empty 000000 {video.num_frames:06d}\n")
    return _write_whole(listing, "".join(seqmap))


def palette() -> UInt8[np.ndarray, "256 3"]:
    """The colours of DAVIS and Pascal VOC, by number."""
    numbers = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            on = numbers >> (3 * bit + channel) & 1
            colours[:, channel] |= (on << (7 - bit)).astype(np.uint8)
    return colours


def _check(dataset: readers.Dataset, listing: pathlib.Path):
    if listing.exists():
        raise ValueError(
            f"{listing} exists: the folder holds this split already. Remove it or "
            f"choose another folder."
        )
    names = [video.name for video in dataset.videos]
    for video in dataset.videos:
        if not video.annotated:
            raise ValueError(f"video {video.name!r} has no annotations to write.")
    if len(set(names)) < len(names):
        raise ValueError(f"dataset {dataset.name!r}: two videos share a name.")


def _numbered_frames(
    video: readers.Video, *, most: int
) -> Iterator[tuple[int, readers.RawClip, list[int]]]:
    """Each frame as a clip, with numbers from 1 for its instances."""
    numbers = {}
    for index in range(video.num_frames):
        clip = video.clip([index])
        of_clip = [numbers.setdefault(i, len(numbers) + 1) for i in clip.ids.tolist()]
        if len(numbers) > most:
            raise ValueError(
                f"video {video.name!r}: more than {most} instances, which this layout "
                f"cannot number."
            )
        yield index, clip, of_clip


def _label_map(
    clip: readers.RawClip, numbers: Sequence[int], *, ignore: int
) -> UInt16[np.ndarray, "H W"]:
    labels = np.where(clip.ignore[0], np.uint16(ignore), np.uint16(0))
    for number, mask in zip(numbers, clip.masks[:, 0], strict=True):
        labels[mask] = number
    return labels


def _kitti_lines(labels: UInt16[np.ndarray, "H W"]) -> list[str]:
    height, width = labels.shape
    lines = []
    for number in np.unique(labels[labels > 0]).tolist():
        kind = KITTI_IGNORE_CLASS if number == KITTI_IGNORE else number // 1000
        counts = rle.encode(labels == number).decode()
        lines.append(f"{number} {kind} {height} {width} {counts}")
    return lines


def _save_frames_and_collect_tracks(
    video: readers.Video, folder: pathlib.Path
) -> list[dict]:
    """Writes the frames; what a YouTube-VIS annotation says of each instance."""
    tracks = {}
    for index in range(video.num_frames):
        clip = video.clip([index])
        _save_jpeg(folder / f"{index:05d}.jpg", clip)
        for instance, category, mask in zip(
            clip.ids.tolist(), clip.categories.tolist(), clip.masks[:, 0], strict=True
        ):
            track = tracks.setdefault(instance, _empty_track(category, video))
            size = [video.height, video.width]
            counts = rle.encode(mask)
            encoded = {"size": size, "counts": counts}
            track["segmentations"][index] = {"size": size, "counts": counts.decode()}
            track["bboxes"][index] = coco.toBbox(
                encoded
            ).tolist()  # x, y, width, height
            track["areas"][index] = int(coco.area(encoded))
    return list(tracks.values())


def _empty_track(category: int, video: readers.Video) -> dict:
    per_frame = ("segmentations", "bboxes", "areas")
    return {
        "category_id": category,
        **{name: [None] * video.num_frames for name in per_frame},
    }


def _save_jpeg(path: pathlib.Path, clip: readers.RawClip):
    # Colours at full resolution: they would bleed over the edges of small objects.
    PIL.Image.fromarray(clip.frames[0]).save(path, quality=95, subsampling=0)


@contextlib.contextmanager
def _whole_folder(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder to fill, which takes the place of `path` when that went well."""
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        shutil.rmtree(path, ignore_errors=True)
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_whole(path: pathlib.Path, text: str) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.replace(path)
    return path
