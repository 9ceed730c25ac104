"""Image files to arrays: RGB frames and label maps."""

import io
import pathlib
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
import PIL.Image
from jaxtyping import UInt8, UInt16

from stemseg_jax.data import readers

# OpenCV fills the lost part of a cut JPEG with grey and reports nothing.
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"


@runtime_checkable
class File(Protocol):
    """A `pathlib.Path`, or what lies in a larger file; `str` of it says where."""

    def read_bytes(self) -> bytes: ...


def read_rgb(path: File) -> UInt8[np.ndarray, "H W 3"]:
    """The image of a file; pixels as stored, whatever EXIF says about orientation."""
    return decode_rgb(read_bytes(path), name=str(path))


def read_bytes(path: File) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise readers.BrokenSample(
            f"{path}: cannot be read ({error.strerror}). Restore the file or its "
            f"permissions, or set config.data.skip_broken=True."
        ) from error


def decode_rgb(data: bytes, *, name: str) -> UInt8[np.ndarray, "H W 3"]:
    """The pixels of an encoded image; `name` is where it came from, for errors."""
    if data.startswith(JPEG_START) and not data.rstrip(b"\0").endswith(JPEG_END):
        _refuse_cut_jpeg(data, name=name)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    if image is None:
        raise readers.BrokenSample(
            f"{name}: not an image that can be decoded ({len(data)} bytes). Copy the "
            f"file again, or set config.data.skip_broken=True."
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def _refuse_cut_jpeg(data: bytes, *, name: str):
    """Raises unless only something harmless follows the end of the image."""
    try:
        PIL.Image.open(io.BytesIO(data)).load()
    except OSError as error:
        raise readers.BrokenSample(
            f"{name}: the JPEG is cut short ({len(data)} bytes). Copy the file again, "
            f"or set config.data.skip_broken=True."
        ) from error


def read_labels(
    path: File,
) -> UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"]:
    """The numbers stored in a palette, 8-bit or 16-bit grey PNG."""
    data = read_bytes(path)
    try:
        image = PIL.Image.open(io.BytesIO(data))
        # Pillow reads 16-bit grey PNGs as int32 ("I") in some releases.
        kind = np.uint16 if image.mode.startswith("I") else np.uint8
        labels = np.asarray(image).astype(kind)
    except (OSError, SyntaxError) as error:
        raise readers.BrokenSample(
            f"{path}: not a PNG that can be decoded ({error}). Copy the file again, or "
            f"set config.data.skip_broken=True."
        ) from error
    if labels.ndim != 2:
        raise readers.BrokenSample(
            f"{path}: mode {image.mode}, expected a palette or grey PNG with one "
            f"number per pixel. Save masks with their palette, not as colours."
        )
    return labels


def size(path: pathlib.Path) -> tuple[int, int]:
    """(height, width) from the header alone."""
    try:
        with PIL.Image.open(path) as image:
            return image.height, image.width
    except OSError as error:
        raise readers.BrokenSample(
            f"{path}: not an image that can be opened ({error}). Copy the file again."
        ) from error
