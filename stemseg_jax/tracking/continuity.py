"""What holds a video together that a system would let fall apart, and the reverse:
tracks end at cuts, and last through absences."""

import dataclasses
from collections.abc import Callable, Iterator

from stemseg_jax.tracking import rejoining, shots
from stemseg_jax.tracks import Frame, Labelling, Tracker


@dataclasses.dataclass(frozen=True, kw_only=True)
class Continuity:
    """By default a system's labels stay as they are.

    Args:
        cuts: Finds those at which all tracks end. None: there are none.
        absences: After which a track goes on, within its shot.
        across_shots: Also after other shots, e.g. where two cameras take turns.
    """

    cuts: shots.Detector | None = None
    absences: rejoining.Rejoining = rejoining.Rejoining()
    across_shots: bool = False


def labelled(
    track: Tracker, frames: Iterator[Frame], settings: Continuity
) -> Labelling:
    """What `track` says of the frames, with tracks cut and joined.

    Parts come out as promptly as from `track`, but for frames that may begin a shot;
    memory does not grow with the length of the video.

    Raises:
        ValueError: If there is no frame, or frames differ in size.
    """

    steps = [_cutting(settings.cuts), _joining(settings.absences)]
    for step in steps if settings.across_shots else reversed(steps):
        track = step(track)
    return (yield from track(frames))


def _cutting(detector: shots.Detector | None) -> Callable[[Tracker], Tracker]:
    if detector is None:
        return lambda track: track
    return lambda track: lambda frames: shots.by_shot(track, frames, detector)


def _joining(settings: rejoining.Rejoining) -> Callable[[Tracker], Tracker]:
    return lambda track: lambda frames: rejoining.rejoined(track, frames, settings)
