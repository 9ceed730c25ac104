"""Frames as a video in memory, small enough to lie in a page."""

import io
import pathlib
import tempfile
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import PIL.Image
from jaxtyping import UInt8

from stemseg_jax.outputs import video

QUALITY = 28  # constant rate factor: half the bytes of one that looks lossless
POSTER_QUALITY = 80  # of JPEG

Timed = tuple[UInt8[np.ndarray, "H W 3"], float]  # an image and its second


class Film(NamedTuple):
    mp4: bytes
    poster: bytes  # a frame as JPEG
    height: int
    width: int


def film(frames: Iterable[Timed], *, fps: float | int, poster: int = 0) -> Film:
    """H.264 of RGB frames of one size, each with its time.

    Args:
        fps: The last frame is shown for one over it.
        poster: The frame that stands for the others while nothing plays; without it,
            the first.

    Raises:
        ValueError: There is no frame, or one of another size.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "film.mp4")
        still = None
        with video.Writer(path, fps=fps, quality=QUALITY) as writer:
            for index, (image, time) in enumerate(frames):
                writer.write(image, time)
                if still is None or index == poster:
                    still = image
        height, width = still.shape[:2]
        return Film(path.read_bytes(), _jpeg(still), height, width)


def _jpeg(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(image).save(stream, "JPEG", quality=POSTER_QUALITY)
    return stream.getvalue()
