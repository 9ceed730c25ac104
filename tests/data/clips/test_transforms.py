import numpy as np
import pytest

from stemseg_jax.data.clips import transforms
from stemseg_jax.geometry import SizeRule
from tests import goldens
from tests.data.clips.raw_clips import raw_clip


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
    sizes = SizeRule(min_dim=rule[0], max_dim=rule[1])
    keep_aspect = transforms.KeepAspect(height=height, width=width, sizes=sizes)
    assert keep_aspect.size(*source) == resized
    assert keep_aspect.size(*resized) == resized


def test_without_a_rule_frames_fill_the_canvas():
    for canvas, resized in (((64, 128), (64, 114)), ((480, 864), (480, 854))):
        keep_aspect = transforms.KeepAspect(height=canvas[0], width=canvas[1])
        assert keep_aspect.size(480, 854) == resized
    assert keep_aspect.size(4, 2000) == (2, 864)


def test_no_side_vanishes():
    sizes = SizeRule(min_dim=64, max_dim=96)
    keep_aspect = transforms.KeepAspect(height=64, width=96, sizes=sizes)
    assert keep_aspect.size(4, 2000) == sizes.resized(4, 2000) == (1, 96)


def test_resizing_equals_the_authors(shared):
    meta, arrays = goldens.load(shared / "reference/goldens", "preproc")
    clip = raw_clip(arrays["mask.in"], ignore=arrays["ignore.in"].astype(bool))
    size = tuple(meta["loader0"]["resized_hw"])
    resized = transforms.resize(clip, size)
    # Weights of 1/2048 in fixed point: pixels within that of one half may flip.
    assert (resized.masks != arrays["mask.resized"]).mean() < 1e-3
    assert (resized.ignore != arrays["ignore.resized"]).mean() < 1e-3
    pixels = goldens.pixels(meta["loader0"]["seed"], 1, *meta["loader0"]["hw"])
    frame = raw_clip(np.zeros((0, 1, *meta["loader0"]["hw"])))._replace(
        frames=goldens.channels_last(pixels)[..., ::-1]
    )
    mean = np.array([102.9801, 115.9465, 122.7717], np.float32)
    ours = transforms.resize(frame, size).frames[0][..., ::-1] - mean
    theirs = arrays["loader0.tensor"].transpose(1, 2, 0)[: size[0], : size[1]]
    assert np.abs(ours - theirs).max() <= 1  # whole grey values; theirs are fractions


def test_masks_cover_more_than_one_half():
    mask = np.zeros((1, 1, 2, 4), bool)
    mask[..., 1:] = True  # a pixel of two is 0.5: not more than one half
    resized = transforms.resize(raw_clip(mask), (1, 2)).masks
    np.testing.assert_array_equal(resized[0, 0], [[False, True]])


def test_mirroring_and_reversing_move_everything_alike():
    masks = np.random.default_rng(0).random((2, 3, 4, 5)) < 0.5
    intrinsics = np.arange(3 * 9.0).reshape(3, 3, 3)
    clip = raw_clip(masks, ignore=masks[0], intrinsics=intrinsics)
    clip = clip._replace(clean=clip.frames)
    for change in (transforms.mirror, transforms.backwards):
        changed = change(clip)
        np.testing.assert_array_equal(changed.masks[0], changed.ignore)
        np.testing.assert_array_equal(changed.frames, changed.clean)
        for one, other in zip(clip, change(changed), strict=True):
            np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(
        transforms.mirror(clip).frames[0, 0, 0], clip.frames[0, 0, 4]
    )
    reversed_clip = transforms.backwards(clip)
    np.testing.assert_array_equal(reversed_clip.frames[0], clip.frames[2])
    np.testing.assert_array_equal(reversed_clip.intrinsics[0], intrinsics[2])


def test_options_do_not_shift_other_draws():
    clip = raw_clip(np.ones((1, 3, 4, 5)))
    for seed in range(8):
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        both, flips = (
            transforms.Reverse(probability=p)(rng, transforms.Flip()(rng, clip))
            for rng, p in zip(rngs, (0.5, 0.0), strict=True)
        )
        mirrored = [
            np.array_equal(c.frames.sum(0), clip.frames.sum(0)) for c in (both, flips)
        ]
        assert mirrored[0] == mirrored[1]
        assert rngs[0].random() == rngs[1].random()


