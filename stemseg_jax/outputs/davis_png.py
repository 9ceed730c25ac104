"""DAVIS results: a folder a sequence, a palette PNG a frame, labels in its pixels."""

import pathlib
import shutil

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from stemseg_jax.outputs import rle
from stemseg_jax.tracks import VideoTracks

MAX_OBJECTS = 20  # DAVIS 2019, per sequence
VOID = 255


def palette() -> UInt8[np.ndarray, "256 3"]:
    """The colours of Pascal VOC: bits 0, 3, 6 of a label are red, 1, 4, 7 green, ..."""
    labels = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        place = 7 - bit // 3  # most significant first
        colours[:, bit % 3] |= ((labels >> bit & 1) << place).astype(np.uint8)
    return colours


def write(
    folder: pathlib.Path, video: VideoTracks, *, max_objects: int = MAX_OBJECTS
) -> pathlib.Path:
    """Writes `folder/<video>/00000.png` and on, and gives that folder.

    A pixel holds the id of its track; of several, the last painted. Without tracks all
    frames are background. The folder appears once it is complete and checked, and
    replaces an older one.

    Raises:
        ValueError: Ids that are not unique or not in 1..max_objects, or masks of
            another size or number than the frames.
    """
    for number, track in enumerate(video.tracks):
        if not 1 <= track.id <= max_objects:
            raise ValueError(
                f"video {video.name}: track id {track.id} is not in 1..{max_objects}; "
                "keep the best tracks and number them from 1"
            )
        if track.id in [other.id for other in video.tracks[:number]]:
            raise ValueError(f"video {video.name}: two tracks have the id {track.id}")
        if len(track.segmentations) != video.num_frames:
            raise ValueError(
                f"video {video.name}, track {track.id}: {len(track.segmentations)} "
                f"masks for {video.num_frames} frames"
            )
    final = pathlib.Path(folder) / video.name
    partial = final.with_name(f".{video.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for frame in range(video.num_frames):
        write_labels(partial / f"{frame:05d}.png", paint(video, frame))
    check(
        partial,
        height=video.height,
        width=video.width,
        num_frames=video.num_frames,
        max_objects=max_objects,
    )
    if final.exists():
        shutil.rmtree(final)
    partial.rename(final)
    return final


def paint(video: VideoTracks, frame: int) -> UInt8[np.ndarray, "H W"]:
    """The label map of one frame; later tracks lie over earlier ones."""
    labels = np.zeros((video.height, video.width), np.uint8)
    for track in video.tracks:
        mask = track.segmentations[frame]
        if mask is None:
            continue
        if tuple(mask["size"]) != labels.shape:
            raise ValueError(
                f"video {video.name}, frame {frame}, track {track.id}: a mask of size "
                f"{tuple(mask['size'])} in a frame of {labels.shape}"
            )
        labels[rle.decode(mask)] = track.id
    return labels


def write_labels(file: pathlib.Path, labels: UInt8[np.ndarray, "H W"]) -> None:
    image = Image.fromarray(labels)
    image.putpalette(palette().ravel().tolist())
    image.save(file)


def read_labels(file: pathlib.Path) -> UInt8[np.ndarray, "H W"]:
    """The labels of a palette or grey PNG.

    Raises:
        ValueError: No such file, no image, or an image in colour.
    """
    try:
        with Image.open(file) as image:
            if image.mode not in ("P", "L", "1"):
                raise ValueError(
                    f"{file}: an image of mode {image.mode}; expected a PNG with a "
                    "palette, whose pixels are labels and not colours"
                )
            labels = np.asarray(image)
    except (FileNotFoundError, UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{file}: no readable label image ({error})") from error
    return labels.astype(np.uint8, copy=False)


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
    expected = [f"{frame:05d}.png" for frame in range(num_frames)]
    found = sorted(file.name for file in folder.glob("*.png"))
    if found != expected:
        missing = sorted({*expected} - {*found}) or ["none"]
        extra = sorted({*found} - {*expected}) or ["none"]
        raise ValueError(
            f"{folder}: {len(found)} frames, expected {num_frames}; the first missing "
            f"is {missing[0]}, the first too many {extra[0]}"
        )
    for name in expected:
        labels = read_labels(folder / name)
        if labels.shape != (height, width):
            raise ValueError(
                f"{folder / name}: size {labels.shape}, expected {(height, width)}"
            )
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
