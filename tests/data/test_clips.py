import numpy as np
import pytest

from stemseg_jax.data import clips, readers
from tests import goldens

SPANS = [  # span, frames, positions: the table of the authors' configurations
    (16, 8, [0, 2, 5, 7, 9, 11, 14, 16]),
    (8, 8, [0, 1, 2, 3, 5, 6, 7, 8]),
    (16, 16, [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16]),
]


def settings(**options) -> clips.ClipSettings:
    defaults = dict(num_frames=2, height=32, width=64, max_instances=3)
    return clips.ClipSettings(**(defaults | options))


def raw_clip(masks, *, ignore=None) -> readers.RawClip:
    masks = np.asarray(masks, bool)
    N, T, H, W = masks.shape
    rng = np.random.default_rng(0)
    return readers.RawClip(
        frames=rng.integers(0, 256, (T, H, W, 3), np.uint8),
        ids=np.arange(1, N + 1),
        categories=np.arange(11, N + 11),
        masks=masks,
        ignore=np.zeros((T, H, W), bool) if ignore is None else ignore,
    )


@pytest.mark.parametrize(("span", "num_frames", "expected"), SPANS)
def test_positions_are_those_of_the_authors(span, num_frames, expected):
    positions = clips.frame_positions(0, span=span, num_frames=num_frames)
    assert positions == expected
    shifted = clips.frame_positions(3, span=span, num_frames=num_frames)
    assert len(set(shifted)) == num_frames and shifted[0] == 3


def test_drawn_clips_use_every_start_and_never_leave_the_video():
    rng = np.random.default_rng(0)
    drawn = [
        clips.sample_positions(rng, 12, num_frames=4, span=(4, 9)) for _ in range(500)
    ]
    assert {p[0] for p in drawn} == set(range(8))
    assert {p[-1] for p in drawn} == set(range(4, 12))
    assert {p[-1] - p[0] for p in drawn} == set(range(4, 10))
    assert all(len(set(p)) == 4 for p in drawn)


def test_a_video_shorter_than_the_span_is_taken_whole():
    rng = np.random.default_rng(0)
    assert clips.sample_positions(rng, 4, num_frames=4, span=(16, 16)) == [0, 1, 2, 3]


def test_segments_are_cut_at_long_gaps():
    frames = [0, 1, 7, 8, 15, 16]
    assert clips.segments(frames, max_gap=None) == [frames]
    assert clips.segments(frames, max_gap=5) == [[0, 1, 7, 8], [15, 16]]
    assert clips.segments(frames, max_gap=0) == [[0, 1], [7, 8], [15, 16]]
    assert clips.segments([], max_gap=5) == clips.segments([], max_gap=None) == []


@pytest.mark.parametrize(
    ("source", "rule", "resized"),
    [  # the effective sizes of the papers' configurations
        ((480, 854), (736, 1248), (701, 1248)),
        ((720, 1280), (640, 1196), (640, 1138)),
        ((375, 1242), (736, 1792), (541, 1792)),
        ((1280, 720), (640, 1196), (640, 360)),  # portrait: the canvas limits it
    ],
)
def test_frames_are_resized_by_shorter_and_longer_side(source, rule, resized):
    height, width = (-(-side // 32) * 32 for side in rule)
    rule = settings(height=height, width=width, min_dim=rule[0], max_dim=rule[1])
    assert rule.resized(*source) == resized


def test_without_a_rule_frames_fill_the_canvas():
    assert settings(height=64, width=128).resized(480, 854) == (64, 114)
    assert settings(height=480, width=864).resized(480, 854) == (480, 854)


def test_a_canvas_that_is_no_multiple_of_32_is_refused():
    with pytest.raises(ValueError, match="multiples of 32; use 64 and 96"):
        settings(height=50, width=90)


def test_resizing_equals_the_authors(shared):
    meta, arrays = goldens.load(shared / "reference/goldens", "preproc")
    clip = raw_clip(arrays["mask.in"], ignore=arrays["ignore.in"].astype(bool))
    size = tuple(meta["loader0"]["resized_hw"])
    resized = clips.resize(clip, size)
    # Weights of 1/2048 in fixed point: pixels within that of one half may flip.
    assert (resized.masks != arrays["mask.resized"]).mean() < 1e-3
    assert (resized.ignore != arrays["ignore.resized"]).mean() < 1e-3
    pixels = goldens.pixels(meta["loader0"]["seed"], 1, *meta["loader0"]["hw"])
    frame = raw_clip(np.zeros((0, 1, *meta["loader0"]["hw"])))._replace(
        frames=goldens.channels_last(pixels)[..., ::-1]
    )
    mean = np.array([102.9801, 115.9465, 122.7717], np.float32)
    ours = clips.resize(frame, size).frames[0][..., ::-1] - mean
    theirs = arrays["loader0.tensor"].transpose(1, 2, 0)[: size[0], : size[1]]
    assert np.abs(ours - theirs).max() <= 1  # whole grey values; theirs are fractions


def test_masks_cover_more_than_one_half():
    mask = np.zeros((1, 1, 2, 4), bool)
    mask[..., 1:] = True  # a pixel of two is 0.5: not more than one half
    resized = clips.resize(raw_clip(mask), (1, 2)).masks
    np.testing.assert_array_equal(resized[0, 0], [[False, True]])


def test_mirroring_and_reversing_move_everything_alike():
    masks = np.random.default_rng(0).random((2, 3, 4, 5)) < 0.5
    clip = raw_clip(masks, ignore=masks[0])
    for change in (clips.mirror, clips.backwards):
        changed = change(clip)
        np.testing.assert_array_equal(changed.masks[0], changed.ignore)
        for one, other in zip(clip, change(changed), strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(
        clips.mirror(clip).frames[0, 0, 0], clip.frames[0, 0, 4]
    )
    np.testing.assert_array_equal(clips.backwards(clip).frames[0], clip.frames[2])


def test_options_do_not_shift_other_draws():
    clip = raw_clip(np.ones((1, 3, 4, 5)))
    for seed in range(8):
        both, flips = (
            clips.augment(np.random.default_rng(seed), clip, settings(reverse=reverse))
            for reverse in (True, False)
        )
        mirrored = [
            np.array_equal(c.frames.sum(0), clip.frames.sum(0)) for c in (both, flips)
        ]
        assert mirrored[0] == mirrored[1]


def test_unlabelled_pixels_are_ignored():
    masks = np.zeros((2, 1, 2, 3), bool)
    masks[0, 0, 0, 0] = masks[1, 0, 1, 2] = True
    marked = clips.mark_unlabelled(raw_clip(masks))
    np.testing.assert_array_equal(marked.ignore[0], [[0, 1, 1], [1, 1, 0]])


def test_padding_is_background_of_the_mean_colour():
    clip = raw_clip(np.ones((1, 2, 20, 40)), ignore=np.ones((2, 20, 40), bool))
    placed = clips.place(clip, settings(fill=(1, 2, 3)))
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
    placed = clips.place(raw_clip(masks), settings(max_instances=3))
    np.testing.assert_array_equal(placed.categories, [11, 13, 15])
    np.testing.assert_array_equal(placed.masks[:, :, :20, :40], masks[[0, 2, 4]])
    np.testing.assert_array_equal(placed.ignore[:, :20, :40], masks[1])
    assert placed.dropped == 1


def test_a_clip_without_instances_is_empty():
    placed = clips.place(raw_clip(np.zeros((0, 2, 20, 40))), settings())
    assert placed.masks.shape == (0, 2, 32, 64) and not placed.dropped
