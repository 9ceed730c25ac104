"""When each object of a video is seen: a time line, a lane an object."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from stemseg_jax.outputs import colours
from stemseg_jax.tracks import Track

FINEST = 1000  # shares of a video; shorter gaps would not be seen


class Span(NamedTuple):
    """Frames one after the other in which an object is seen."""

    first: int
    last: int
    left: float  # of the whole time, from 0 to 1
    width: float


class Lane(NamedTuple):
    """One object."""

    id: int
    name: str
    colour: str  # as CSS has it; the one it is drawn in
    score: float | None  # None: not known
    frames: int  # in which it is seen
    spans: tuple[Span, ...]
    heights: tuple[float, ...] = ()  # how well it fits in each frame, from 0 to 1


def lanes(
    tracks: Sequence[Track], names: Mapping[int, str], times: Sequence[float | int]
) -> list[Lane]:
    """The lanes of tracks, in their order.

    Args:
        names: Of categories.
        times: When each frame begins, in any unit, and when the last one ends.
    """
    return [_lane(track, names.get(track.category, ""), times) for track in tracks]


def _lane(track: Track, name: str, times: Sequence[float | int]) -> Lane:
    seen = np.array([mask is not None for mask in track.segmentations], bool)
    begin, length = times[0], times[-1] - times[0]
    spans = (
        Span(
            *(first, last, (times[first] - begin) / length),
            (times[last + 1] - times[first]) / length,
        )
        for first, last in runs(seen, gap=len(seen) // FINEST)
    )
    return Lane(
        id=track.id,
        name=name.replace("_", " "),
        colour="#{:02x}{:02x}{:02x}".format(*colours.of_id(track.id)),
        score=None if np.isnan(track.score) else float(track.score),
        frames=int(seen.sum()),
        spans=tuple(spans),
    )


def runs(seen: Bool[np.ndarray, "T"], *, gap: int = 0) -> list[tuple[int, int]]:
    """The first and last frame of each run of True; gaps up to `gap` end none."""
    frames = np.flatnonzero(seen)
    if not len(frames):
        return []
    ends = np.flatnonzero(np.diff(frames) > gap + 1)
    firsts, lasts = frames[[0, *ends + 1]], frames[[*ends, -1]]
    return list(zip(firsts.tolist(), lasts.tolist(), strict=True))
