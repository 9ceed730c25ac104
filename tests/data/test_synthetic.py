import dataclasses

import cv2
import numpy as np
import pytest

from stemseg_jax.data import geometric, photometric, readers, synthetic

STILL = synthetic.Motion(
    rotation=0.0,
    translation=0.0,
    scale=(1.0, 1.0),
    hue_saturation=0,
    blur_probability=0.0,
)
FILL = (1, 2, 3)


def still(height=60, width=80, *, code=False) -> readers.RawClip:
    """Instance 1 left, instance 2 over its right part, an ignored row.

    With `code`, red says which of them a pixel shows.
    """
    masks = np.zeros((2, 1, height, width), bool)
    masks[0, 0, 20:50, 10:40] = masks[1, 0, 20:50, 30:60] = True
    ignore = np.zeros((1, height, width), bool)
    ignore[0, :6] = True
    frames = np.full((1, height, width, 3), 60, np.uint8)
    if code:
        for level, mask in ((110, masks[0]), (160, masks[1]), (210, ignore)):
            frames[mask] = level
    return readers.RawClip(frames, np.array([5, 9]), np.array([1, 2]), masks, ignore)


def make(clip, motion, *, seed=0, num_frames=6, size=(60, 80)):
    rng = np.random.default_rng(seed)
    return synthetic.clip_from_still(
        rng, clip, num_frames=num_frames, size=size, motion=motion, fill=FILL
    )


def test_without_motion_every_frame_is_the_image():
    image = still()
    clip = make(image, STILL)
    np.testing.assert_array_equal(clip.frames, image.frames.repeat(6, axis=0))
    first = image.masks[0] & ~image.masks[1]  # the last one is seen
    np.testing.assert_array_equal(clip.masks[0], first.repeat(6, axis=0))
    np.testing.assert_array_equal(clip.masks[1], image.masks[1].repeat(6, axis=0))
    np.testing.assert_array_equal(clip.ignore, image.ignore.repeat(6, axis=0))
    np.testing.assert_array_equal(clip.categories, [1, 2])


@pytest.mark.parametrize(
    "motion",
    [
        dataclasses.replace(
            motion, brightness=0, hue_saturation=0, blur_probability=0.0
        )
        for motion in (synthetic.PAPER, synthetic.OVIS, synthetic.RELEASED)
    ],
)
@pytest.mark.parametrize("size", [(60, 80), (45, 60), (90, 120)])
def test_one_draw_moves_frame_masks_and_ignore(motion, size):
    clip = make(still(code=True), motion, seed=size[0], size=size)
    assert (clip.frames[0] != clip.frames[1]).any()
    red = clip.frames[..., 0]
    around = np.ones((3, 3), np.uint8)
    plain = np.stack([cv2.dilate(f, around) == cv2.erode(f, around) for f in red])
    assert plain.mean() > 0.7
    for n, level in enumerate((110, 160)):
        np.testing.assert_array_equal(clip.masks[n][plain], (red == level)[plain])
    nothing = (red == 210) | (red == FILL[0])
    np.testing.assert_array_equal(clip.ignore[plain], nothing[plain])
    assert not (clip.masks.any(axis=0) & clip.ignore).any()


def test_pixels_without_source_are_filled_and_ignored():
    motion = dataclasses.replace(STILL, translation=0.4)
    clip = make(still(), motion)
    bare = (clip.frames == FILL).all(axis=-1)
    assert bare.any() and clip.ignore[bare].all()


def test_one_frame_is_the_image_itself_at_any_place():
    places = set()
    for seed in range(20):
        clip = make(still(code=True), synthetic.RELEASED, seed=seed, num_frames=4)
        same = (clip.frames == still(code=True).frames).all(axis=(1, 2, 3))
        places |= set(same.nonzero()[0].tolist())
        assert same.sum() == 1
    assert places == {0, 1, 2, 3}