def test_unlabelled_pixels_are_ignored():
    masks = np.zeros((2, 1, 2, 3), bool)
    masks[0, 0, 0, 0] = masks[1, 0, 1, 2] = True
    marked = transforms.mark_unlabelled(raw_clip(masks))
    np.testing.assert_array_equal(marked.ignore[0], [[0, 1, 1], [1, 1, 0]])


# ---------------------------------------------- frames, masks, ignore and intrinsics


def corner_clip():
    """4 x 6 pixels, 2 frames; one bright pixel at (1, 4) is instance and ignored."""
    masks = np.zeros((1, 2, 4, 6), bool)
    masks[..., 1, 4] = True
    K = np.array([[10.0, 0, 2], [0, 20, 1.5], [0, 0, 1]])
    clip = raw_clip(masks, ignore=masks[0], intrinsics=np.stack([K, K]))
    frames = np.where(masks[0, ..., None], np.uint8(200), np.uint8(0))
    frames = frames.repeat(3, axis=-1)
    return clip._replace(frames=frames, clean=frames)


def assert_holds(clip, pixels, matrix):
    """Everything bright, and nothing else, is at `pixels`; K is `matrix`."""
    expected = np.zeros(clip.ignore.shape, bool)
    expected[(slice(None), *pixels)] = True
    np.testing.assert_array_equal(clip.masks[0], expected)
    np.testing.assert_array_equal(clip.ignore, expected)
    for frames in (clip.frames, clip.clean):
        np.testing.assert_array_equal(frames > 100, expected[..., None].repeat(3, -1))
    for K in clip.intrinsics:
        np.testing.assert_allclose(K, matrix)


RNG = np.random.default_rng(0)


def test_resizing_exactly_by_hand():
    wide = transforms.Resize(height=4, width=24)(RNG, corner_clip())
    # x' + 1/2 = 4 (x + 1/2)
    assert_holds(wide, np.s_[1:2, 16:20], [[40, 0, 9.5], [0, 20, 1.5], [0, 0, 1]])
    high = transforms.Resize(height=8, width=6)(RNG, corner_clip())
    assert_holds(high, np.s_[2:4, 4:5], [[10, 0, 2], [0, 40, 3.5], [0, 0, 1]])


def test_keeping_the_aspect_by_hand():
    sizes = SizeRule(min_dim=8, max_dim=32)
    clip = transforms.KeepAspect(height=32, width=32, sizes=sizes)(RNG, corner_clip())
    assert clip.frames.shape == (2, 8, 12, 3)
    assert_holds(clip, np.s_[2:4, 8:10], [[20, 0, 4.5], [0, 40, 3.5], [0, 0, 1]])


def test_mirroring_by_hand():
    clip = transforms.Flip(probability=1.0)(RNG, corner_clip())
    # The principal point goes to W - 1 - 2; focal lengths stay positive.
    assert_holds(clip, np.s_[1:2, 1:2], [[10, 0, 3], [0, 20, 1.5], [0, 0, 1]])


def test_a_skew_changes_its_sign_in_the_mirror():
    clip = corner_clip()
    clip.intrinsics[:, 0, 1] = 0.5
    mirrored = transforms.mirror(clip)
    np.testing.assert_allclose(mirrored.intrinsics[0, 0], [10, -0.5, 3])


def test_reversing_by_hand():
    clip = corner_clip()
    clip.frames[1], clip.masks[:, 1], clip.intrinsics[1, 0, 0] = 7, False, 11
    clip = transforms.Reverse(probability=1.0)(RNG, clip)
    assert (clip.frames[0] == 7).all() and (clip.clean[0] == 7).all()
    assert clip.masks.any(axis=(0, 2, 3)).tolist() == [False, True]
    assert clip.intrinsics[:, 0, 0].tolist() == [11, 10]


def test_scaling_and_cropping_by_hand():
    part = transforms.ScaleAndCrop(height=4, width=8, scale=(2.0, 2.0))
    places = set()
    for seed in range(200):
        clip = part(np.random.default_rng(seed), corner_clip())
        assert clip.frames.shape == (2, 4, 8, 3)
        # Enlarged, the pixel is rows 2 and 3, columns 8 and 9 of 8 x 12.
        top, left = 3.5 - clip.intrinsics[0, 1, 2], 4.5 - clip.intrinsics[0, 0, 2]
        places.add((top, left))
        rows, columns = (
            slice(max(0, int(low - start)), max(0, int(low + 2 - start)))
            for low, start in ((2, top), (8, left))
        )
        matrix = [[20, 0, 4.5 - left], [0, 40, 3.5 - top], [0, 0, 1]]
        assert_holds(clip, (rows, columns), matrix)
    assert places == {(top, left) for top in range(5) for left in range(5)}


