"""Image files: RGB frames, label maps with their palette, and where they lie."""

import io
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import PIL.Image
from jaxtyping import UInt8, UInt16

from stemseg_jax.formats import whole

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
# OpenCV fills the lost part of a cut JPEG with grey and reports nothing.
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"


@runtime_checkable
class File(Protocol):
    """A `pathlib.Path`, or what lies in a larger file; `str` of it says where."""

    def read_bytes(self) -> bytes: ...


class BrokenImageError(ValueError):
    """An image that cannot be read, or is not of the kind that was expected."""


def is_image(path: pathlib.Path) -> bool:
    """By its ending; hidden files are none."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def natural(paths: Iterable[str | pathlib.Path]) -> list[pathlib.Path]:
    """Sorted with numbers by value: 2 before 10."""

    def key(path: pathlib.Path):
        parts = re.split(r"(\d+)", str(path))  # words at even places, numbers at odd
        return [int(p) if i % 2 else p for i, p in enumerate(parts)], str(path)

    return sorted(map(pathlib.Path, paths), key=key)


def check_size(
    size: Sequence[int], expected: Sequence[int], where: object, others: str
) -> None:
    """Refuses an image or mask that is not as large as the video it belongs to.

    Args:
        size: Like `expected` (height, width).
        others: What has the expected size, e.g. "the frames before it are".

    Raises:
        BrokenImageError: Names both.
    """
    if tuple(size) != tuple(expected):
        raise BrokenImageError(
            f"{where} is {size[0]} x {size[1]} (height x width), but {others} "
            f"{expected[0]} x {expected[1]}. Expected one size per video."
        )


def size(path: pathlib.Path) -> tuple[int, int]:
    """(height, width) from the header alone."""
    try:
        with PIL.Image.open(path) as image:
            return image.height, image.width
    except OSError as error:
        raise BrokenImageError(
            f"{path}: not an image that can be opened ({error}). Copy the file again."
        ) from error


def read_rgb(path: File) -> UInt8[np.ndarray, "H W 3"]:
    """The image of a file; pixels as stored, whatever EXIF says about orientation."""
    return decode_rgb(read_bytes(path), name=str(path))


def read_bytes(path: File) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BrokenImageError(
            f"{path}: cannot be read ({error.strerror}). Restore the file or its "
            "permissions."
        ) from error


def decode_rgb(data: bytes, *, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of an encoded image; `name` is where it came from, for errors."""
    if data.startswith(JPEG_START) and not data.rstrip(b"\0").endswith(JPEG_END):
        _refuse_cut_jpeg(data, name=name)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise BrokenImageError(
            f"{name}: not an image that can be decoded ({len(data)} bytes). Copy the "
            "file again."
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _refuse_cut_jpeg(data: bytes, *, name: str):
    """Raises unless only something harmless follows the end of the image."""
    try:
        PIL.Image.open(io.BytesIO(data)).load()
    except OSError as error:
        raise BrokenImageError(
            f"{name}: the JPEG is cut short ({len(data)} bytes). Copy the file again."
        ) from error


def write_png(
    path: str | pathlib.Path, image: UInt8[np.ndarray, "H W 3"]
) -> pathlib.Path:
    """Writes an RGB image, which appears once complete."""
    with whole.file(path) as partial:
        PIL.Image.fromarray(image).save(partial, "PNG", optimize=True)
    return pathlib.Path(path)


def read_labels(
    path: File, *, bits: int = 16
) -> UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"]:
    """The numbers stored in a palette or grey PNG, as many bits as the file has.

    Args:
        bits: 8 refuses a PNG of 16.
    """
    data = read_bytes(path)
    try:
        image = PIL.Image.open(io.BytesIO(data))
        # Pillow reads 16-bit grey PNGs as int32 ("I") in some releases.
        deep = image.mode.startswith("I")
        labels = np.asarray(image).astype(np.uint16 if deep else np.uint8, copy=False)
    except (OSError, SyntaxError) as error:
        raise BrokenImageError(
            f"{path}: not a PNG that can be decoded ({error}). Copy the file again."
        ) from error
    if labels.ndim != 2 or (deep and bits < 16):
        raise BrokenImageError(
            f"{path}: an image of mode {image.mode}, expected a palette or grey PNG "
            f"with one number of {bits} bits per pixel. Save masks with their palette, "
            "not as colours."
        )
    return labels


def write_labels(file: pathlib.Path, labels: UInt8[np.ndarray, "H W"]) -> None:
    """Writes numbers with their colours."""
    image = PIL.Image.fromarray(labels)
    image.putpalette(palette().tobytes())
    image.save(file)


def palette() -> UInt8[np.ndarray, "256 3"]:
    """The colours of DAVIS and Pascal VOC.

    Bits 0, 3, 6 of a label are red, 1, 4, 7 green, 2, 5 blue; the first is the highest.
    """
    labels = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        colours[:, bit % 3] |= ((labels >> bit & 1) << 7 - bit // 3).astype(np.uint8)
    return colours
