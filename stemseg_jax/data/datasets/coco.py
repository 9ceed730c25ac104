"""COCO 2017 (or 2014) instances: still images, from which clips are made.

Licence: CC BY 4.0 (annotations); images under their Flickr licences. 118 287 train and
5000 val images, 80 classes.

    COCO/annotations/instances_train2017.json
    COCO/train2017/000000000009.jpg      or  images/train2017/...
"""

import pathlib

import numpy as np

from stemseg_jax.data import encoded_video, readers
from stemseg_jax.data.datasets import categories as classes
from stemseg_jax.data.datasets import folders
from stemseg_jax.formats import coco_json, rle


def load(
    root: folders.Root,
    split: str,
    *,
    categories: str | None = None,
    year: int = 2017,
    report: readers.Report = readers.refuse,
) -> readers.Dataset:
    """Reads the images with at least one instance of the wanted classes.

    Crowds are ignored regions: they hold objects that are not told apart.

    Args:
        categories: Whose classes to map onto: "ytvis", "ytvis21", "ovis", "object"
            (those of STEm-Seg for DAVIS), or COCO's own.
    """
    file = f"annotations/instances_{split}{year}.json"
    folder = folders.dataset_folder(
        root, names=("COCO", "coco", "coco2017", "MSCOCO"), holds=(file,)
    )
    content = coco_json.read_object(folder / file)
    number_of = classes.mapping("coco", categories)
    images_at = folders.first_existing(
        folder, [f"{split}{year}", f"images/{split}{year}", f"{split}{year}/images"]
    )
    annotations = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        image = annotation["image_id"]
        if image not in annotations:
            where = f"{folder / file}: annotation {annotation['id']}"
            what = f"belongs to image {image}, which the file does not list."
            report(readers.Fault(where, "annotation", what))
        elif annotation["category_id"] in number_of:
            annotations[image].append(annotation)
    videos = [
        _image(image, images_at, annotations[image["id"]], number_of)
        for image in content["images"]
        if any(not a["iscrowd"] for a in annotations[image["id"]])
    ]
    return readers.Dataset("coco", classes.names("coco", categories), videos)


def _image(
    image: dict,
    images_at: pathlib.Path,
    annotations: list[dict],
    number_of: dict[int, int],
) -> encoded_video.EncodedVideo:
    size = image["height"], image["width"]
    instances = [a for a in annotations if not a["iscrowd"]]
    crowds = [
        rle.from_json(a["segmentation"], *size) for a in annotations if a["iscrowd"]
    ]
    labels = encoded_video.RleLabels(
        {a["id"]: number_of[a["category_id"]] for a in instances},
        [{a["id"]: _compact(a["segmentation"]) for a in instances}],
        size=size,
        name=image["file_name"],
        ignore={0: rle.union(crowds)["counts"]} if crowds else {},
    )
    file = images_at / image["file_name"]
    return encoded_video.EncodedVideo(file.stem, *size, [file], labels)


def _compact(segmentation: dict | list) -> dict | list:
    """Arrays take a tenth of the memory of lists of floats; drawing them can wait."""
    if isinstance(segmentation, list):
        return [np.array(polygon) for polygon in segmentation]
    return segmentation
