"""Tiny datasets in the official layouts, each with the truth it was written from.

A scene has `T` frames with two rectangles that move to the right: instance 1 in every
frame, instance 2 from the second frame on.
"""

import json
import pathlib

import numpy as np
import PIL.Image
from pycocotools import mask as coco

HEIGHT, WIDTH = 24, 40


def labels(num_frames: int) -> np.ndarray:
    """Numbers of the instances, uint8 [T H W]."""
    maps = np.zeros((num_frames, HEIGHT, WIDTH), np.uint8)
    for t, frame in enumerate(maps):
        frame[4:12, 2 + t : 10 + t] = 1
        if t:
            frame[10:20, 5 + t : 12 + t] = 2
    return maps


def image(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    return coarse.repeat(8, axis=0).repeat(8, axis=1)


def save(path: pathlib.Path, array: np.ndarray) -> pathlib.Path:
    """JPEG, palette PNG or 16-bit PNG, by suffix and type."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = PIL.Image.fromarray(array)
    if array.ndim == 2 and array.dtype == np.uint8:
        picture.putpalette([i % 256 for i in range(768)])
    picture.save(path, **({"quality": 95} if path.suffix == ".jpg" else {}))
    return path


def write_text(path: pathlib.Path, text: str) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def runs(mask: np.ndarray) -> dict:
    """Uncompressed RLE, as in the training file of YouTube-VIS 2019."""
    flat = mask.T.ravel().astype(int)
    edges = np.flatnonzero(np.diff(flat, prepend=0)) if flat.any() else []
    lengths = np.diff([0, *edges, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": lengths}


def compressed(mask: np.ndarray) -> dict:
    encoded = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


def davis(root: pathlib.Path, *, sequences=("bear", "cow"), num_frames=6, year=2019):
    kind = "Annotations_unsupervised" if year == 2019 else "Annotations"
    for number, name in enumerate(sequences):
        for t, numbers in enumerate(labels(num_frames)):
            save(root / f"DAVIS/JPEGImages/480p/{name}/{t:05d}.jpg", image(number))
            save(root / f"DAVIS/{kind}/480p/{name}/{t:05d}.png", numbers)
    folder = "2016" if year == 2016 else "2017"
    lines = "".join(f"{name}\n" for name in sequences)
    write_text(root / f"DAVIS/ImageSets/{folder}/train.txt", lines)
    return root


def youtube_vis(
    root: pathlib.Path,
    *,
    json_name="train.json",
    frames="train/JPEGImages",
    encode=runs,
    num_frames=6,
    annotated=True,
):
    names = [f"{t:05d}.jpg" for t in range(num_frames)]
    for t, name in enumerate(names):
        save(root / frames / "aa" / name, image(t))
    size = {"height": HEIGHT, "width": WIDTH, "length": num_frames}
    videos = [{"id": 7, "file_names": [f"aa/{name}" for name in names], **size}]
    annotations = []
    for instance in (1, 2):
        masks = labels(num_frames) == instance
        annotations.append(
            {
                "id": 10 + instance,
                "video_id": 7,
                "category_id": 20 * instance,
                "iscrowd": 0,
                "segmentations": [encode(m) if m.any() else None for m in masks],
                "bboxes": [_box(m) for m in masks],
                "areas": [int(m.sum()) or None for m in masks],
                **size,
            }
        )
    categories = [{"id": 20, "name": "bear"}, {"id": 40, "name": "tennis_racket"}]
    content = {
        "videos": videos,
        "annotations": annotations if annotated else None,
        "categories": categories,
    }
    write_text(root / json_name, json.dumps(content))
    return root


def _box(mask: np.ndarray) -> list[float] | None:
    if not mask.any():
        return None
    y, x = mask.nonzero()
    return [float(x.min()), float(y.min()), float(np.ptp(x)) + 1, float(np.ptp(y)) + 1]


# The form of KITTI tracking's files; the last lines have no colon.
CALIBRATION = """\
P0: 7.0e+01 0.0e+00 2.0e+01 0.0e+00 0.0e+00 7.0e+01 1.2e+01 0.0e+00 0 0 1 0
P2: 7.215377e+01 0 2.05e+01 4.48e+00 0 7.3e+01 1.25e+01 2.1e-01 0 0 1 2.7e-03
R_rect 1 0 0 0 1 0 0 0 1
Tr_velo_cam 1 0 0 0 0 1 0 0 0 0 1 0
"""
INTRINSICS = np.array([[72.15377, 0, 20.5], [0, 73, 12.5], [0, 0, 1]])


def kitti_mots(
    root: pathlib.Path,
    *,
    names=("0000", "0002"),
    num_frames=6,
    empty_frames=(),
    png=True,
    txt=True,
    calibration=False,
):
    """Instance 1 is a car, instance 2 a pedestrian; the last row is ignored."""
    folder = root / "KITTI_MOTS"
    for name in names:
        lines = []
        for t, numbers in enumerate(labels(num_frames)):
            objects = np.array([0, 1001, 2003], np.uint16)[numbers]
            if t in empty_frames:
                objects[:] = 0
            objects[-1] = 10000
            save(folder / f"training/image_02/{name}/{t:06d}.png", image(t))
            if png:
                save(folder / f"instances/{name}/{t:06d}.png", objects)
            for number in np.unique(objects[objects > 0]):
                counts = compressed(objects == number)["counts"]
                kind = number // 1000
                lines.append(f"{t} {number} {kind} {HEIGHT} {WIDTH} {counts}\n")
        if txt:
            write_text(folder / f"instances_txt/{name}.txt", "".join(lines))
        if calibration:
            write_text(folder / f"training/calib/{name}.txt", CALIBRATION)
    return root


def coco_set(root: pathlib.Path):
    """Three images: a person as polygon and a crowd; a chair; nothing."""
    folder = root / "COCO"
    for number in (1, 2, 3):
        save(folder / f"train2017/{number:012d}.jpg", image(number))
    size = {"height": HEIGHT, "width": WIDTH}
    square = [[5.0, 5.0, 15.0, 5.0, 15.0, 15.0, 5.0, 15.0]]
    crowd = np.zeros((HEIGHT, WIDTH), bool)
    crowd[20:] = True
    content = {
        "images": [{"id": n, "file_name": f"{n:012d}.jpg", **size} for n in (1, 2, 3)],
        "annotations": [
            _coco(id=11, image_id=1, category_id=1, segmentation=square),
            _coco(
                id=12, image_id=1, category_id=1, segmentation=runs(crowd), iscrowd=1
            ),
            _coco(id=13, image_id=2, category_id=62, segmentation=square),
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 62, "name": "chair"}],
    }
    write_text(folder / "annotations/instances_train2017.json", json.dumps(content))
    return root


def _coco(*, iscrowd=0, **annotation) -> dict:
    return annotation | {"iscrowd": iscrowd}


def pascal_voc(root: pathlib.Path):
    """One image: a dog (instance 1), a chair (2), one void column."""
    folder = root / "VOCdevkit/VOC2012"
    objects = labels(2)[1]
    kinds = np.array([0, 12, 9], np.uint8)[objects]
    objects[:, -1] = kinds[:, -1] = 255
    save(folder / "JPEGImages/2007_000001.jpg", image())
    save(folder / "SegmentationObject/2007_000001.png", objects)
    save(folder / "SegmentationClass/2007_000001.png", kinds)
    write_text(folder / "ImageSets/Segmentation/train.txt", "2007_000001\n")
    return root


MAPILLARY_LABELS = {
    "v1.2": (
        "human--person",
        "human--rider--bicyclist",
        "object--vehicle--car",
        "nature--sky",
    ),
    "v2.0": (
        "nature--sky",
        "human--person--individual",
        "human--person--person-group",
        "object--vehicle--car",
    ),
}


def _enlarged(array: np.ndarray) -> np.ndarray:
    return array.repeat(4, axis=0).repeat(4, axis=1)


def mapillary(root: pathlib.Path, *, version="v1.2", alone=False):
    """One image: two cars of 64 and 70 pixels, a person of 4, riders or a group.

    Its files are four times as high and wide, as the reader expects them.
    """
    folder = root / "Mapillary"
    names = MAPILLARY_LABELS[version]
    car = 256 * names.index("object--vehicle--car")
    person, ignored = (256 * n for n in ((0, 1) if version == "v1.2" else (1, 2)))
    sky = 256 * names.index("nature--sky")
    numbers = np.full((HEIGHT, WIDTH), sky, np.uint16)
    numbers[labels(2)[1] == 1] = car
    numbers[labels(2)[1] == 2] = car + 1
    numbers[0:2, 30:32] = person + 3
    numbers[20:, 30:] = ignored
    save(folder / "training/images/xyz.jpg", _enlarged(image()))
    part = "training/instances" if alone else f"training/{version}/instances"
    save(folder / part / "xyz.png", _enlarged(numbers))
    config = "config.json" if alone else f"config_{version}.json"
    listed = [{"name": name, "readable": name, "instances": True} for name in names]
    write_text(folder / config, json.dumps({"labels": listed}))
    return root
