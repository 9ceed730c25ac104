"""KITTI-MOTS and MOTSChallenge: cars and pedestrians, with regions to ignore.

Licence: CC BY-NC-SA 3.0. KITTI-MOTS: 12 train and 9 val sequences, 29 test sequences
without annotations; MOTSChallenge: 4 train sequences, pedestrians alone.

    KITTI_MOTS/training/image_02/0000/000000.png        (test: testing/image_02)
    KITTI_MOTS/instances_txt/0000.txt  or  instances/0000/000000.png
    KITTI_MOTS/training/calib/0000.txt  (of KITTI tracking; if there, intrinsics)
    MOTSChallenge/images/0002/000001.jpg  or  train/MOTS20-02/img1/000001.jpg
    MOTSChallenge/instances_txt/0002.txt  or  instances/0002/000001.png
                                          or  train/MOTS20-02/gt/gt.txt

An object is numbered 1000 * class + n; class 10 is the region to ignore.
"""

import dataclasses
import logging
import pathlib
from collections.abc import Collection, Sequence

import numpy as np

from stemseg_jax import choices
from stemseg_jax.data import encoded_video, readers
from stemseg_jax.data.datasets import folders
from stemseg_jax.data.datasets.categories import KITTI_MOTS
from stemseg_jax.formats import files, images, mots_txt

KITTI_SPLITS = {
    "train": (0, 1, 3, 4, 5, 9, 11, 12, 15, 17, 19, 20),
    "val": (2, 6, 7, 8, 10, 13, 14, 16, 18),
    "test": tuple(range(29)),
}
CHALLENGE_SPLITS = {"train": (2, 5, 9, 11), "test": (1, 6, 7, 12)}
# A clip may leap over five frames without objects, as in the authors' loader.
MAX_GAP = 5


def load_kitti(
    root: folders.Root,
    split: str,
    *,
    sequences: Sequence[str] | None = None,
    mots_challenge: Sequence[str] = (),
    classes: Sequence[str] = tuple(KITTI_MOTS.values()),
    labels: str = "txt",
    report: readers.Report = readers.refuse,
) -> readers.Dataset:
    """Reads KITTI-MOTS.

    Args:
        sequences: Names in place of the split's own.
        mots_challenge: Sequences of MOTSChallenge that join; ("0002",) in STEm-Seg.
        classes: Whose objects count; those of others are background.
        labels: "txt", or "png" where the two should be compared.
    """
    for name in classes:
        choices.known("classes", name, KITTI_MOTS.values())
    folder = folders.dataset_folder(
        root,
        names=("KITTI_MOTS", "KITTI-MOTS", "KITTIMOTS", "kitti_mots"),
        holds=("training/image_02", "testing/image_02", "train", "images"),
    )
    part = "testing" if split == "test" else "training"
    frames = [f"{part}/image_02/{{name}}", "images/{name}", f"{split}/{{name}}"]
    videos = _videos(
        folder,
        _names(split, sequences, KITTI_SPLITS),
        frames=frames,
        txt=["instances_txt/{name}.txt", "training/instances_txt/{name}.txt"],
        png=["instances/{name}", "training/instances/{name}"],
        calibration=[f"{part}/calib/{{name}}.txt", "calib/{name}.txt"],
        labels=labels,
        report=report,
    )
    if mots_challenge:
        videos += load_mots_challenge(
            root, "train", sequences=mots_challenge, labels=labels, report=report
        ).videos
    chosen = {number: name for number, name in KITTI_MOTS.items() if name in classes}
    if chosen != KITTI_MOTS:
        videos = [_of_classes(video, chosen) for video in videos]
    return readers.Dataset("kitti_mots", chosen, videos, max_gap=MAX_GAP)


def _of_classes(
    video: encoded_video.EncodedVideo, classes: Collection[int]
) -> encoded_video.EncodedVideo:
    if video.labels is None:
        return video
    labels = encoded_video.SomeLabels(video.labels, tuple(classes))
    return dataclasses.replace(video, labels=labels)


def load_mots_challenge(
    root: folders.Root,
    split: str,
    *,
    sequences: Sequence[str] | None = None,
    labels: str = "txt",
    report: readers.Report = readers.refuse,
) -> readers.Dataset:
    """Reads MOTSChallenge; the arguments as those of `load_kitti`."""
    folder = folders.dataset_folder(
        root,
        names=("MOTSChallenge", "MOTS_Challenge", "MOTS20", "MOTS"),
        holds=("images", "train", "test"),
    )
    videos = _videos(
        folder,
        _names(split, sequences, CHALLENGE_SPLITS),
        frames=[
            "images/{name}",
            "train/images/{name}",
            f"{split}/MOTS20-{{short}}/img1",
        ],
        txt=["instances_txt/{name}.txt", "train/MOTS20-{short}/gt/gt.txt"],
        png=["instances/{name}", "train/instances/{name}"],
        calibration=[],
        labels=labels,
        report=report,
    )
    return readers.Dataset("mots_challenge", KITTI_MOTS, videos, max_gap=MAX_GAP)


def _names(split: str, sequences: Sequence[str] | None, splits: dict) -> Sequence[str]:
    if sequences:
        return sequences
    numbers = splits[choices.known("split", split, splits)]
    return [f"{number:04d}" for number in numbers]


