"""The tracks of a video as the result files need them."""

from typing import NamedTuple, TypedDict


class Rle(TypedDict):
    """A COCO run-length encoded mask, as pycocotools reads and writes it."""

    size: tuple[int, int]  # height, width
    counts: bytes


class Track(NamedTuple):
    """One object over a video."""

    id: int
    category: int  # as the result file numbers it; 0 where the task has none
    score: float
    segmentations: tuple[Rle | None, ...]  # one per frame; None: not in this frame


class VideoTracks(NamedTuple):
    """The tracks of one video, in the order in which they are painted."""

    name: str
    height: int
    width: int
    num_frames: int
    tracks: tuple[Track, ...]