def test_draws_stay_in_their_ranges():
    rng = np.random.default_rng(0)
    scales, angles, shifts = [], [], []
    for _ in range(300):
        matrix = synthetic._draw_motion(rng, (100, 200), synthetic.PAPER)
        scales.append(np.hypot(*matrix[:2, 0]))
        angles.append(np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0])))
        centre = matrix @ (99.5, 49.5, 1)
        shifts.append((centre[:2] - (99.5, 49.5)) / (200, 100))
    shifts = np.array(shifts)
    for values, bound in ((angles, 10), (shifts[:, 0], 0.1), (shifts[:, 1], 0.1)):
        assert 0.95 * bound < np.abs(values).max() <= bound
    assert 0.8 <= min(scales) < 0.81 and 1.19 < max(scales) <= 1.2
    assert np.abs(np.corrcoef(shifts.T)[0, 1]) < 0.2
    tied = synthetic._draw_motion(
        rng, (100, 200), dataclasses.replace(STILL, tied=True)
    )
    np.testing.assert_allclose(tied, np.eye(3))


def test_released_shifts_run_along_the_diagonal():
    motion = dataclasses.replace(STILL, translation=0.1, tied=True)
    matrix = synthetic._draw_motion(np.random.default_rng(0), (100, 200), motion)
    assert matrix[0, 2] == pytest.approx(2 * matrix[1, 2])


# ------------------------------------------------------------------------ geometric


def test_resizing_equals_opencv():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    for size in ((30, 40), (45, 60), (20, 31)):
        matrix = geometric.resizing((30, 40), size)
        inner = np.s_[2:-2, 2:-2]  # borders blend with the fill in a warp
        ours = geometric.warp(image, matrix, size)[inner].astype(int)
        theirs = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)[inner]
        assert np.abs(ours - theirs).max() <= 3


def test_affine_turns_about_the_centre():
    quarter = geometric.affine((3, 5), rotation=90.0, scale=1.0, translation=(0.0, 0.0))
    np.testing.assert_allclose(quarter @ (2, 1, 1), (2, 1, 1), atol=1e-12)
    np.testing.assert_allclose(quarter @ (3, 1, 1), (2, 2, 1), atol=1e-12)
    shifted = geometric.affine(
        (10, 20), rotation=0.0, scale=2.0, translation=(0.1, 0.2)
    )
    np.testing.assert_allclose(shifted @ (9.5, 4.5, 1), (13.5, 5.5, 1))


def test_perspective_spreads_the_inside_over_the_frame():
    same = geometric.perspective((30, 40), np.zeros((4, 2)))
    np.testing.assert_allclose(same, np.eye(3), atol=1e-5)
    matrix = geometric.perspective((30, 40), np.full((4, 2), 0.1))
    for corner, seen in (((3.5, 2.5), (-0.5, -0.5)), ((35.5, 26.5), (39.5, 29.5))):
        x, y, w = matrix @ (*corner, 1)
        np.testing.assert_allclose((x / w, y / w), seen, atol=1e-4)


# ---------------------------------------------------------------------- photometric


def test_brightness_stops_at_black_and_white():
    image = np.array([[[0, 100, 250]]], np.uint8)
    np.testing.assert_array_equal(photometric.brighten(image, 20), [[[20, 120, 255]]])
    np.testing.assert_array_equal(photometric.brighten(image, -20), [[[0, 80, 230]]])


def test_hue_turns_red_towards_yellow():
    red = np.array([[[200, 0, 0]]], np.uint8)
    turned = photometric.shift_hue_and_saturation(red, 20)[0, 0].astype(int)
    assert turned[0] == 200 and turned[1] > 50 and turned[2] == 0
    grey = np.full((2, 2, 3), 90, np.uint8)
    np.testing.assert_array_equal(photometric.shift_hue_and_saturation(grey, -5), grey)


@pytest.mark.parametrize("length", [9, 11])
def test_motion_kernels_are_lines_of_weight_one(length):
    straight = photometric.motion_kernel(length=length, angle=0.0, direction=0.0)
    middle = np.zeros((length, length))
    middle[:, length // 2] = 1 / length
    np.testing.assert_allclose(straight, middle, atol=1e-6)
    for angle in (30.0, 77.0, 200.0):
        kernel = photometric.motion_kernel(length=length, angle=angle, direction=0.4)
        assert kernel.sum() == pytest.approx(1) and kernel.min() >= 0
    one_sided = photometric.motion_kernel(length=length, angle=0.0, direction=-1.0)
    assert one_sided[0].sum() == 0 and one_sided[-1].sum() > 0.1


def test_blur_keeps_flat_regions():
    flat = np.full((20, 20, 3), 77, np.uint8)
    blurred = photometric.blur_motion(flat, length=9, angle=30.0, direction=0.5)
    np.testing.assert_array_equal(blurred, flat)