def _videos(
    folder: pathlib.Path,
    names: Sequence[str],
    *,
    frames: Sequence[str],
    txt: Sequence[str],
    png: Sequence[str],
    calibration: Sequence[str],
    labels: str,
    report: readers.Report,
) -> list[encoded_video.EncodedVideo]:
    """The sequences that are there; those that are not are named in the log."""
    if labels not in ("txt", "png"):
        raise ValueError(f"labels={labels!r}: expected 'txt' or 'png'.")

    def found(forms: Sequence[str], name: str) -> pathlib.Path | None:
        paths = [folder / f.format(name=name, short=name[-2:]) for f in forms]
        return next((path for path in paths if path.exists()), None)

    videos, missing = [], []
    for name in names:
        if (frames_at := found(frames, name)) is None:
            missing.append(name)
            continue
        try:
            paths = folders.image_files(frames_at)
            size = images.size(paths[0])
        except ValueError as error:
            report(readers.Fault(name, "frame", str(error)))
            continue
        numbers = _frame_numbers(paths)
        annotation = None
        first, second = (txt, png) if labels == "txt" else (png, txt)
        if (path := found(first, name) or found(second, name)) is not None:
            if path.suffix == ".txt":
                annotation = _txt_labels(path, numbers, size, report)
            else:
                annotation = _png_labels(path, numbers)
        intrinsics = None
        if (path := found(calibration, name)) is not None:
            intrinsics = _intrinsics(path, report)
        videos.append(
            encoded_video.EncodedVideo(name, *size, paths, annotation, intrinsics)
        )
    if not videos:
        expected = " or ".join(
            str(folder / f.format(name=names[0], short=names[0][-2:])) for f in frames
        )
        raise ValueError(
            f"{folder}: none of the sequences {', '.join(names)} is there; expected "
            f"frames in {expected}."
        )
    if missing:
        logging.warning("%s: no frames of sequences %s", folder, ", ".join(missing))
    return videos


def _frame_numbers(paths: Sequence[pathlib.Path]) -> dict[int, int]:
    """Index of each frame number: KITTI counts from 0, MOTSChallenge from 1."""
    try:
        return {int(path.stem): index for index, path in enumerate(paths)}
    except ValueError as error:
        raise ValueError(
            f"{paths[0].parent}: frames are named by their number here, e.g. "
            f"000000.png ({error})."
        ) from error


def _intrinsics(
    path: pathlib.Path, report: readers.Report
) -> readers.Intrinsics | None:
    """Of the left colour camera: the first three columns of its 3 x 4 matrix P2."""
    text = files.read_text(path)
    words = [line.split() for line in text.splitlines() if line.strip()]
    try:
        (numbers,) = [numbers for key, *numbers in words if key == "P2:"]
        matrix = np.array(numbers, float).reshape(3, 4)
        if not np.isfinite(matrix).all():
            raise ValueError("a number is not finite")
    except ValueError as error:
        report(
            readers.Fault(
                str(path),
                "annotation",
                f"expected one line 'P2:' with 12 numbers, as in KITTI's calib folder "
                f"({error}). Correct it, or take the file away.",
            )
        )
        return None
    return matrix[:, :3]


def _txt_labels(
    path: pathlib.Path,
    numbers: dict[int, int],
    size: tuple[int, int],
    report: readers.Report,
) -> encoded_video.RleLabels:
    """The masks of a text file; each line that has a fault is reported."""
    frames = [{} for _ in numbers]
    categories, ignore = {}, {}

    def add(text: str) -> tuple[str, str] | None:
        """Kind of fault and fault, if the line has one."""
        try:
            number, instance, category, mask = mots_txt.parse(" ".join(text.split()))
        except ValueError as error:
            return "annotation", f"{error}."
        if number not in numbers:
            what = f"expected a line of one of {len(numbers)} frames, found {number}."
            return "annotation", what
        index, counts = numbers[number], mask["counts"]
        try:
            images.check_size(mask["size"], size, "a mask", "the frames are")
        except ValueError as error:
            return "mask", str(error)
        if instance in frames[index]:
            return "identity", f"object {instance} for a second time in this frame."
        if category == mots_txt.IGNORE and index in ignore:
            return "identity", "a second region to ignore in this frame; unite them."
        if category == mots_txt.IGNORE:
            ignore[index] = counts
        elif category not in KITTI_MOTS:
            return "category", (
                f"class {category}; known are {KITTI_MOTS} and "
                f"{mots_txt.IGNORE}, ignored."
            )
        elif categories.setdefault(instance, category) != category:
            return "identity", (
                f"object {instance} is of class {category} here and of class "
                f"{categories[instance]} before; an object keeps its class."
            )
        else:
            frames[index][instance] = counts
        return None

    for count, line in enumerate(files.read_text(path).splitlines(), start=1):
        if line.strip() and (fault := add(line)):
            report(readers.Fault(f"{path}, line {count}", *fault))
    return encoded_video.RleLabels(
        categories, frames, size=size, name=str(path), ignore=ignore
    )


def _png_labels(
    folder: pathlib.Path, numbers: dict[int, int]
) -> encoded_video.PngLabels:
    paths = folders.image_files(folder)
    masks = {number: paths[index] for number, index in _frame_numbers(paths).items()}
    return encoded_video.PngLabels([masks.get(number) for number in numbers], _meaning)


def _meaning(numbers: np.ndarray) -> encoded_video.FrameLabels:
    masks = encoded_video.masks_of(numbers)
    ignored = [
        masks.pop(n)
        for n in list(masks)
        if n // mots_txt.IDS_PER_CLASS == mots_txt.IGNORE
    ]
    if unknown := [n for n in masks if n // mots_txt.IDS_PER_CLASS not in KITTI_MOTS]:
        raise encoded_video.UnclearLabels(
            f"holds the number {unknown[0]}; objects are numbered 1000 * class + n, of "
            f"class {', '.join(map(str, [*KITTI_MOTS, mots_txt.IGNORE]))}"
        )
    return encoded_video.FrameLabels(
        masks,
        {n: n // mots_txt.IDS_PER_CLASS for n in masks},
        np.any(ignored, axis=0) if ignored else None,
    )
