"""Cuts, and a system that sees each shot as a video: painted frames, worked by hand."""

import dataclasses

import numpy as np
import pytest

from stemseg_jax.geometry import Geometry
from stemseg_jax.tracking import shots
from stemseg_jax.tracks import Frame, LabelledFrames, TrackStatistics
from tests.drained import drained

SIZE = (72, 128)
GEOMETRY = Geometry(original=SIZE, resized=SIZE, labels=(1, 1), stride=72)
DETECTOR = shots.Detector()


def scene(kind, position=0):
    """Blobs of a hue of their own; they drift with the position, in pixels."""
    rng = np.random.default_rng(ord(kind))
    dark, light = rng.integers(0, 120, 3), rng.integers(120, 256, 3)
    y, x = np.indices(SIZE)
    waves = sum(
        np.sin((y * np.sin(angle) + (x + position) * np.cos(angle)) / length)
        for angle, length in zip(
            rng.uniform(0, 3, 4), rng.uniform(4, 12, 4), strict=True
        )
    )
    weight = np.clip(0.5 + waves[..., None] / 4, 0, 1)
    return (dark + (light - dark) * weight).astype(np.uint8)


def video(kinds, *, speed=2):
    """A letter for each frame; "+": the frame before, in the light of a flash."""
    images = []
    for position, kind in enumerate(kinds):
        if kind == "+":
            images.append(np.clip(images[-1].astype(int) + 140, 0, 255))
        else:
            images.append(scene(kind, speed * position))
    for index, image in enumerate(images):
        yield Frame(index, image.astype(np.uint8))


def starts(kinds, detector=DETECTOR, **options):
    marked = list(detector.marked(video(kinds, **options)))
    assert [frame.index for frame, _ in marked] == list(range(len(kinds)))
    return [frame.index for frame, begins in marked if begins]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ("", []),
        ("a", []),
        ("aaaaaaaa", []),
        ("aaaabbbb", [4]),
        ("abbbbbbb", [1]),  # the first shot has one frame
        ("aaaaaaab", [7]),  # the last shot has one frame
        ("ab", [1]),
        ("aaaabbbbaaaacccc", [4, 8, 12]),
    ],
)
def test_a_frame_of_another_scene_begins_a_shot(kinds, expected):
    assert starts(kinds) == expected


@pytest.mark.parametrize("speed", [0, 3, 8, 15])
def test_motion_is_no_cut(speed):
    assert starts("a" * 12, speed=speed) == []


def test_a_flash_is_no_cut_unless_it_lasts():
    assert starts("aaaa+aaaa") == []
    assert starts("aaaa++aaaa") == []
    assert starts("aaaabaaaa") == []  # nor is one frame of something else
    assert starts("aaaabaaaa", shots.Detector(longest_flash=0)) == [4, 5]
    assert starts("aaaabbbaaaa") == [4, 7]


def test_a_fade_to_black_is_no_cut():
    fading = [scene("a", k) * (1 - k / 12) for k in range(13)]
    frames = [*fading, *reversed(fading)]
    marked = DETECTOR.marked(
        Frame(k, image.astype(np.uint8)) for k, image in enumerate(frames)
    )
    assert not any(begins for _, begins in marked)


def test_in_a_jerky_video_no_jerk_is_a_cut():
    found = starts("abcdefghijklmnopqrst")
    assert not [frame for frame in found if frame > 8]


def test_black_and_one_pixel_frames_are_no_trouble():
    for size in ((1, 1), (5, 700), (72, 128)):
        frames = (Frame(k, np.zeros((*size, 3), np.uint8)) for k in range(3))
        assert [begins for _, begins in DETECTOR.marked(frames)] == [False] * 3


def test_only_a_frame_that_may_begin_a_shot_waits():
    taken = []
    frames = counted(video("aaaabbbb"), taken)
    ahead = [len(taken) - 1 - frame.index for frame, _ in DETECTOR.marked(frames)]
    assert ahead == [0, 0, 0, 0, 2, 1, 0, 0]


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="shots.threshold=0.0: expected"):
        shots.Detector(threshold=0.0)
    with pytest.raises(ValueError, match="shots.longest_flash=-1"):
        shots.Detector(longest_flash=-1)


