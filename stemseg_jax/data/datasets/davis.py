"""DAVIS 2016, 2017 and the unsupervised re-annotation of 2019.

Licence: CC BY-NC 4.0. 2016: 30 train, 20 val; 2017 and 2019: 60 train, 30 val videos.
All objects are of one class, and not every object is annotated.

    DAVIS/JPEGImages/480p/<sequence>/00000.jpg
    DAVIS/Annotations_unsupervised/480p/<sequence>/00000.png     (2019)
    DAVIS/Annotations/480p/<sequence>/00000.png                  (2016, 2017)
    DAVIS/ImageSets/{2016,2017,2019}/<split>.txt                 a sequence a line
    DAVIS/ImageSets/480p/<split>.txt                             (2016, a frame a line)
"""

import pathlib
from collections.abc import Sequence

from stemseg_jax import choices
from stemseg_jax.data import encoded_video, readers
from stemseg_jax.data.datasets import folders
from stemseg_jax.formats import davis_png, images

NAMES = {
    2016: ("DAVIS-2016", "DAVIS2016", "DAVIS_2016", "DAVIS"),
    2017: ("DAVIS-2017", "DAVIS2017", "DAVIS_2017", "DAVIS"),
    2019: ("DAVIS-2019", "DAVIS2019", "DAVIS-2017", "DAVIS2017", "DAVIS_2017", "DAVIS"),
}
ANNOTATIONS = davis_png.ANNOTATIONS
LISTS = {2016: ("2016", "480p"), 2017: ("2017",), 2019: ("2017", "2019")}


def load(
    root: folders.Root,
    split: str,
    *,
    year: int = 2019,
    resolution: str = "480p",
    sequences: Sequence[str] = (),
    exhaustive: bool = False,
    report: readers.Report = readers.refuse,
) -> readers.Dataset:
    """Reads the sequences of a split; those without masks are there to be predicted.

    Args:
        sequences: Only these of the split, in this order; none: all.
        exhaustive: Whether what is not labelled may be taken for background.
    """
    if year not in NAMES:
        raise ValueError(f"year={year} is no DAVIS; one of {sorted(NAMES)}.")
    folder = folders.dataset_folder(root, names=NAMES[year], holds=("JPEGImages",))
    names = davis_png.sequences(folder, split, lists=LISTS[year])
    if sequences:
        names = [choices.known("sequences", name, names) for name in sequences]
    images_at = folder / "JPEGImages" / resolution
    masks_at = folder / ANNOTATIONS[year] / resolution
    if not masks_at.is_dir() and split in ("train", "val", "trainval"):
        raise ValueError(
            f"{masks_at}: no such folder, but split {split!r} of DAVIS {year} is "
            f"annotated. Download the {ANNOTATIONS[year]} package, or choose another "
            f"year."
        )
    return readers.Dataset(
        name=f"davis{year % 100}",
        categories={1: "object"},
        videos=[
            video
            for name in names
            if (video := _video(images_at / name, masks_at / name, year, report))
        ],
        exhaustive=exhaustive,
    )


def _video(
    frames: pathlib.Path, masks: pathlib.Path, year: int, report: readers.Report
) -> encoded_video.EncodedVideo | None:
    try:
        files = folders.image_files(frames)
        size = images.size(files[0])
    except ValueError as error:
        report(readers.Fault(frames.name, "frame", str(error)))
        return None
    labels = None
    if masks.is_dir():
        paths = [masks / f"{file.stem}.png" for file in files]
        # Semi-supervised test sets annotate the first frame alone.
        paths = [path if path.is_file() else None for path in paths]
        if any(paths):
            meaning = (
                encoded_video.foreground if year == 2016 else encoded_video.indexed
            )
            labels = encoded_video.PngLabels(paths, meaning)
    return encoded_video.EncodedVideo(frames.name, *size, files, labels)
