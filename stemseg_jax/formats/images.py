"""Image files: RGB frames, label maps with their palette, and where they lie."""

import io
import pathlib
import re
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import PIL.ExifTags
import PIL.Image
from jaxtyping import UInt8, UInt16

from stemseg_jax.formats import declared, files, whole

# What a file of this ending holds, in Pillow's words.
FORMATS = {
    ".bmp": ("BMP",),
    ".jpeg": ("JPEG", "MPO"),
    ".jpg": ("JPEG", "MPO"),
    ".png": ("PNG",),
    ".ppm": ("PPM",),
    ".tif": ("TIFF",),
    ".tiff": ("TIFF",),
    ".webp": ("WEBP",),
}
SUFFIXES = tuple(FORMATS)
# Of EXIF's orientations, where 1 is upright: those with height and width exchanged, and
# how those are mirrored then (OpenCV: 0 top and bottom, 1 left and right, -1 both).
SIDEWAYS = (5, 6, 7, 8)
FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
# OpenCV goes on after damage in the others: Pillow has to find them whole, too.
CHECKED = {"JPEG", "MPO", "PNG"}
PNG_START = b"\x89PNG\r\n\x1a\n"
# OpenCV fills the lost part of a cut JPEG with grey and reports nothing.
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"


@runtime_checkable
class File(Protocol):
    """A `pathlib.Path`, or what lies in a larger file; `str` of it says where."""

    def read_bytes(self) -> bytes: ...


class BrokenImageError(ValueError):
    """An image that cannot be read, or is not of the kind that was expected."""


def is_image(path: pathlib.Path) -> bool:
    """By its name."""
    return path.suffix.lower() in SUFFIXES and files.is_data(path)


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


def size(path: pathlib.Path, *, upright: bool = False) -> tuple[int, int]:
    """(height, width) from the header alone; `upright` as for `read_rgb`."""
    with _open(path, name=str(path)) as image:
        if upright and _orientation(image) in SIDEWAYS:
            return image.width, image.height
        return image.height, image.width


def _open(source: pathlib.Path | io.BytesIO, *, name: str) -> PIL.Image.Image:
    """An image of which no more than the header was read, and found to be usable."""
    try:
        if isinstance(source, pathlib.Path):
            files.regular(source)
        image = PIL.Image.open(source)
    except Exception as error:  # Pillow's readers raise whatever a broken file leads to
        # Its words for this one name an object in memory.
        unknown = isinstance(error, PIL.UnidentifiedImageError)
        why = "its format is none that is known" if unknown else error
        raise BrokenImageError(
            f"{name}: not an image that can be opened ({why}). Copy the file again."
        ) from error
    known = FORMATS.get(pathlib.PurePath(name).suffix.lower(), (image.format,))
    if image.format not in known:
        raise BrokenImageError(
            f"{name}: holds a {image.format}, which its ending does not say. Rename "
            "the file, or convert it."
        )
    if fault := declared.size_fault(image.height, image.width):
        raise BrokenImageError(f"{name}: {fault} Shrink the image.")
    return image


def _orientation(image: PIL.Image.Image) -> int:
    """EXIF's; 1, which turns nothing, if that is not there or damaged."""
    if image.format == "TIFF":  # which all readers turn by themselves
        return 1
    try:
        # Not the method of PNG, which decodes the pixels for an EXIF behind them.
        exif = PIL.Image.Image.getexif(image)
        return exif.get(PIL.ExifTags.Base.Orientation, 1)
    except Exception:  # as in `_open`; the pixels are none the worse
        return 1


def read_rgb(path: File, *, upright: bool = False) -> UInt8[np.ndarray, "H W 3"]:
    """The image of a file.

    Args:
        upright: Turn it as EXIF says that the camera was held. Otherwise pixels are as
            stored, which is what the annotations of datasets number.
    """
    return decode_rgb(read_bytes(path), name=str(path), upright=upright)


def read_bytes(path: File) -> bytes:
    try:
        if isinstance(path, pathlib.Path):
            files.regular(path)
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a zero in it
        why = getattr(error, "strerror", error)
        raise BrokenImageError(
            f"{path}: cannot be read ({why}). Restore the file or its permissions."
        ) from error


def decode_rgb(
    data: bytes, *, name: str, upright: bool = False
) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of an encoded image; `name` is where it came from, for errors."""
    image = _open(io.BytesIO(data), name=name)
    orientation = _orientation(image) if upright else 1
    if image.format not in CHECKED:
        try:
            image.load()
        except Exception as error:  # as in `_open`
            raise _undecoded(name, error) from error
    _check_png(data, name=name)
    if data.startswith(JPEG_START) and not data.rstrip(b"\0").endswith(JPEG_END):
        _refuse_cut_jpeg(data, name=name)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise _undecoded(name, error) from error
    if image is None:
        raise _undecoded(name, f"{len(data)} bytes")
    return _turned(cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image), orientation)


def _turned(
    image: UInt8[np.ndarray, "h w 3"], orientation: int
) -> UInt8[np.ndarray, "H W 3"]:
    """An image that was stored in one of EXIF's orientations, upright."""
    if orientation in SIDEWAYS:
        image = cv2.transpose(image)
    return cv2.flip(image, FLIPS[orientation]) if orientation in FLIPS else image


def _undecoded(name: str, why: object) -> BrokenImageError:
    return BrokenImageError(
        f"{name}: not an image that can be decoded ({why}). Copy the file again."
    )


def _check_png(data: bytes, *, name: str) -> None:
    """Compares the checksums of a PNG's chunks, which no decoder here looks at."""
    if not data.startswith(PNG_START):
        return
    position, kind = len(PNG_START), b""
    while kind != b"IEND":
        head = data[position : position + 8]
        if len(head) < 8:
            raise _undecoded(name, "the PNG is cut short")
        length, kind = struct.unpack(">I4s", head)
        end = position + 8 + length
        checksum = data[end : end + 4]
        if zlib.crc32(data[position + 4 : end]).to_bytes(4, "big") != checksum:
            cut = len(data) < end + 4
            part = kind.decode("ascii", "replace")
            why = "the PNG is cut short" if cut else f"the checksum of {part} is wrong"
            raise _undecoded(name, why)
        position = end + 4


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
    image = _open(io.BytesIO(data), name=str(path))
    if image.format != "PNG":
        raise BrokenImageError(
            f"{path}: holds a {image.format}; masks are palette or grey PNGs."
        )
    _check_png(data, name=str(path))
    # Pillow reads 16-bit grey PNGs as int32 ("I") in some releases.
    deep = image.mode.startswith("I")
    try:
        labels = np.asarray(image).astype(np.uint16 if deep else np.uint8, copy=False)
    except Exception as error:  # as in `_open`
        raise _undecoded(str(path), error) from error
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
