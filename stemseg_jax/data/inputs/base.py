"""What every source of frames gives."""

import pathlib
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from stemseg_jax.formats import images

DEFAULT_FPS = Fraction(24)  # of frames that come without a clock; DAVIS is shown so


class InputFrame(NamedTuple):
    index: int  # among the chosen frames, from 0 without gaps
    image: UInt8[np.ndarray, "H W 3"]  # RGB
    time: float  # seconds from the first frame of the whole source; grows strictly


@runtime_checkable
class InputVideo(Protocol):
    """The chosen frames in order, RGB, upright, all of one size."""

    name: str
    height: int
    width: int
    fps: Fraction  # nominal rate of the chosen frames
    num_frames: int | None  # chosen; of a video file an estimate, a few off
    sound: pathlib.Path | None  # the file that has it
    live: bool  # whether it can be read once only

    def __iter__(self) -> Iterator[InputFrame]:
        """Each call starts at the front; of a live source the second raises."""
        ...


class BrokenVideoError(ValueError):
    """A video that cannot be read to its end.

    Args:
        read: How many frames were given before.
        promised: How many there should be, as far as that is known.
    """

    def __init__(self, message: str, *, read: int, promised: int | None):
        super().__init__(message)
        self.frames_read = read
        self.frames_promised = promised


def check_size(size: tuple[int, ...], source: InputVideo, where: str) -> None:
    """Refuses a frame that is not as large as those before.

    Raises:
        images.BrokenImageError: Names both sizes.
    """
    expected = source.height, source.width
    images.check_size(size, expected, where, "the frames before it are")
