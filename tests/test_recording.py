"""A source that is read once is a file the second time."""

from fractions import Fraction

import numpy as np
import pytest

from stemseg_jax.data import inputs
from stemseg_jax.recording import Recorded


class Live:
    name, height, width, fps = "camera", 32, 48, Fraction(20)
    num_frames, sound, live = None, None, True
    times = (0.0, 0.05, 0.25, 0.3)  # it stood still for a while

    def __init__(self, breaks_at=None):
        self.breaks_at = breaks_at

    def __iter__(self):
        for index, time in enumerate(self.times):
            if index == self.breaks_at:
                raise inputs.BrokenVideoError("gone", read=index, promised=None)
            image = np.full((32, 48, 3), 50 * index, np.uint8)
            yield inputs.InputFrame(index, image, time)


def check_again(recorded, count):
    frames = list(recorded)
    assert [frame.index for frame in frames] == list(range(count))
    assert [frame.time for frame in frames] == pytest.approx(
        Live.times[:count], abs=1e-3
    )
    for index, frame in enumerate(frames):
        assert abs(frame.image.mean() - 50 * index) < 4


def test_frames_come_again_with_their_times(tmp_path):
    recorded = Recorded(Live(), tmp_path / "recording.mp4")
    assert isinstance(recorded, inputs.InputVideo) and not recorded.live
    first = list(recorded)
    assert [frame.time for frame in first] == list(Live.times)
    assert [frame.image[0, 0, 0] for frame in first] == [0, 50, 100, 150]
    check_again(recorded, 4)


def test_what_was_read_stays_when_nobody_reads_on(tmp_path):
    recorded = Recorded(Live(), tmp_path / "recording.mp4")
    frames = iter(recorded)
    next(frames)
    next(frames)
    frames.close()
    check_again(recorded, 2)


def test_what_was_read_stays_when_the_source_breaks_off(tmp_path):
    recorded = Recorded(Live(breaks_at=3), tmp_path / "recording.mp4")
    with pytest.raises(inputs.BrokenVideoError, match="gone"):
        list(recorded)
    check_again(recorded, 3)