def test_a_side_shorter_than_the_part_stays_whole():
    part = transforms.ScaleAndCrop(height=32, width=5, scale=(1.0, 1.0))
    clip = part(RNG, corner_clip())
    assert clip.frames.shape == (2, 4, 5, 3)
    assert clip.intrinsics[0, 1, 2] == 1.5


def test_scales_stay_in_their_range():
    part = transforms.ScaleAndCrop(height=64, width=96)
    scales = [
        part(np.random.default_rng(seed), corner_clip()).intrinsics[0, 0, 0] / 10
        for seed in range(300)
    ]
    # Whole pixels: 6 of them scaled by 0.8 are 5, and by 1.5 are 9.
    assert min(scales) == pytest.approx(5 / 6) and max(scales) == pytest.approx(1.5)


@pytest.mark.parametrize(
    "change",
    [
        transforms.Resize(height=30, width=50),
        transforms.KeepAspect(
            height=64, width=64, sizes=SizeRule(min_dim=33, max_dim=60)
        ),
        transforms.ScaleAndCrop(height=96, width=96),
        transforms.ScaleAndCrop(height=36, width=50, scale=(1.0, 1.2)),
        transforms.Flip(probability=1.0),
    ],
)
def test_a_point_is_seen_where_its_instance_is(change):
    rng = np.random.default_rng(3)
    masks = np.zeros((1, 1, 40, 60), bool)
    masks[..., 16:25, 27:34] = True
    K = np.array([[[50.0, 0, 31], [0, 55, 18], [0, 0, 1]]])
    point = np.linalg.inv(K[0]) @ (30, 20, 1)  # the centre of the mask
    for _ in range(20):
        clip = change(rng, raw_clip(masks, intrinsics=K))
        flipped = isinstance(change, transforms.Flip)
        x, y, z = clip.intrinsics[0] @ (point * (-1 if flipped else 1, 1, 1))
        rows, columns = clip.masks[0, 0].nonzero()
        assert abs(columns.mean() - x / z) < 0.5 and abs(rows.mean() - y / z) < 0.5


def test_nothing_known_of_the_camera_stays_so():
    clip = raw_clip(np.ones((1, 2, 8, 8)))
    for change in (
        transforms.Resize(height=4, width=4),
        transforms.ScaleAndCrop(height=4, width=4),
        transforms.Flip(probability=1.0),
        transforms.Reverse(probability=1.0),
    ):
        assert change(RNG, clip).intrinsics is None


# --------------------------------------------------------------------------- colour


def test_jitter_changes_all_frames_alike_and_leaves_a_clean_copy():
    clip = raw_clip(np.ones((1, 2, 8, 8)))
    clip = clip._replace(frames=clip.frames[:1].repeat(2, axis=0))
    jitter = transforms.ColourJitter(probability=1.0, clean=True)
    changed = jitter(np.random.default_rng(0), clip)
    assert (changed.frames != clip.frames).mean() > 0.5
    np.testing.assert_array_equal(changed.frames[0], changed.frames[1])
    np.testing.assert_array_equal(changed.clean, clip.frames)
    # What comes after changes both.
    mirrored = transforms.mirror(changed)
    np.testing.assert_array_equal(mirrored.clean, clip.frames[:, :, ::-1])
    again = jitter(np.random.default_rng(1), changed)
    np.testing.assert_array_equal(again.clean, clip.frames)


def test_jitter_carries_no_copy_unless_asked():
    clip = raw_clip(np.ones((1, 2, 8, 8)))
    rng = np.random.default_rng(0)
    assert transforms.ColourJitter(probability=1.0)(rng, clip).clean is None
    kept = transforms.ColourJitter(probability=0.0, clean=True)(rng, clip)
    assert kept.clean is kept.frames is clip.frames


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: transforms.Flip(probability=1.5), "probability=1.5: expected 0 to 1"),
        (lambda: transforms.Reverse(probability=-0.5), "probability=-0.5"),
        (
            lambda: transforms.ScaleAndCrop(height=4, width=4, scale=(1.5, 0.8)),
            "lowest, highest",
        ),
        (lambda: transforms.ColourJitter(hue=0.6), "hue=0.6: expected 0 to 0.5"),
        (lambda: transforms.ColourJitter(contrast=-1.0), "contrast=-1.0: expected"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
