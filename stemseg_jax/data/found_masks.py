"""Instance masks that any method found frame by frame, without identities.

Either palette images, a folder a video and a PNG a frame as DAVIS has them, in which
each label but 0 and 255 (void) is a mask; or one JSON file in COCO's form, whose images
are called `<video>/<frame>`, with masks that may overlap, scores and categories.
"""

import pathlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from stemseg_jax.formats import coco_json, davis_png, declared, images, rle
from stemseg_jax.formats.declared import Id


class FoundMask(NamedTuple):
    mask: rle.Rle
    score: float = 1.0
    category: int = 1


class FoundVideo(NamedTuple):
    """The masks of one video; nothing is decoded before `masks` is called."""

    name: str
    height: int
    width: int
    frames: Sequence[str]  # names without suffix
    masks: Callable[[int], list[FoundMask]]  # of a frame


class _Result(msgspec.Struct):
    """A mask in COCO's form: of its result files, or of its annotations."""

    image_id: Id
    category_id: Id
    segmentation: rle.Segmentation | rle.Polygons
    score: float = 1.0


class _Images(msgspec.Struct):
    images: list[coco_json.Image]


class _Whole(msgspec.Struct):
    images: list[coco_json.Image]
    annotations: list[_Result]


def read(
    path: pathlib.Path, *, listing: pathlib.Path | None = None
) -> list[FoundVideo]:
    """The videos of a folder of palette images, or of a JSON file.

    Args:
        listing: The COCO file that numbers the images, if `path` is a list of results.

    Raises:
        ValueError: There are none; or what is wrong with which file or entry.
    """
    if not path.exists():
        raise ValueError(
            f"{path}: no such folder or file. Expected a folder of palette PNGs, one a "
            "frame, a folder a video; or a COCO file of images and annotations."
        )
    return _of_folder(path) if path.is_dir() else _of_json(path, listing)


def _of_folder(root: pathlib.Path) -> list[FoundVideo]:
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    named = [(folder, images.natural(folder.glob("*.png"))) for folder in folders]
    videos = [_of_images(folder, paths) for folder, paths in named if paths]
    if not videos:
        raise ValueError(
            f"{root}: no PNG in it, nor in a folder in it. Expected the masks of a "
            "frame as the labels of a palette image, a folder a video."
        )
    return videos


def _of_images(folder: pathlib.Path, paths: Sequence[pathlib.Path]) -> FoundVideo:
    size = images.size(paths[0])

    def masks(index: int) -> list[FoundMask]:
        labels = images.read_labels(paths[index], bits=8)
        images.check_size(labels.shape, size, paths[index], "the video is")
        numbers = np.setdiff1d(labels, (0, davis_png.VOID))
        return [FoundMask(rle.encode(labels == number)) for number in numbers]

    return FoundVideo(folder.resolve().name, *size, [p.stem for p in paths], masks)


def _of_json(file: pathlib.Path, listing: pathlib.Path | None) -> list[FoundVideo]:
    if listing is None:
        content = declared.read(file, _Whole)
        listed, found = content.images, content.annotations
    else:
        listed = declared.read(listing, _Images).images
        found = declared.read(file, list[_Result])
    listed = coco_json.unique(listed, f"{file}: images", declared.refuse)
    by_image = defaultdict(list)
    known = {image.id for image in listed}
    for number, one in enumerate(found):
        if one.image_id not in known:
            raise ValueError(
                f"{file}: entry {number} belongs to image {one.image_id}, which "
                f"{listing or 'the file'} does not list."
            )
        by_image[one.image_id].append((number, one))
    videos = defaultdict(list)
    for image in listed:
        folder = pathlib.PurePosixPath(image.file_name).parent.as_posix()
        if folder == ".":
            raise ValueError(
                f"{file}: the image {image.file_name} lies in no folder; expected "
                "<video>/<frame>, by which frames belong to a video."
            )
        videos[folder].append(image)
    return [
        _of_entries(file, name, own, by_image) for name, own in sorted(videos.items())
    ]


def _of_entries(file, name, listed, by_image) -> FoundVideo:
    by_name = {image.file_name: image for image in listed}
    ordered = [by_name[str(path)] for path in images.natural(by_name)]
    size = ordered[0].height, ordered[0].width
    for image in ordered:
        where = f"{file}: image {image.file_name}"
        images.check_size((image.height, image.width), size, where, "the video is")
        if fault := declared.size_fault(*size):
            raise ValueError(f"{where} {fault}")

    def masks(index: int) -> list[FoundMask]:
        return [
            FoundMask(_mask(f"{file}: entry {number}", one, size), one.score, category)
            for number, one in by_image[ordered[index].id]
            for category in [one.category_id]
        ]

    frames = [pathlib.PurePosixPath(image.file_name).stem for image in ordered]
    return FoundVideo(name, *size, frames, masks)


def _mask(where: str, entry: _Result, size: tuple[int, int]) -> rle.Rle:
    try:
        mask = rle.from_json(entry.segmentation, *size)
        rle.areas([mask])  # whole?
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return mask
