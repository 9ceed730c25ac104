"""Mapillary Vistas v1.2 and v2.0: street scenes, from which clips are made.

Licence: CC BY-NC-SA. 18 000 training and 2000 validation images.

    Mapillary/training/images/<name>.jpg
    Mapillary/training/instances/<name>.png        (v1.2)  256 * label + number, 16 bits
    Mapillary/training/v1.2/instances/<name>.png   (v1.2 and v2.0 in one package)
    Mapillary/training/v2.0/instances/<name>.png   (v2.0)
    Mapillary/config.json  or  config_v1.2.json, config_v2.0.json     the labels' names
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

import cv2
import msgspec
import numpy as np

from stemseg_jax import choices
from stemseg_jax.data import encoded_video, readers
from stemseg_jax.data.datasets import categories, folders
from stemseg_jax.formats import declared, images

SPLITS = {"train": "training", "val": "validation"}
NAMES = (
    *("Mapillary", "mapillary", "mapillary_vistas", "Mapillary_Vistas"),
    *("mapillary-vistas-dataset_public_v1.2", "mapillary-vistas-dataset_public_v2.0"),
)


def load(
    root: folders.Root,
    split: str,
    *,
    version: str = "v1.2",
    min_area: int = 30,
    max_instances: int = 30,
    shrink: int = 4,
    report: readers.Report = readers.refuse,
) -> readers.Dataset:
    """Reads the images of a split; cars and pedestrians, numbered as in KITTI-MOTS.

    Args:
        split: "train", "val", or "train+val", on which the authors of STEm-Seg train.
        version: "v1.2" or "v2.0".
        min_area: Smaller instances are ignored regions, in pixels.
        max_instances: The largest are kept, the others are ignored regions.
        shrink: Both sides are divided by it when an image is read. Areas count after
            that.

    Source: the authors of STEm-Seg shrank their images beforehand, and list the sizes:
        in at least nine of ten images that of a common camera, divided by 4, where
        halves are cut off.
        Differs from theirs in: pixels are averaged; they interpolate two of four.
    """
    parts = [SPLITS[choices.known("split", s, SPLITS)] for s in split.split("+")]
    holds = [f"{part}/images" for part in parts]
    folder = folders.dataset_folder(root, names=NAMES, holds=holds)
    videos = [
        video
        for part in parts
        for video in _images(
            *(folder, part, version),
            limits=dict(min_area=min_area, max_instances=max_instances),
            shrink=shrink,
            report=report,
        )
    ]
    return readers.Dataset("mapillary", categories.KITTI_MOTS, videos)


def _images(
    folder: pathlib.Path,
    part: str,
    version: str,
    *,
    limits: Mapping[str, int],
    shrink: int,
    report: readers.Report,
) -> list[encoded_video.EncodedVideo]:
    """Those of one folder of the dataset."""
    config = [f"config_{version}.json", f"{part}/{version}/config.json"]
    instances = [f"{part}/{version}/instances"]
    if version == "v1.2":  # packed alone, it does not say its version
        config.append("config.json")
        instances.append(f"{part}/instances")
    file = folders.first_existing(folder, config)
    names = [label.name for label in declared.read(file, Config).labels]
    meaning = Meaning(
        number_of=_numbers(names, file),
        ignored=frozenset(
            index
            for index, name in enumerate(names)
            if name in categories.MAPILLARY_IGNORED
        ),
        num_labels=len(names),
        **limits,
    )
    masks_at = folders.first_existing(folder, instances)
    videos = []
    for file in sorted(folders.image_files(folder / part / "images")):
        try:
            size = images.size(file)
        except ValueError as error:
            report(readers.Fault(file.stem, "frame", str(error)))
            continue
        size = max(size[0] // shrink, 1), max(size[1] // shrink, 1)
        still = MapillaryLabels(masks_at / f"{file.stem}.png", size, meaning)
        video = encoded_video.ShrunkVideo if shrink > 1 else encoded_video.EncodedVideo
        videos.append(video(file.stem, *size, [file], still))
    return videos


class Label(msgspec.Struct):
    name: str


class Config(msgspec.Struct):
    """What a config file declares; the place of a label in it is its number."""

    labels: list[Label]


def _numbers(names: Sequence[str], file: pathlib.Path) -> dict[int, int]:
    """Category of each label that stands for one."""
    number_of = {name: n for n, name in categories.KITTI_MOTS.items()}
    found = {
        index: number_of[categories.MAPILLARY_TO_KITTI_MOTS[name]]
        for index, name in enumerate(names)
        if name in categories.MAPILLARY_TO_KITTI_MOTS
    }
    if set(found.values()) != set(categories.KITTI_MOTS):
        raise ValueError(
            f"{file}: none of the labels is "
            f"{' or '.join(categories.MAPILLARY_TO_KITTI_MOTS)}; is it the config of "
            f"Mapillary Vistas?"
        )
    return found


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What the numbers of an instance PNG stand for."""

    number_of: Mapping[int, int]
    ignored: frozenset[int]
    num_labels: int
    min_area: int
    max_instances: int

    def __call__(self, numbers: np.ndarray) -> encoded_video.FrameLabels:
        if (highest := int(numbers.max(initial=0)) >> 8) >= self.num_labels:
            raise encoded_video.UnclearLabels(
                f"holds label {highest}; the config lists {self.num_labels}, from 0. "
                "Is it of the other version"
            )
        wanted = np.isin(numbers >> 8, [*self.number_of, *self.ignored])
        areas = np.bincount(numbers[wanted].ravel())
        # The largest first; objects of ignored kinds compete, as in the authors' set.
        order = np.argsort(-areas, kind="stable")[: np.count_nonzero(areas)].tolist()
        kept = [
            n
            for n in order[: self.max_instances]
            if n >> 8 in self.number_of and areas[n] >= self.min_area
        ]
        return encoded_video.FrameLabels(
            {n: numbers == n for n in kept},
            {n: self.number_of[n >> 8] for n in kept},
            wanted & ~np.isin(numbers, kept),
        )


@dataclasses.dataclass(frozen=True)
class MapillaryLabels(encoded_video.Labels):
    """The labels of one image; whether it has instances shows when it is read."""

    file: pathlib.Path
    size: tuple[int, int]
    meaning: Meaning

    annotated_frames: Sequence[int] = (0,)

    @functools.cached_property
    def categories(self) -> Mapping[int, int]:
        return self.read(0).categories

    def read(self, index: int) -> encoded_video.FrameLabels:
        numbers = encoded_video.read_numbers(self.file)
        if numbers.shape != self.size:
            nearest = cv2.INTER_NEAREST_EXACT
            numbers = cv2.resize(numbers, self.size[::-1], interpolation=nearest)
        with encoded_video.broken_if_refused(
            f"{self.file}: ", of=encoded_video.UnclearLabels
        ):
            return self.meaning(numbers)
