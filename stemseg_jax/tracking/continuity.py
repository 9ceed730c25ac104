"""What holds a video together that a system would let fall apart, and the reverse:
tracks end at cuts, and last through absences."""

import dataclasses
from collections.abc import Iterator

from stemseg_jax.tracking import rejoining, shots
from stemseg_jax.tracks import Frame, LabelStream, Tracker


@dataclasses.dataclass(frozen=True, kw_only=True)
class Continuity:
    """By default a system's labels stay as they are.

    Args:
        cuts: Finds those at which all tracks end. None: there are none.
        absences: After which a track goes on, within its shot.
    """

    cuts: shots.Detector | None = None
    absences: rejoining.Rejoining = rejoining.Rejoining()


def labelled(
    track: Tracker, frames: Iterator[Frame], settings: Continuity
) -> LabelStream:
    """What `track` says of the frames, with tracks cut and joined.

    Parts come out as promptly as from `track`, but for frames that may begin a shot;
    memory does not grow with the length of the video.

    Raises:
        ValueError: If there is no frame, or frames differ in size.
    """

    def joined(frames: Iterator[Frame]) -> LabelStream:
        return rejoining.rejoined(track, frames, settings.absences)

    if settings.cuts is None:
        return (yield from joined(frames))
    return (yield from shots.by_shot(joined, frames, settings.cuts))
