"""Cuts and absences together: red, gone, red again, and then another picture."""

import numpy as np
import pytest

from stemseg_jax.geometry import Geometry
from stemseg_jax.tracking import continuity, rejoining, shots
from stemseg_jax.tracks import Frame, LabelledFrames, TrackStatistics

SIZE = (72, 128)
GEOMETRY = Geometry(original=SIZE, resized=SIZE, labels=SIZE, stride=1)
RED = np.uint8([220, 20, 20])
CUTS = shots.Detector()
ABSENCES = rejoining.Rejoining(max_absence=10)


def scene(kind):
    rng = np.random.default_rng(ord(kind))
    coarse = rng.integers(0, 100, (9, 16, 3)) + rng.integers(0, 156, 3)
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


def video(kinds):
    """Upper case: with a red square."""
    for index, kind in enumerate(kinds):
        image = scene(kind.lower())
        if kind.isupper():
            image[20:40, 50:70] = RED
        yield Frame(index, image)


def track(frames):
    """The red square, with a new label from 1 each time it comes."""
    tracks, visible, label, frame = {}, False, 0, None
    for frame in frames:
        mask = (frame.image == RED).all(axis=-1)
        label += int(mask.any() and not visible)
        visible = bool(mask.any())
        if visible:
            pixels, first, _ = tracks.get(label, (0, frame.index, 0))[:3]
            pixels += int(mask.sum())
            tracks[label] = TrackStatistics(pixels, first, frame.index)
        labels = np.where(mask, label, 0).astype(np.int32)[None]
        yield LabelledFrames(frame.index, labels, GEOMETRY)
    if frame is None:
        raise ValueError("The video has no frames.")
    return tracks


def run(kinds, settings):
    labels = []
    labelled = continuity.labelled(track, video(kinds), settings)
    while True:
        try:
            labels += [int(frame.max()) for frame in next(labelled).labels]
        except StopIteration as end:
            return labels, end.value


KINDS = "AAAaaAAABBBbBB"


@pytest.mark.parametrize(
    ("cuts", "absences", "expected"),
    [
        (None, 0, [1, 1, 1, 0, 0, 2, 2, 2, 2, 2, 2, 0, 3, 3]),
        (CUTS, 0, [1, 1, 1, 0, 0, 2, 2, 2, 3, 3, 3, 0, 4, 4]),
        (None, 10, [1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 1, 1]),
        (CUTS, 10, [1, 1, 1, 0, 0, 1, 1, 1, 2, 2, 2, 0, 2, 2]),
    ],
)
def test_tracks_end_at_cuts_and_last_through_absences(cuts, absences, expected):
    settings = continuity.Continuity(
        cuts=cuts,
        absences=rejoining.Rejoining(max_absence=absences),
    )
    labels, tracks = run(KINDS, settings)
    assert labels == expected
    assert list(tracks) == sorted({label for label in expected if label})
    for label, known in tracks.items():
        frames = [index for index, other in enumerate(labels) if other == label]
        assert known.pixels == 400 * len(frames)
        assert (known.first, known.last) == (frames[0], frames[-1])


def test_joins_are_told_in_frames_of_the_video():
    settings = continuity.Continuity(cuts=CUTS, absences=ABSENCES)
    _, tracks = run(KINDS, settings)
    assert [known.joined for known in tracks.values()] == [(5,), (12,)]


@pytest.mark.parametrize("kinds", ["a", "A", "aaaa", "aB"])
def test_short_and_empty_videos(kinds):
    settings = continuity.Continuity(cuts=CUTS, absences=ABSENCES)
    labels, tracks = run(kinds, settings)
    assert [label > 0 for label in labels] == [kind.isupper() for kind in kinds]
    assert len(tracks) == sum(kind.isupper() for kind in kinds)


def test_no_frames_are_refused_as_by_the_system():
    with pytest.raises(ValueError, match="no frames"):
        run("", continuity.Continuity(cuts=CUTS, absences=ABSENCES))
