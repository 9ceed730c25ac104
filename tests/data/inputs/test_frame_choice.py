"""Which frames are chosen, by hand; and times as people write them."""

import itertools
from fractions import Fraction

import pytest

from stemseg_jax.data.inputs import FrameChoice, seconds


def chosen(count, rate=Fraction(30), jitter=0.0, **choice):
    """Indices of the frames that are chosen of `count`."""
    frames = ((i / float(rate) + jitter * (i % 2), i) for i in range(count))
    return [index for _, index in FrameChoice(**choice).of(frames, rate)]


def test_all_by_default():
    assert chosen(5) == [0, 1, 2, 3, 4]
    assert chosen(0) == []
    assert FrameChoice().takes_all and not FrameChoice(stride=2).takes_all


def test_the_start_belongs_to_it_and_the_end_does_not():
    assert chosen(10, Fraction(5), start=0.4, end=1.2) == [2, 3, 4, 5]
    assert chosen(10, Fraction(5), start=0.41, end=1.21) == [3, 4, 5, 6]


def test_nothing_is_asked_for_behind_the_end():
    frames = ((i / 5, i) for i in itertools.count())
    found = FrameChoice(end=1, fps=2, stride=2).of(frames, Fraction(5))
    assert [index for _, index in found] == [0]
    assert next(frames)[1] == 6  # 5, of time 1.0, was the end


def test_each_nth_of_what_is_left():
    assert chosen(10, stride=4) == [0, 4, 8]
    assert chosen(12, start=0.1, fps=15, stride=2) == [3, 7, 11]


def test_half_of_the_frames_are_every_second():
    assert chosen(10, fps=15) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("wanted", [1, 7, 11.5, 20, 24, 25, Fraction(30000, 1001), 30])
@pytest.mark.parametrize("jitter", [0, 0.001])
def test_gaps_differ_by_no_more_than_one_frame(wanted, jitter):
    found = chosen(301, fps=wanted, jitter=jitter)
    gaps = {b - a for a, b in itertools.pairwise(found)}
    assert found[0] == 0 and max(gaps) - min(gaps) <= 1
    assert abs(len(found) - 1 - 10 * float(wanted)) <= 1  # of ten seconds


@pytest.mark.parametrize("wanted", [30, 31, 60, 1000])
def test_frames_are_not_doubled_nor_lost_to_a_clock_of_milliseconds(wanted):
    frames = [(round(i / 30, 3), i) for i in range(300)]
    found = [i for _, i in FrameChoice(fps=wanted).of(frames, Fraction(30))]
    assert found == list(range(300))


def test_of_a_varying_rate_each_beat_has_one_frame():
    times = [0.0, 0.01, 0.02, 0.5, 0.51, 1.0, 1.9, 2.0]
    frames = zip(times, range(8), strict=True)
    found = [i for _, i in FrameChoice(fps=2).of(frames, Fraction(60))]
    assert found == [0, 3, 5, 6, 7]
    frames = zip([0.0, 10.4, 10.41, 10.5], range(4), strict=True)  # after a pause
    found = [i for _, i in FrameChoice(fps=2).of(frames, Fraction(60))]
    assert found == [0, 1, 3]


def test_the_rate_of_what_comes_out():
    ntsc = Fraction(30000, 1001)
    assert FrameChoice().rate(ntsc) == ntsc
    assert FrameChoice(fps=10, stride=2).rate(ntsc) == 5
    assert FrameChoice(fps=60, stride=3).rate(ntsc) == ntsc / 3
    assert FrameChoice(fps=29.97).fps_or(Fraction(24)) == Fraction(2997, 100)


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"start": 0.5},
        {"start": 0.21, "end": 1.39},
        {"end": 99},
        {"stride": 7},
        {"fps": 10},
        {"fps": 11, "stride": 3, "start": 1, "end": 2},
        {"start": 50},
    ],
)
def test_the_estimate_is_one_off_at_most(choice):
    count = FrameChoice(**choice).count(100, Fraction(30))
    assert abs(count - len(chosen(100, **choice))) <= 1


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (dict(start=5, end=3), "--start=5 is not before --end=3"),
        (dict(start=3, end=3), "--start=3 is not before --end=3"),
        (dict(end=0), "--start=0 is not before --end=0"),
        (dict(end=float("nan")), "--start=0 is not before --end=nan"),
        (dict(start=-1), "--start=-1: expected 0 seconds or more"),
        (dict(start=float("nan")), "--start=nan: expected"),
        (dict(start=float("inf")), "--start=inf: expected"),
        (dict(stride=0), "--stride=0: expected 1 for every frame"),
        (dict(fps=0), "--fps=0: expected more than 0"),
        (dict(fps=Fraction(-1, 2)), "--fps=-0.5: expected more than 0"),
        (dict(fps=float("nan")), "--fps=nan: expected more than 0"),
    ],
)
def test_what_cannot_be_meant_names_the_flag(choice, message):
    with pytest.raises(ValueError, match=message):
        FrameChoice(**choice)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12.5", 12.5),
        ("0", 0),
        ("90", 90),
        (" 7. ", 7),
        ("1:30", 90),
        ("90:00", 5400),
        ("0:01:30.5", 90.5),
        ("01:00:00", 3600),
    ],
)
def test_times_as_people_write_them(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "a", "-1", "1:60", "1:60:00", "1:", ":30", "1:2:3:4", "1e3", "nan", "5s"],
)
def test_what_is_no_time_is_said(text):
    with pytest.raises(ValueError, match="is no time. Expected seconds"):
        seconds(text)
