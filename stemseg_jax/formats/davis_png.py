"""DAVIS: lists of sequences, and a folder a sequence with a palette PNG a frame."""

import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from stemseg_jax.formats import files, images

MAX_OBJECTS = 20  # DAVIS 2019, per sequence
VOID = 255
ANNOTATIONS = {
    2016: "Annotations",
    2017: "Annotations",
    2019: "Annotations_unsupervised",
}


def sequences(root: pathlib.Path, split: str, *, lists: Sequence[str]) -> list[str]:
    """The sequences of a split.

    Args:
        lists: Folders of `ImageSets`; the first that has the split's list counts. That
            of "480p" (2016) has a frame a line, the others a sequence.
    """
    paths = [root / "ImageSets" / name / f"{split}.txt" for name in lists]
    file = next((path for path in paths if path.is_file()), None)
    if file is None:
        raise ValueError(
            f"{root}: expected {' or '.join(str(f.relative_to(root)) for f in paths)} "
            f"for split {split!r}; none of them exists. docs/data.md shows the layouts."
        )
    names = []
    for line in files.read_text(file).splitlines():
        if line.strip():
            path = pathlib.PurePosixPath(line.split()[0])
            names.append(path.parent.name if path.suffix else path.name)
    if not names:
        raise ValueError(f"{file}: lists no sequence, expected one name a line")
    return list(dict.fromkeys(names))


def frame_name(index: int) -> str:
    return f"{index:05d}.png"


def read_frames(
    folder: pathlib.Path, names: Sequence[str], size: tuple[int, int] | None = None
) -> Iterator[UInt8[np.ndarray, "H W"]]:
    """The label maps of a sequence, all of one size, one at a time.

    Raises:
        ValueError: A file that is missing, no label image of 8 bits, or of another
            size than (height, width) or the first.
    """
    for name in names:
        labels = images.read_labels(folder / name, bits=8)
        size = size or labels.shape
        images.check_size(labels.shape, size, folder / name, "the sequence is")
        yield labels


def check(
    folder: pathlib.Path,
    *,
    height: int,
    width: int,
    num_frames: int,
    max_objects: int = MAX_OBJECTS,
) -> None:
    """Refuses a sequence that the DAVIS server would refuse or read otherwise.

    Raises:
        ValueError: Missing frames, frames too many, of another size, or in colour; void
            pixels; labels above `max_objects`.
    """
    folder = pathlib.Path(folder)
    expected = [frame_name(frame) for frame in range(num_frames)]
    found = [file.name for file in files.listed(folder, "*.png")]
    if found != expected:
        missing = sorted({*expected} - {*found}) or ["none"]
        extra = sorted({*found} - {*expected}) or ["none"]
        raise ValueError(
            f"{folder}: {len(found)} frames, expected {num_frames}; the first missing "
            f"is {missing[0]}, the first too many {extra[0]}"
        )
    frames = read_frames(folder, expected, (height, width))
    for name, labels in zip(expected, frames, strict=True):
        check_labels(labels, folder / name, max_objects=max_objects)


def check_labels(
    labels: UInt8[np.ndarray, "H W"],
    where: str | pathlib.Path,
    *,
    max_objects: int = MAX_OBJECTS,
) -> None:
    highest = int(labels.max(initial=0))
    if highest == VOID:
        raise ValueError(f"{where}: pixels of 255; a result has no void")
    if highest > max_objects:
        raise ValueError(
            f"{where}: label {highest}, but at most {max_objects} objects are allowed"
        )
