"""COCO 2017 (or 2014) instances: still images, from which clips are made.

Licence: CC BY 4.0 (annotations); images under their Flickr licences. 118 287 train and
5000 val images, 80 classes.

    COCO/annotations/instances_train2017.json
    COCO/train2017/000000000009.jpg      or  images/train2017/...
"""

import pathlib

import numpy as np

from stemseg_jax.data import categories as classes
from stemseg_jax.data import layout, records, rle, stored


def load(
    root: layout.Root,
    split: str,
    *,
    categories: str | None = None,
    year: int = 2017,
    report: records.Report = records.refuse,
) -> records.Dataset:
    """Reads the images with at least one instance of the wanted classes.

    Crowds are ignored regions: they hold objects that are not told apart.

    Args:
        categories: Whose classes to map onto: "ytvis", "ytvis21", "ovis", "object"
            (those of STEm-Seg for DAVIS), or COCO's own.
    """
    file = f"annotations/instances_{split}{year}.json"
    folder = layout.dataset_folder(
        root, names=("COCO", "coco", "coco2017", "MSCOCO"), holds=(file,)
    )
    content = layout.read_json(folder / file)
    number_of = classes.mapping("coco", categories)
    images_at = layout.first_existing(
        folder, [f"{split}{year}", f"images/{split}{year}", f"{split}{year}/images"]
    )
    annotations = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        image = annotation["image_id"]
        if image not in annotations:
            where = f"{folder / file}: annotation {annotation['id']}"
            what = f"belongs to image {image}, which the file does not list."
            report(records.Fault(where, "annotation", what))
        elif annotation["category_id"] in number_of:
            annotations[image].append(annotation)
    videos = [
        _image(image, images_at, annotations[image["id"]], number_of)
        for image in content["images"]
        if any(not a["iscrowd"] for a in annotations[image["id"]])
    ]
    return records.Dataset("coco", classes.names("coco", categories), videos)


def _image(
    image: dict,
    images_at: pathlib.Path,
    annotations: list[dict],
    number_of: dict[int, int],
) -> stored.StoredVideo:
    size = image["height"], image["width"]
    instances = [a for a in annotations if not a["iscrowd"]]
    crowds = [
        rle.compress(a["segmentation"], size) for a in annotations if a["iscrowd"]
    ]
    labels = stored.RleLabels(
        {a["id"]: number_of[a["category_id"]] for a in instances},
        [{a["id"]: _compact(a["segmentation"]) for a in instances}],
        size=size,
        name=image["file_name"],
        ignore={0: rle.union(crowds, size)} if crowds else {},
    )
    file = images_at / image["file_name"]
    return stored.StoredVideo(file.stem, *size, [file], labels)


def _compact(segmentation: dict | list) -> dict | list:
    """Arrays take a tenth of the memory of lists of floats; drawing them can wait."""
    if isinstance(segmentation, list):
        return [np.array(polygon) for polygon in segmentation]
    return segmentation
