"""Reads a whole dataset folder and collects everything that is wrong with it."""

import collections
import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import NamedTuple

import av
import msgspec
import numpy as np

from stemseg_jax.data import encoded_video, readers
from stemseg_jax.data.datasets import (
    DATASETS,
    davis,
    mapillary,
    mots,
    youtube_vis,
)
from stemseg_jax.data.readers import Fault
from stemseg_jax.formats import coco_json, declared, files, images

NO_OVERLAP = {"kitti_mots", "mots_challenge"}  # a pixel has one mask there
BOX_TOLERANCE = 1.0  # pixels; boxes are rounded in many ways


class FoundSet(NamedTuple):
    """A split that lies in a folder."""

    name: str
    split: str
    read: Callable[[readers.Report], readers.Dataset]
    faults: Callable[[], Iterable[Fault]] = lambda: ()  # of what reading does not use
    readable: bool = True  # False: a file that might have been one


@dataclasses.dataclass
class Summary:
    """Figures of one split, and its faults."""

    name: str
    split: str
    videos: int = 0
    frames: int = 0
    annotated_videos: int = 0
    instances: int = 0
    instances_by_class: dict[str, int] = dataclasses.field(default_factory=dict)
    lengths: tuple[int, int, int] = (0, 0, 0)  # shortest, median, longest
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)  # videos by size
    faults: list[Fault] = dataclasses.field(default_factory=list)


def find(folder: str | os.PathLike) -> list[FoundSet]:
    """The splits in a folder of any layout that can be read.

    A folder that has none itself may be the one of all datasets, or a `VOCdevkit`:
    then those of its sub-folders, which are named.

    Raises:
        ValueError: Nothing in the folder is known.
    """
    folder = pathlib.Path(folder).expanduser()
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder.")
    found = _of_one(folder)
    if any(part.readable for part in found):
        return found
    for sub in _sub_folders(folder):
        here = any(part.readable for part in _of_one(sub))
        # Two levels down lie VOCdevkit/VOC2012 and what was unpacked in a folder.
        for below in [sub] if here else [sub, *_sub_folders(sub)]:
            where = below.relative_to(folder)
            found += [
                part._replace(name=f"{part.name} in {where}") for part in _of_one(below)
            ]
    if not found:
        raise ValueError(
            f"{folder}: holds none of the known layouts, nor does a folder in it: no "
            f"annotation JSON with videos or images, no ImageSets/, no instances/ or "
            f"instances_txt/. docs/data.md shows the layouts and how to bring your own "
            f"videos."
        )
    return found


def _of_one(folder: pathlib.Path) -> list[FoundSet]:
    layouts = (_davis, _mots, _voc, _mapillary, _json)
    return [part for layout in layouts for part in layout(folder)]


def _sub_folders(folder: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in files.listed(folder) if path.is_dir()]


def check(
    found: FoundSet, *, progress: Callable[[Sequence], Iterable] = iter
) -> Summary:
    """Decodes every frame and mask of a split.

    Args:
        progress: Wraps the videos as they are gone through, e.g. `tqdm`.
    """
    summary = Summary(found.name, found.split)
    try:
        dataset = found.read(summary.faults.append)
        summary.faults += found.faults()
    except ValueError as error:
        # A file that is no dataset at all: nothing in it can be looked at.
        summary.faults.append(Fault(found.split, "annotation", _text(error)))
        return summary
    summary.faults += [*_duplicates(dataset), *_without_masks(dataset)]
    sizes, instances = collections.Counter(), collections.Counter()
    with futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        checks = pool.map(functools.partial(_check_video, dataset), dataset.videos)
        for video, (faults, categories) in zip(
            progress(dataset.videos), checks, strict=True
        ):
            summary.faults += faults
            summary.frames += video.num_frames
            summary.annotated_videos += bool(categories)
            sizes[f"{video.height} x {video.width}"] += 1
            instances.update(
                dataset.categories.get(c, str(c)) for c in categories.values()
            )
    lengths = [video.num_frames for video in dataset.videos] or [0]
    summary.videos = len(dataset.videos)
    summary.lengths = min(lengths), int(np.median(lengths)), max(lengths)
    summary.sizes = dict(sizes.most_common())
    summary.instances = instances.total()
    summary.instances_by_class = dict(instances.most_common())
    return summary


