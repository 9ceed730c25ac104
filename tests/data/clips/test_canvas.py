import numpy as np
import pytest

from stemseg_jax import geometry
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


def test_beyond_the_padding_that_inference_has_nothing_is_learnt():
    placed = place(raw_clip(np.ones((1, 2, 20, 40))), height=96, width=128)
    assert not placed.ignore[:, :32, :64].any()
    assert placed.ignore[:, 32:].all() and placed.ignore[:, :, 64:].all()
    np.testing.assert_array_equal(placed.within, [32, 64])


RULE = geometry.SizeRule(min_dim=640, max_dim=1196)  # of YouTube-VIS


def test_canvases_are_as_large_as_frames_of_their_form():
    assert canvas.sizes(["16:9", "4:3", "9:16"], RULE) == [
        (640, 1152),
        (640, 864),
        (1152, 640),
    ]
    wide = geometry.SizeRule(min_dim=736, max_dim=1248)
    assert canvas.sizes(["16:9"], wide) == [(704, 1248)]  # 702 x 1248


@pytest.mark.parametrize(
    ("frame", "number", "kept"),
    [
        ((720, 1280), 0, 1.0),
        ((480, 854), 0, 1.0),  # of DAVIS
        ((480, 640), 1, 1.0),
        ((500, 500), 1, 1.0),
        ((1280, 720), 2, 1.0),
        ((640, 480), 2, 1.0),
        ((400, 600), 0, 1.0),  # 3:2 has 0.81 of its area on 4:3
        ((400, 1000), 0, (1152 / 1196) ** 2),
    ],
)
def test_frames_keep_their_area(frame, number, kept):
    canvases = canvas.sizes(["16:9", "4:3", "9:16"], RULE)
    size = RULE.resized(*frame)
    assert canvas.best(canvases, size) == number
    assert canvas.area_kept(canvases[number], size) == pytest.approx(kept, abs=2e-3)


def test_without_a_canvas_that_is_large_enough_the_largest_share_counts():
    assert canvas.best([(32, 64), (32, 32)], (200, 100)) == 1  # the same, and smaller
    assert canvas.best([(32, 32), (32, 64)], (100, 200)) == 1