# ----------------------------------------------------------------------------- by shot


@dataclasses.dataclass
class Follower:
    """One track a video, label 1, in parts of `size` frames, `late` frames late."""

    size: int = 1
    late: int = 0
    reads_to_the_end: bool = True
    lengths: list = dataclasses.field(default_factory=list)

    def __call__(self, frames):
        first = count = 0
        for frame in frames:
            assert frame.index == count
            count += 1
            if count - first == self.size + self.late:
                yield self.part(first, self.size)
                first += self.size
        if not count:
            raise ValueError("The video has no frames.")
        if first < count:
            yield self.part(first, count - first)
        self.lengths.append(count)
        return {1: TrackStatistics(pixels=count, first=0, last=count - 1, joined=(0,))}

    def part(self, first, length):
        labels = np.array([1, -1, 0] * length)[:length]
        return LabelledFrames(first, labels.astype(np.int32)[:, None, None], GEOMETRY)


def counted(frames, taken):
    for frame in frames:
        taken.append(frame.index)
        yield frame


@pytest.mark.parametrize(("size", "late"), [(1, 0), (3, 0), (1, 2), (2, 5), (9, 9)])
def test_each_shot_is_a_video_and_has_labels_of_its_own(size, late):
    track = Follower(size, late)
    parts, tracks = drained(shots.by_shot(track, video("aaaabbbbbc"), DETECTOR))
    assert track.lengths == [4, 5, 1]
    firsts = [part.first for part in parts]
    assert firsts == sorted(firsts)
    lengths = [len(part.labels) for part in parts]
    assert np.cumsum([0, *lengths]).tolist() == [*firsts, 10]
    labels = np.concatenate([part.labels for part in parts]).ravel()
    assert labels.dtype == np.int32
    for shot, label in ((labels[:4], 1), (labels[4:9], 2), (labels[9:], 3)):
        assert set(shot) <= {0, -1, label}
        assert label in shot
    assert tracks == {
        1: TrackStatistics(pixels=4, first=0, last=3, joined=(0,)),
        2: TrackStatistics(pixels=5, first=4, last=8, joined=(4,)),
        3: TrackStatistics(pixels=1, first=9, last=9, joined=(9,)),
    }


def test_a_video_of_one_shot_is_as_without():
    parts, tracks = drained(shots.by_shot(Follower(2), video("aaaaa"), DETECTOR))
    alone, alone_tracks = drained(Follower(2)(video("aaaaa")))
    assert tracks == alone_tracks
    for part, other in zip(parts, alone, strict=True):
        np.testing.assert_equal(part, other)


def test_parts_come_before_the_next_frame_goes_in():
    taken = []
    frames = counted(video("aaaabbbb"), taken)
    for part in shots.by_shot(Follower(), frames, DETECTOR):
        waiting = 2 if part.first in (3, 4) else 1 if part.first == 5 else 0
        if part.first != 3:  # its part comes before the detector asks for frame 4
            assert len(taken) - 1 - part.first == waiting
    assert len(taken) == 8


def test_a_system_without_tracks_or_that_stops_early_does_no_harm():
    def nothing(frames):
        labels = np.zeros((len(list(frames)), 1, 1), np.int32)
        yield LabelledFrames(0, labels, GEOMETRY)
        return {}

    parts, tracks = drained(shots.by_shot(nothing, video("aaabbb"), DETECTOR))
    assert [part.first for part in parts] == [0, 3]
    assert tracks == {}

    def first_frame_only(frames):
        next(frames)
        yield LabelledFrames(0, np.ones((1, 1, 1), np.int32), GEOMETRY)
        return {1: TrackStatistics(1, 0, 0)}

    parts, tracks = drained(shots.by_shot(first_frame_only, video("aaabbb"), DETECTOR))
    assert [part.first for part in parts] == [0, 3]


def test_no_frames_and_another_size_are_refused():
    with pytest.raises(ValueError, match="no frames"):
        drained(shots.by_shot(Follower(), video(""), DETECTOR))
    mixed = [*video("aaa"), Frame(3, np.zeros((72, 127, 3), np.uint8))]
    with pytest.raises(ValueError, match="Frame 3 is"):
        drained(shots.by_shot(Follower(), iter(mixed), DETECTOR))