def _check_video(
    dataset: readers.Dataset, video: encoded_video.EncodedVideo
) -> tuple[list[Fault], dict[int, int]]:
    """Faults of a video, and the category of each instance seen in it."""
    faults, categories = [*_pairs(video)], {}
    for index in range(video.num_frames):
        try:
            video.frame(index)
            if what := _damage(video.encoded(index)):
                what = f"{video.files[index]}: {what}. Copy the file again."
                faults.append(Fault(video.name, "frame", what))
        except readers.BrokenSample as error:
            faults.append(Fault(video.name, "frame", _text(error)))
        if not video.annotated:
            continue
        try:
            labels = video.read_labels(index)
        except readers.BrokenSample as error:
            faults.append(Fault(video.name, "mask", _text(error)))
            continue
        if dataset.name in NO_OVERLAP and (pair := _overlap(labels.masks)):
            what = f"frame {index}: the masks of {pair[0]} and {pair[1]} overlap."
            faults.append(Fault(video.name, "mask", what))
        for instance in labels.masks:
            category = labels.categories[instance]
            if categories.setdefault(instance, category) != category:
                what = (
                    f"instance {instance} is of category {category} in frame {index} "
                    f"and of {categories[instance]} before."
                )
                faults.append(Fault(video.name, "identity", what))
    for category in sorted(set(categories.values()) - set(dataset.categories)):
        what = f"category {category} is unknown; known: {sorted(dataset.categories)}."
        faults.append(Fault(video.name, "category", what))
    if video.annotated and not categories:
        faults.append(Fault(video.name, "annotation", "no frame has an instance."))
    return faults, categories


def _pairs(video: encoded_video.EncodedVideo) -> Iterator[Fault]:
    """Frames without a mask between others that have one, and masks without a frame.

    One mask alone is that of a semi-supervised test set, and one at every n-th frame is
    the habit of some sets.
    """
    if not isinstance(video.labels, encoded_video.PngLabels):
        return
    masks = video.labels.files
    there = [index for index, mask in enumerate(masks) if mask is not None]
    if not there:
        return
    stride = min(np.diff(there), default=len(masks))
    for index in range(there[0] % stride, len(masks), stride):
        if masks[index] is None:
            what = f"frame {video.files[index].name} has no mask, others have."
            yield Fault(video.name, "mask", what)
    names = {mask.name for mask in masks if mask is not None}
    for path in files.listed(masks[there[0]].parent, "*.png"):
        if path.name not in names:
            yield Fault(video.name, "frame", f"{path}: a mask without its frame.")


def _damage(data: bytes) -> str | None:
    """What is wrong in the middle of a JPEG.

    OpenCV and Pillow fill it with grey. FFmpeg finds most of it: what decodes to other
    pixels without a contradiction, nothing can find, for JPEG has no checksums.
    """
    if not data.startswith(images.JPEG_START):
        return None
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode"}
    decoder.thread_count = 1
    try:
        decoder.decode(av.Packet(data))
    except av.error.InvalidDataError:
        return "the JPEG is damaged; a part of the image is not what it was"
    except av.error.FFmpegError:  # a rare kind of JPEG, which only others decode
        return None
    return None


def _overlap(masks: Mapping[int, np.ndarray]) -> tuple[int, int] | None:
    """The first two masks that share a pixel."""
    for first, second in itertools.combinations(masks, 2):
        if (masks[first] & masks[second]).any():
            return first, second
    return None


def _duplicates(dataset: readers.Dataset) -> Iterator[Fault]:
    counts = collections.Counter(video.name for video in dataset.videos)
    for name, count in counts.items():
        if count > 1:
            yield Fault(name, "name", f"{count} videos have this name.")


def _without_masks(dataset: readers.Dataset) -> Iterator[Fault]:
    """In a split that is annotated; one for prediction alone has no masks at all."""
    if any(video.annotated for video in dataset.videos):
        for video in dataset.videos:
            if not video.annotated:
                yield Fault(video.name, "mask", "no masks, other videos have some.")


def _text(error: Exception) -> str:
    advice = ", or set config.data.skip_broken=True."
    return str(error).replace(advice, ".")


# What lies in a folder: one function a layout.


def _davis(folder: pathlib.Path) -> Iterator[FoundSet]:
    for year, lists in ((2019, "2017"), (2017, "2017"), (2016, "2016"), (2016, "480p")):
        if not (folder / davis.ANNOTATIONS[year]).is_dir():
            continue
        if year == 2017 and (folder / davis.ANNOTATIONS[2019]).is_dir():
            continue  # the same videos
        for path in files.listed(folder / "ImageSets" / lists, "*.txt"):
            read = functools.partial(_load, f"davis{year % 100}", folder, path.stem)
            yield FoundSet(f"davis{year % 100}", path.stem, read)


