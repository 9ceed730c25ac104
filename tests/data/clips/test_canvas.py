import numpy as np
import pytest

from stemseg_jax.data.clips import canvas
from tests.data.clips.raw_clips import raw_clip


def place(clip, **options) -> canvas.Clip:
    defaults = dict(height=32, width=64, max_instances=3)
    return canvas.Canvas(**(defaults | options)).place(clip)


def test_a_canvas_that_is_no_multiple_of_32_is_refused():
    with pytest.raises(ValueError, match="multiples of 32; use 64 and 96"):
        canvas.Canvas(height=50, width=90)


def test_padding_is_background_of_the_mean_colour():
    clip = raw_clip(np.ones((1, 2, 20, 40)), ignore=np.ones((2, 20, 40), bool))
    placed = place(clip, fill=(1, 2, 3))
    np.testing.assert_array_equal(placed.frames[:, :20, :40], clip.frames)
    assert (placed.frames[:, 20:] == (1, 2, 3)).all()
    assert (placed.frames[:, :, 40:] == (1, 2, 3)).all()
    assert placed.ignore.sum() == placed.masks.sum() == 2 * 20 * 40
    np.testing.assert_array_equal(placed.categories, [11])
    assert placed.dropped == 0


def test_the_smallest_go_and_are_ignored():
    masks = np.zeros((5, 2, 20, 40), bool)
    for n, columns in enumerate((3, 1, 5, 0, 4)):  # the fourth has no pixel
        masks[n, :, 4 * n : 4 * n + 2, :columns] = True
    placed = place(raw_clip(masks), max_instances=3)
    np.testing.assert_array_equal(placed.categories, [11, 13, 15])
    np.testing.assert_array_equal(placed.masks[:, :, :20, :40], masks[[0, 2, 4]])
    np.testing.assert_array_equal(placed.ignore[:, :20, :40], masks[1])
    assert placed.dropped == 1


def test_a_clip_without_instances_is_empty():
    placed = place(raw_clip(np.zeros((0, 2, 20, 40))))
    assert placed.masks.shape == (0, 2, 32, 64) and not placed.dropped


def test_intrinsics_stay_and_none_are_nan():
    K = np.array([[10.0, 0, 20], [0, 11, 9], [0, 0, 1]])
    masks = np.ones((1, 2, 20, 40))
    placed = place(raw_clip(masks, intrinsics=np.stack([K, 2 * K])))
    np.testing.assert_array_equal(placed.intrinsics, np.float32([K, 2 * K]))
    assert place(raw_clip(masks)).intrinsics.shape == (2, 3, 3)
    assert np.isnan(place(raw_clip(masks)).intrinsics).all()


def test_clean_frames_lie_where_the_others_do():
    clip = raw_clip(np.ones((1, 2, 20, 40)))
    assert place(clip).clean is None
    placed = place(clip._replace(clean=255 - clip.frames), fill=(1, 2, 3))
    np.testing.assert_array_equal(placed.clean[:, :20, :40], 255 - clip.frames)
    assert (placed.clean[:, 20:] == (1, 2, 3)).all()


def test_frames_that_are_too_large_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match="40 x 64.*canvas of 32 x 64.*keep_aspect"):
        place(raw_clip(np.ones((1, 2, 40, 64))))
