"""What travels between the stages, with its shapes.

B clips, T frames, H W image size, h w feature size, N padded instances, K track slots,
C classes. Coordinates and axes run (t, y, x).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int32, UInt8

Scalar = Float[Array, ""]


class ClipBatch(NamedTuple):
    """Training clips of one fixed shape.

    Slots beyond a clip's own instances have `valid` False, empty masks and category 0.
    """

    frames: UInt8[Array, "B T H W 3"]  # RGB
    masks: Bool[Array, "B N T H W"]
    valid: Bool[Array, "B N"]
    categories: Int32[Array, "B N"]  # 1..C-1; 0 is background
    ignore: Bool[Array, "B T H W"]  # excluded from losses


class LossReport(NamedTuple):
    """Each term of a loss, as it stands and as it counts.

    The terms' names are the keys; `total = sum(weights[k] * terms[k])`.
    """

    terms: dict[str, Scalar]
    weights: dict[str, float]

    def total(self) -> Scalar:
        return sum(self.weights[name] * term for name, term in self.terms.items())


class Frame(NamedTuple):
    """One frame of a video on its way into `System.track`."""

    index: int  # counted from 0, without gaps
    image: UInt8[np.ndarray, "H W 3"]  # RGB


class Geometry(NamedTuple):
    """How a label map lies over the original frame; all sizes are (height, width).

    A map of size `labels` covers the padded network input. It is enlarged by `stride`
    to the padded size, cropped to `resized` and brought to `original`.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    labels: tuple[int, int]
    stride: int


class LabelledFrames(NamedTuple):
    """Frames whose labels are final."""

    first: int  # index of the first of these frames
    labels: Int32[np.ndarray, "T h w"]  # track ids from 1; 0 background, -1 unassigned
    geometry: Geometry


class TrackStatistics(NamedTuple):
    """What `System.track` knows of one track once the video has ended."""

    pixels: int  # label-map cells over all frames
    first: int  # first frame with such a cell
    last: int
    logits: Float[np.ndarray, "C"] | None  # mean class logits, background first
    votes: Int32[np.ndarray, "C"] | None  # cells whose best class is c

    @property
    def lifetime(self) -> int:
        """Frames between first and last appearance; 0 for a single frame."""
        return self.last - self.first
