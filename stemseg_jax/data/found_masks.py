"""Instance masks that any method found frame by frame, without identities.

Either palette images, a folder a video and a PNG a frame as DAVIS has them, in which
each label but 0 and 255 (void) is a mask without a class; or one JSON file in COCO's
form, whose images are called `<video>/<frame>`, with masks that may overlap, scores and
categories.
"""

import pathlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from stemseg_jax.formats import coco_json, davis_png, declared, images, rle
from stemseg_jax.formats.declared import Id

Score = Annotated[float, Meta(ge=0, le=1)]
Category = Annotated[int, Meta(ge=0, le=2**16)]


class FoundMask(NamedTuple):
    mask: rle.Rle
    score: float = 1.0
    category: int = 0  # 0: it has none


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
    category_id: Category
    segmentation: rle.Segmentation | rle.Polygons
    score: Score = 1.0


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

    name = folder.name or folder.resolve().name  # of "."
    return FoundVideo(name, *size, [path.stem for path in paths], masks)


def _of_json(file: pathlib.Path, listing: pathlib.Path | None) -> list[FoundVideo]:
    content = declared.read(file, _Whole | list[_Result])
    if isinstance(content, list) and listing is None:
        raise ValueError(
            f"{file}: a list of results calls images by number alone; name the COCO "
            "file that lists them by --listing."
        )
    if isinstance(content, list):
        lister, listed, found = listing, declared.read(listing, _Images).images, content
    else:
        lister, listed, found = file, content.images, content.annotations
    listed = coco_json.unique(listed, f"{lister}: images", declared.refuse)
    by_image = {image.id: [] for image in listed}
    for number, one in enumerate(found):
        if one.image_id not in by_image:
            raise ValueError(
                f"{file}: entry {number} belongs to image {one.image_id}, which "
                f"{lister} does not list."
            )
        by_image[one.image_id].append((f"{file}: entry {number}", one))
    videos = defaultdict(dict)
    for image in listed:
        where = f"{lister}: the image {image.file_name}"
        path = pathlib.PurePosixPath(image.file_name)
        size = image.height, image.width
        fault = coco_json.name_fault([image.file_name]) or declared.size_fault(*size)
        if fault:
            raise ValueError(f"{where} {fault}")
        if not path.parent.name:
            raise ValueError(
                f"{where} lies in no folder; expected <video>/<frame>, by which frames "
                "belong to a video."
            )
        own = videos[path.parent.as_posix()]
        if path.stem in own:
            raise ValueError(f"{where} is the second of this name. Renumber them.")
        own[path.stem] = image
    if not videos:
        raise ValueError(f"{lister}: lists no image, expected those of a video or more")
    return [
        _of_entries(str(lister), name, own, by_image)
        for name, own in sorted(videos.items())
    ]


def _of_entries(
    lister: str,
    name: str,
    listed: Mapping[str, coco_json.Image],
    by_image: Mapping[int, Sequence[tuple[str, _Result]]],
) -> FoundVideo:
    """Args:
    listed: By the names of frames.
    by_image: Masks by the number of their image, each with where it stands.
    """
    frames = [path.name for path in images.natural(listed)]
    first = listed[frames[0]]
    size = first.height, first.width
    for frame in frames:
        image = listed[frame]
        where = f"{lister}: the image {image.file_name}"
        images.check_size((image.height, image.width), size, where, "the video is")

    def masks(index: int) -> list[FoundMask]:
        return [
            FoundMask(_mask(where, one, size), one.score, one.category_id)
            for where, one in by_image[listed[frames[index]].id]
        ]

    return FoundVideo(name, *size, frames, masks)


def _mask(where: str, entry: _Result, size: tuple[int, int]) -> rle.Rle:
    try:
        mask = rle.from_json(entry.segmentation, *size)
        rle.areas([mask])  # whole?
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return mask
