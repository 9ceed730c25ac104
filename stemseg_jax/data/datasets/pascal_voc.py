"""Pascal VOC 2012 segmentation: still images, from which clips are made.

Images under Flickr's terms. 1464 train and 1449 val images, 20 classes.

    VOCdevkit/VOC2012/JPEGImages/2007_000032.jpg
    VOCdevkit/VOC2012/SegmentationObject/2007_000032.png    numbers of the instances
    VOCdevkit/VOC2012/SegmentationClass/2007_000032.png     their classes, 255 void
    VOCdevkit/VOC2012/ImageSets/Segmentation/<split>.txt
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from stemseg_jax.data import encoded_video, readers
from stemseg_jax.data.datasets import categories as classes
from stemseg_jax.data.datasets import folders
from stemseg_jax.formats import images

VOID = 255


def load(
    root: folders.Root,
    split: str,
    *,
    categories: str | None = None,
    min_area: int = 50,
    year: int = 2012,
    report: readers.Report = readers.refuse,
) -> readers.Dataset:
    """Reads the images of a split.

    Args:
        categories: Whose classes to map onto: "ytvis", "object" (those of STEm-Seg for
            DAVIS), or Pascal VOC's own.
        min_area: Smaller instances are left out, in pixels.
    """
    folder = folders.dataset_folder(
        root,
        names=[
            parent + name
            for parent in ("", "VOCdevkit/", "VOC/")
            for name in (f"VOC{year}", f"VOC_{year}")
        ],
        holds=("SegmentationObject",),
    )
    number_of = classes.mapping("pascal_voc", categories)
    lists = folder / "ImageSets" / "Segmentation"
    videos = []
    for name in folders.read_lines(lists / f"{split}.txt"):
        file = folder / "JPEGImages" / f"{name}.jpg"
        labels = VocLabels(
            folder / "SegmentationObject" / f"{name}.png",
            folder / "SegmentationClass" / f"{name}.png",
            number_of,
            min_area,
        )
        try:
            size = images.size(file)
        except ValueError as error:
            report(readers.Fault(name, "frame", str(error)))
            continue
        videos.append(encoded_video.EncodedVideo(name, *size, [file], labels))
    return readers.Dataset(
        "pascal_voc", classes.names("pascal_voc", categories), videos
    )


@dataclasses.dataclass(frozen=True)
class VocLabels(encoded_video.Labels):
    """The labels of one image; whether an instance counts shows when it is read."""

    objects: pathlib.Path
    classes: pathlib.Path
    number_of: Mapping[int, int]
    min_area: int

    annotated_frames: Sequence[int] = (0,)

    @functools.cached_property
    def categories(self) -> Mapping[int, int]:
        return self.read(0).categories

    def read(self, index: int) -> encoded_video.FrameLabels:
        numbers = encoded_video.read_numbers(self.objects)
        kinds = encoded_video.read_numbers(self.classes)
        with encoded_video.broken_if_refused():
            images.check_size(
                kinds.shape, numbers.shape, self.classes, f"{self.objects.parent} is"
            )
            unknown = set(np.unique(kinds).tolist()) - {0, *classes.PASCAL_VOC, VOID}
            if unknown:
                raise encoded_video.UnclearLabels(
                    f"{self.classes}: holds the class {min(unknown)}; known are 1 to "
                    f"{max(classes.PASCAL_VOC)}"
                )
        void = (numbers == VOID) | (kinds == VOID)
        masks, categories = {}, {}
        for number, mask in encoded_video.masks_of(
            numbers, leave_out=(0, VOID)
        ).items():
            kind = int(np.bincount(kinds[mask & ~void], minlength=1).argmax())
            if kind in self.number_of and mask.sum() >= self.min_area:
                masks[number], categories[number] = mask, self.number_of[kind]
        return encoded_video.FrameLabels(masks, categories, void)
