import collections

import numpy as np
import pytest

from stemseg_jax.data.clips import sampling
from stemseg_jax.data.clips.sampling import Sampling
from stemseg_jax.data.datasets import DATASETS
from tests.data import folders

SPANS = [  # span, frames, positions: the table of the authors' configurations
    (16, 8, [0, 2, 5, 7, 9, 11, 14, 16]),
    (8, 8, [0, 1, 2, 3, 5, 6, 7, 8]),
    (16, 16, [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16]),
]


def draw(rule: Sampling, length: int, *, count=500, **options) -> list[list[int]]:
    rng = np.random.default_rng(0)
    drawn = [rule.positions(rng, length, **options) for _ in range(count)]
    for positions in drawn:
        assert len(positions) == rule.num_frames
        assert positions[0] >= 0 and positions[-1] < length
        assert (np.diff(positions) > 0).all()
    return drawn


@pytest.mark.parametrize(("span", "num_frames", "expected"), SPANS)
def test_positions_are_those_of_the_authors(span, num_frames, expected):
    rule = Sampling(num_frames=num_frames, span=(span, span))
    (positions,) = draw(rule, span + 1, count=1)
    assert positions == expected
    (shifted,) = draw(rule, span + 4, count=1, starts=[3])
    assert len(set(shifted)) == num_frames and shifted[0] == 3


def test_drawn_clips_use_every_start_and_never_leave_the_video():
    drawn = draw(Sampling(num_frames=4, span=(4, 9)), 12)
    assert {p[0] for p in drawn} == set(range(8))
    assert {p[-1] for p in drawn} == set(range(4, 12))
    assert {p[-1] - p[0] for p in drawn} == set(range(4, 10))
    assert all(len(set(p)) == 4 for p in drawn)


def test_without_a_span_frames_are_consecutive():
    drawn = draw(Sampling(num_frames=5), 9)
    assert {tuple(p) for p in drawn} == {tuple(range(s, s + 5)) for s in range(5)}
    assert {tuple(p) for p in draw(Sampling(num_frames=1), 3)} == {(0,), (1,), (2,)}


def test_a_video_shorter_than_the_span_is_taken_whole():
    drawn = draw(Sampling(num_frames=4, span=(16, 16)), 4)
    assert {tuple(p) for p in drawn} == {(0, 1, 2, 3)}


def test_gaps_of_a_pair_come_with_their_weights():
    rule = Sampling(num_frames=2, rule="gaps", gaps=(0.5, 0.25, 0.25))
    drawn = draw(rule, 30, count=4000)
    counts = collections.Counter(b - a for a, b in drawn)
    assert set(counts) == {1, 2, 3}
    for gap, share in ((1, 0.5), (2, 0.25), (3, 0.25)):
        assert abs(counts[gap] / 4000 - share) < 0.03
    assert {a for a, _ in drawn} == set(range(29))


def test_weights_need_not_sum_to_one_and_may_be_zero():
    drawn = draw(Sampling(num_frames=3, rule="gaps", gaps=(0.0, 3.0, 0.0, 1.0)), 20)
    gaps = {(b - a, c - b) for a, b, c in drawn}
    assert gaps == {(2, 2), (2, 4), (4, 2), (4, 4)}


def test_gaps_leave_room_for_those_to_come():
    rule = Sampling(num_frames=3, rule="gaps", gaps=(0.0, 1.0, 1.0))
    assert rule.least_frames == 5
    assert {tuple(p) for p in draw(rule, 5)} == {(0, 2, 4)}
    assert {(b - a, c - b) for a, b, c in draw(rule, 6)} == {(2, 2), (2, 3), (3, 2)}


def test_later_frames_are_any_that_follow_within_the_span():
    drawn = draw(Sampling(num_frames=3, rule="later"), 5, count=900)
    later = {(b - a, c - a) for a, b, c in drawn}
    assert later == {(1, 2), (1, 3), (2, 3), (1, 4), (2, 4), (3, 4)}
    near = draw(Sampling(num_frames=3, rule="later", span=(2, 3)), 9)
    assert {c - a for a, _, c in near} == {2, 3}


def test_clips_begin_where_they_may():
    for rule in (
        Sampling(num_frames=3, rule="later"),
        Sampling(num_frames=3, span=(2, 6)),
        Sampling(num_frames=3, rule="gaps", gaps=(1.0, 1.0)),
    ):
        drawn = draw(rule, 9, starts=[0, 4, 6])
        assert {p[0] for p in drawn} == {0, 4, 6}
        assert {p[-1] for p in drawn if p[0] == 6} == {8}


def test_segments_are_cut_at_long_gaps():
    frames = [0, 1, 7, 8, 15, 16]
    assert sampling.segments(frames, max_gap=None) == [frames]
    assert sampling.segments(frames, max_gap=5) == [[0, 1, 7, 8], [15, 16]]
    assert sampling.segments(frames, max_gap=0) == [[0, 1], [7, 8], [15, 16]]
    empty = [sampling.segments([], max_gap=gap) for gap in (5, None)]
    assert empty == [[], []]


@pytest.mark.parametrize("name", ["davis19", "kitti_mots", "ytvis", "moving_shapes"])
def test_entries_are_the_frames_with_a_new_instance(tmp_path, name):
    folders.davis(tmp_path)
    folders.kitti_mots(tmp_path)
    folders.youtube_vis(tmp_path / "YouTubeVIS")
    video = DATASETS[name](str(tmp_path), "train").videos[0]
    frames = range(1, video.num_frames)
    for frame in frames:
        assert sorted(video.instances(frame)) == video.clip([frame]).ids.tolist()
    seen, expected = set(), []
    for position, frame in enumerate(frames):
        if set(video.clip([frame]).ids.tolist()) - seen:
            expected.append(position)
        seen |= set(video.clip([frame]).ids.tolist())
    assert sampling.entries(video, frames) == expected
    if name != "moving_shapes":  # the second instance is there from frame 1 on
        assert sampling.entries(video, range(6)) == [0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(num_frames=0), "has at least one"),
        (dict(rule="random"), "known are even, gaps, later"),
        (dict(start="middle"), "expected 'any' or 'entry'"),
        (dict(span=(2, 8)), "at least 3 for 4 frames"),
        (dict(span=(8, 5)), "lowest, highest"),
        (dict(rule="later", span=(5, 9)), r"use \(3, 9\)"),
        (dict(rule="gaps"), "needs weights"),
        (dict(gaps=(1.0,)), "needs weights"),
        (dict(rule="gaps", gaps=(0.0, 0.0)), "weights of 0 and above"),
        (dict(rule="gaps", gaps=(1.0, -1.0)), "weights of 0 and above"),
        (dict(rule="gaps", gaps=(1.0,), span=(3, 4)), "leave one of them out"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**(dict(num_frames=4) | options))
