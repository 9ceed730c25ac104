"""The way of a frame into the network, and of a label map back."""

import numpy as np
import pytest

from stemseg_jax.geometry import Geometry, SizeRule, padded
from stemseg_jax.tracks import Frame, of_one_size


def frame(index: int, height: int, width: int) -> Frame:
    return Frame(index, np.zeros((height, width, 3), np.uint8))


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((480, 854), (640, 1139)),  # the shorter side is brought to 640
        ((375, 1242), (361, 1196)),  # unless the longer one would exceed 1196
        ((1080, 810), (853, 640)),
        ((1, 1000), (1, 1196)),  # no side vanishes
    ],
)
def test_the_shorter_side_rules_up_to_the_longer(size, resized):
    assert SizeRule(min_dim=640, max_dim=1196).resized(*size) == resized


def test_padded_sizes_are_multiples_of_the_coarsest_stride():
    assert padded((361, 1196)) == (384, 1216)
    assert padded((384, 1216)) == (384, 1216)


def test_a_label_map_covers_the_padded_frame():
    geometry = SizeRule(min_dim=64, max_dim=96).geometry((30, 50), stride=4)
    assert geometry == Geometry((30, 50), (58, 96), (16, 24), 4)


def test_frames_of_one_size_pass_and_others_are_named():
    frames = [frame(0, 4, 6), frame(1, 4, 6), frame(2, 4, 5)]
    passed = of_one_size(frames)
    assert [next(passed).index, next(passed).index] == [0, 1]
    with pytest.raises(ValueError, match=r"Frame 2 is \(4, 5\).*began with \(4, 6\)"):
        next(passed)
