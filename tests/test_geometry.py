"""The way of a frame into the network, and of a label map back."""

import numpy as np
import pytest

from stemseg_jax.geometry import Geometry, SizeRule, cover, padded, restore
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


def test_numbers_are_covered_by_the_cells_at_their_place():
    numbers = np.arange(6 * 8).reshape(6, 8)
    same = Geometry((6, 8), (6, 8), (32, 32), 1)
    np.testing.assert_array_equal(cover(numbers, same)[:6, :8], numbers)
    assert not cover(numbers, same)[6:].any() and not cover(numbers, same)[:, 8:].any()
    larger = Geometry((6, 8), (12, 16), (32, 32), 1)
    twice = numbers.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(cover(numbers, larger)[:12, :16], twice)
    # Of cells of 4 x 4 pixels over 24 x 32 the centres are on the cells' own pixels.
    coarse = Geometry((6, 8), (24, 32), (8, 8), 4)
    np.testing.assert_array_equal(cover(numbers, coarse)[:6, :8], numbers)


def test_what_is_covered_and_restored_is_the_same_away_from_borders():
    mask = np.zeros((50, 70), bool)
    mask[10:30, 20:60] = True
    geometry = SizeRule(min_dim=64, max_dim=90).geometry(mask.shape, stride=1)
    back = restore(cover(mask.astype(int), geometry) > 0, geometry)
    assert (back != mask).mean() < 0.02 and back.any()


def test_frames_of_one_size_pass_and_others_are_named():
    frames = [frame(0, 4, 6), frame(1, 4, 6), frame(2, 4, 5)]
    passed = of_one_size(frames)
    assert [next(passed).index, next(passed).index] == [0, 1]
    with pytest.raises(ValueError, match=r"Frame 2 is \(4, 5\).*began with \(4, 6\)"):
        next(passed)
