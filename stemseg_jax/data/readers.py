"""What a dataset reader gives: lazy videos with their annotations.

A still image is a video of one frame. T frames, H W image size, N instances.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

# Python 3.11's own Protocol evaluates properties to see whether they are there, and
# `annotated_frames` may read every mask of a video.
from typing_extensions import Protocol, runtime_checkable


class BrokenSample(ValueError):
    """A sample that cannot be read; `config.data.skip_broken` leaves it out."""


class Fault(NamedTuple):
    """What is wrong with a dataset, and where."""

    where: str  # file, video, frame or annotation
    kind: str  # "frame", "mask", "identity", "category", "annotation", "box", "name"
    what: str


Report = Callable[[Fault], None]


def refuse(fault: Fault):
    """The `report` of training: the first fault ends the reading."""
    raise ValueError(f"{fault.where}: {fault.what}")


def told(report: Report) -> Callable[[str, str, str], None]:
    """The same for what reads a file's format, and knows no `Fault`."""
    return lambda *fault: report(Fault(*fault))


# A camera's matrix: K (X, Y, Z) is the pixel (x, y, 1) times Z, where X points right, Y
# down and Z forwards, and the centre of the upper left pixel is (0, 0).
Intrinsics = Float[np.ndarray, "3 3"]


class RawClip(NamedTuple):
    """Frames of one video, with every instance seen in them."""

    frames: UInt8[np.ndarray, "T H W 3"]  # RGB
    ids: Int[np.ndarray, "N"]  # ascending
    categories: Int[np.ndarray, "N"]
    masks: Bool[np.ndarray, "N T H W"]
    ignore: Bool[np.ndarray, "T H W"]
    intrinsics: Float[np.ndarray, "T 3 3"] | None = None  # None: not known
    clean: UInt8[np.ndarray, "T H W 3"] | None = None  # before colours were changed
    dropped: int = 0  # instances that were left out, and are ignored


@runtime_checkable
class Video(Protocol):
    """One video; nothing is decoded before `clip` or `frame` is called.

    Videos are pickled into worker processes, so they hold paths and not pixels.
    """

    name: str
    height: int
    width: int
    num_frames: int
    annotated: bool
    intrinsics: Intrinsics | None  # None: not known

    @property
    def categories(self) -> Mapping[int, int]:
        """Category of each instance id; empty without annotations."""
        ...

    @property
    def annotated_frames(self) -> Sequence[int]:
        """The frames with at least one instance, ascending."""
        ...

    def instances(self, index: int) -> Collection[int]:
        """Ids of the instances of a frame, read without decoding its image."""
        ...

    def clip(self, indices: Sequence[int]) -> RawClip:
        """The frames at `indices`, in this order, with all instances seen in them."""
        ...

    def frame(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        """The image alone, RGB."""
        ...


class Dataset(NamedTuple):
    name: str
    categories: Mapping[int, str]  # from 1, as result files number them
    videos: Sequence[Video]
    exhaustive: bool = True  # False: unlabelled objects may exist (as in DAVIS)
    max_gap: int | None = None  # frames without instances that a clip may leap over
