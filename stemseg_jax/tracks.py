"""What crosses between a system and the host: frames in, labels and tracks out.

Of one video; T frames, H W its size, h w that of a label map, C classes.
"""

import types
from collections.abc import (
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int32, UInt8

from stemseg_jax.formats import rle
from stemseg_jax.geometry import Geometry


class Frame(NamedTuple):
    """One frame of a video on its way into `System.track`."""

    index: int  # counted from 0, without gaps
    image: UInt8[np.ndarray, "H W 3"]  # RGB
    # The annotation, for who asks what a method would do if it knew a part of it: the
    # number of each pixel's instance, from 1, the same in all frames; 0 is background.
    # None: there is none, or the frame is not of an evaluation.
    truth: Callable[[], Int32[np.ndarray, "H W"]] | None = None


class Stage(NamedTuple):
    """A part of `System.track` as it runs there, to be timed on its own.

    `function(*arguments)` does what is to be done for `frames` frames.
    """

    name: str
    function: Callable
    arguments: tuple
    frames: int
    # Where that is no function that XLA can see through, one that is, with arguments:
    # the same work for one frame.
    one_frame: tuple[Callable, tuple] | None = None
    counted: bool = True  # False: it is made of loops, whose FLOPs XLA does not count


Stages = Generator[Stage, Any, Any]  # takes what each stage gives


def of_one_size(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The same frames.

    Raises:
        ValueError: At the first frame whose size is not that of the video's first.
    """
    first = None
    for frame in frames:
        size = frame.image.shape[:2]
        first = first or size
        if size != first:
            raise ValueError(
                f"Frame {frame.index} is {size}, but the video began with {first} "
                "(height, width). All frames of a video must have one size: resize "
                "them or split the video."
            )
        yield frame


class LabelledFrames(NamedTuple):
    """Frames whose labels are final."""

    first: int  # index of the first of these frames
    labels: Int32[np.ndarray, "T h w"]  # track ids from 1; 0 background, -1 unassigned
    geometry: Geometry
    depth: Float[np.ndarray, "T h w"] | None = None  # where the system estimates it
    # What the network says, at stride 4, if it was asked for: name -> its map.
    maps: Mapping[str, Float[np.ndarray, "T _ _ _"]] | None = None


class TrackStatistics(NamedTuple):
    """What `System.track` knows of one track once the video has ended."""

    pixels: int  # label-map cells over all frames
    first: int  # first frame with such a cell
    last: int
    logits: Float[np.ndarray, "C"] | None = None  # mean, background first
    votes: Int32[np.ndarray, "C"] | None = None  # cells whose best class is c
    score: float | None = None  # the system's own confidence in [0, 1], if it has one
    scored_by: str = "size"  # what the score is, in a word
    evidence: Mapping[str, float] = types.MappingProxyType({})  # each in [0, 1]
    joined: tuple[int, ...] = ()  # frames at which it came back under another label


LabelStream = Generator[LabelledFrames, None, dict[int, TrackStatistics]]
Tracker = Callable[[Iterator[Frame]], LabelStream]  # `System.track` with its variables


class Track(NamedTuple):
    """One object over a video."""

    id: int
    category: int  # as the result file numbers it; 0 where the task has none
    score: float
    segmentations: Sequence[rle.Rle | None]  # one per frame; None: not in this frame


class VideoTracks(NamedTuple):
    """The tracks of one video, in the order in which they are painted."""

    name: str
    height: int
    width: int
    num_frames: int
    tracks: tuple[Track, ...]
