"""COCO 2017 (or 2014) instances: still images, from which clips are made.

Licence: CC BY 4.0 (annotations); images under their Flickr licences. 118 287 train and
5000 val images, 80 classes.

    COCO/annotations/instances_train2017.json
    COCO/train2017/000000000009.jpg      or  images/train2017/...
"""

import pathlib
import types
from collections.abc import Mapping

import numpy as np

from stemseg_jax.data import encoded_video, kept_annotations, readers
from stemseg_jax.data.datasets import categories as classes
from stemseg_jax.data.datasets import folders
from stemseg_jax.formats import coco_json, declared, rle


def load(
    root: folders.Root,
    split: str,
    *,
    categories: str | None = None,
    also: Mapping[str, str] = types.MappingProxyType({}),
    year: int = 2017,
    report: readers.Report = readers.refuse,
) -> readers.Dataset:
    """Reads the images with at least one instance of the wanted classes.

    Crowds are ignored regions: they hold objects that are not told apart.

    Args:
        categories: Whose classes to map onto: "ytvis", "ytvis21", "ovis", "object"
            (those of STEm-Seg for DAVIS), or COCO's own.
        also: Classes of COCO that this leaves out -> the class they are to be, e.g.
            `{"bird": "Bird"}` onto OVIS.
    """
    file = f"annotations/instances_{split}{year}.json"
    folder = folders.dataset_folder(
        root, names=("COCO", "coco", "coco2017", "MSCOCO"), holds=(file,)
    )
    images_at = folders.first_existing(
        folder, [f"{split}{year}", f"images/{split}{year}", f"{split}{year}/images"]
    )
    number_of = classes.mapping("coco", categories, also=also)
    return kept_annotations.dataset(
        folder / file,
        lambda report: readers.Dataset(
            "coco",
            classes.names("coco", categories),
            _images(folder / file, images_at, number_of, readers.told(report)),
        ),
        report=report,
        options=("coco", str(images_at), categories, sorted(number_of.items())),
    )


def _images(
    file: pathlib.Path,
    images_at: pathlib.Path,
    number_of: dict[int, int],
    tell: declared.Report,
) -> list[encoded_video.EncodedVideo]:
    """Those with an instance that is told apart."""
    content, incomplete = coco_json.read_entries(file, coco_json.ImageFile, tell)
    where = str(file)
    listed = coco_json.unique(content.images, f"{where}: images", tell)
    annotations = {image.id: [] for image in listed}
    for one in coco_json.unique(content.annotations, f"{where}: annotations", tell):
        if one.image_id not in annotations and "images" in incomplete:
            continue
        fault = None
        if one.image_id not in annotations:
            fault = f"belongs to image {one.image_id}, which the file does not list."
        elif one.category_id not in classes.COCO:
            fault = f"has category {one.category_id}, which COCO does not have."
        if fault:
            tell(f"{where}: annotation {one.id}", "annotation", fault)
        elif one.category_id in number_of:
            annotations[one.image_id].append(one)
    return [
        video
        for image in listed
        if any(not one.iscrowd for one in annotations[image.id])
        and (video := _image(image, images_at, annotations[image.id], number_of, tell))
    ]


def _image(
    image: coco_json.Image,
    images_at: pathlib.Path,
    annotations: list[coco_json.ImageObject],
    number_of: dict[int, int],
    tell: declared.Report,
) -> encoded_video.EncodedVideo | None:
    size = image.height, image.width
    instances = [one for one in annotations if not one.iscrowd]
    ignore = {}
    if fault := coco_json.name_fault([image.file_name]) or declared.size_fault(*size):
        tell(image.file_name, "annotation", fault)
        return None
    try:
        crowds = [
            rle.from_json(one.segmentation, *size) for one in annotations if one.iscrowd
        ]
        rle.areas(crowds)  # all whole?
        if crowds:
            ignore[0] = rle.union(crowds)["counts"]
    except ValueError as error:
        tell(image.file_name, "mask", f"{error}, in a crowd of this image.")
        return None
    labels = encoded_video.RleLabels(
        {one.id: number_of[one.category_id] for one in instances},
        [{one.id: _compact(one.segmentation) for one in instances}],
        size=size,
        name=image.file_name,
        ignore=ignore,
    )
    file = images_at / image.file_name
    return encoded_video.EncodedVideo(file.stem, *size, [file], labels)


def _compact(
    segmentation: rle.Segmentation | rle.Polygons,
) -> rle.Segmentation | list[np.ndarray]:
    """Arrays take a tenth of the memory of lists of floats; drawing them can wait."""
    if isinstance(segmentation, list):
        return [np.array(polygon) for polygon in segmentation]
    return segmentation