def _mots(folder: pathlib.Path) -> Iterator[FoundSet]:
    if not ((folder / "instances").is_dir() or (folder / "instances_txt").is_dir()):
        return
    kitti = (folder / "training/image_02").is_dir()
    name = "kitti_mots" if kitti else "mots_challenge"
    frames = folder / ("training/image_02" if kitti else "images")
    if not frames.is_dir():
        return
    there = {path.name for path in frames.iterdir() if path.is_dir()}
    splits = mots.KITTI_SPLITS if kitti else mots.CHALLENGE_SPLITS
    for split in splits:
        numbers = [f"{number:04d}" for number in splits[split]]
        if split != "test" and (sequences := sorted(there & set(numbers))):
            read = functools.partial(_load, name, folder, split, sequences=sequences)
            yield FoundSet(name, split, read)


def _voc(folder: pathlib.Path) -> Iterator[FoundSet]:
    if (folder / "SegmentationObject").is_dir():
        for path in files.listed(folder / "ImageSets/Segmentation", "*.txt"):
            read = functools.partial(_load, "pascal_voc", folder, path.stem)
            yield FoundSet("pascal_voc", path.stem, read)


def _mapillary(folder: pathlib.Path) -> Iterator[FoundSet]:
    for split, part in mapillary.SPLITS.items():
        versions = [v for v in ("v1.2", "v2.0") if (folder / part / v).is_dir()]
        if not versions and (folder / part / "instances").is_dir():
            versions = ["v1.2"]
        for version in versions:
            read = functools.partial(_load, "mapillary", folder, split, version=version)
            yield FoundSet("mapillary", f"{split} {version}", read)


def _json(folder: pathlib.Path) -> Iterator[FoundSet]:
    """Annotation files in the forms of YouTube-VIS and COCO."""
    forms = ("*.json", "annotations/*.json", "*/instances.json")
    paths = {path for form in forms for path in files.listed(folder, form)}
    configs = {"config.json", "config_v1.2.json", "config_v2.0.json"}
    for path in sorted(path for path in paths if path.name not in configs):
        split = str(path.relative_to(folder))
        try:
            parts = declared.read(path, dict[str, msgspec.Raw]).keys()
        except ValueError as error:
            fault = Fault(split, "annotation", str(error))
            read = functools.partial(_report_only, fault)
            yield FoundSet("own", split, read, readable=False)
            continue
        if "videos" in parts:
            yield FoundSet(
                "own",
                split,
                functools.partial(youtube_vis.read_below, path, folder),
                functools.partial(_boxes, path),
            )
        elif "images" in parts and path.stem.startswith("instances_"):
            part = path.stem.removeprefix("instances_")
            year = int(part[-4:]) if part[-4:].isdigit() else 2017
            read = functools.partial(
                _load, "coco", folder, part.removesuffix(str(year)), year=year
            )
            yield FoundSet("coco", split, read)


def _load(
    name: str, folder: pathlib.Path, split: str, report: readers.Report, **options
) -> readers.Dataset:
    return DATASETS[name](folder, split, report=report, **options)


def _report_only(fault: Fault, report: readers.Report) -> readers.Dataset:
    report(fault)
    return readers.Dataset("own", {}, [])


def _boxes(path: pathlib.Path) -> Iterator[Fault]:
    """Boxes (x, y, width, height) that leave their frame."""
    content = coco_json.read_videos(path, report=lambda *fault: None)  # told before
    sizes = {video.id: (video.width, video.height) for video in content.videos}
    for annotation in content.annotations or ():
        width, height = size = sizes[annotation.video_id]
        for frame, box in enumerate(annotation.bboxes or ()):
            if not box:
                continue
            where = f"annotation {annotation.id}, frame {frame}"
            if len(box) != 4:
                what = f"a box of {len(box)} numbers; expected x, y, width, height."
                yield Fault(where, "box", what)
                continue
            if min(box[2:]) < 0:
                yield Fault(where, "box", f"a box of {box[2]:g} x {box[3]:g} pixels.")
                continue
            low, high = np.array(box[:2]), np.add(box[:2], box[2:]) - size
            if low.min() < -BOX_TOLERANCE or high.max() > BOX_TOLERANCE:
                numbers = ", ".join(f"{number:g}" for number in box)
                what = f"box [{numbers}] leaves the frame of {height} x {width}."
                yield Fault(where, "box", what)
