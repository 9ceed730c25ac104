import dataclasses

import cv2
import numpy as np
import pytest

from stemseg_jax.data import readers
from stemseg_jax.data.clips import canvas, stills, warping

STILL = stills.Motion(
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
    return stills.clip_from_still(
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
        for motion in (stills.PAPER, stills.OVIS, stills.AFFINE, stills.RELEASED)
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
        clip = make(still(code=True), stills.RELEASED, seed=seed, num_frames=4)
        same = (clip.frames == still(code=True).frames).all(axis=(1, 2, 3))
        places |= set(same.nonzero()[0].tolist())
        assert same.sum() == 1
    assert places == {0, 1, 2, 3}


def test_draws_stay_in_their_ranges():
    rng = np.random.default_rng(0)
    scales, angles, shifts = [], [], []
    for _ in range(300):
        matrix = stills._draw_motion(rng, (100, 200), stills.PAPER)
        scales.append(np.hypot(*matrix[:2, 0]))
        angles.append(np.rad2deg(np.arctan2(matrix[1, 0], matrix[0, 0])))
        centre = matrix @ (99.5, 49.5, 1)
        shifts.append((centre[:2] - (99.5, 49.5)) / (200, 100))
    shifts = np.array(shifts)
    for values, bound in ((angles, 10), (shifts[:, 0], 0.1), (shifts[:, 1], 0.1)):
        assert 0.95 * bound < np.abs(values).max() <= bound
    assert 0.8 <= min(scales) < 0.81 and 1.19 < max(scales) <= 1.2
    assert np.abs(np.corrcoef(shifts.T)[0, 1]) < 0.2
    tied = stills._draw_motion(rng, (100, 200), dataclasses.replace(STILL, tied=True))
    np.testing.assert_allclose(tied, np.eye(3))


def test_for_ovis_perspective_is_all_that_joins_the_affine_maps():
    assert dataclasses.replace(stills.OVIS, perspective=0.0) == stills.AFFINE
    assert stills.OVIS.perspective == 0.08


def test_released_shifts_run_along_the_diagonal():
    motion = dataclasses.replace(STILL, translation=0.1, tied=True)
    matrix = stills._draw_motion(np.random.default_rng(0), (100, 200), motion)
    assert matrix[0, 2] == pytest.approx(2 * matrix[1, 2])


def test_intrinsics_move_with_each_frame():
    K = np.array([[70.0, 0, 38], [0, 75, 31], [0, 0, 1]])
    image = still()._replace(intrinsics=K[None])
    image.masks[1] = False
    image.masks[1, 0, 33:36, 43:46] = True
    point = np.linalg.inv(K) @ (44, 34, 1)  # its centre
    clip = make(image, stills.OVIS, size=(120, 160), num_frames=8)
    assert clip.intrinsics.shape == (8, 3, 3)
    for matrix, mask in zip(clip.intrinsics, clip.masks[1], strict=True):
        x, y, z = matrix @ point
        rows, columns = mask.nonzero()
        assert abs(columns.mean() - x / z) < 0.6 and abs(rows.mean() - y / z) < 0.6
    plain = warping.resizing((60, 80), (120, 160)) @ K
    assert sum(np.allclose(matrix, plain) for matrix in clip.intrinsics) == 1
    assert make(still(), stills.OVIS).intrinsics is None


@pytest.mark.parametrize("most", [1, 2, 3, 9])
def test_instances_chosen_before_they_have_masks_are_those_chosen_after(most):
    rng = np.random.default_rng(1)
    masks = np.zeros((6, 1, 60, 80), bool)  # the last one is empty
    for mask in masks[:5, 0]:
        top, left = rng.integers(0, 50), rng.integers(0, 60)
        mask[top : top + rng.integers(4, 20), left : left + rng.integers(4, 30)] = True
    clip = still()._replace(ids=np.arange(6), categories=np.arange(6) + 1, masks=masks)
    made = [
        stills.clip_from_still(
            np.random.default_rng(0),
            clip,
            num_frames=4,
            size=(60, 80),
            motion=stills.PAPER,
            fill=FILL,
            most=early,
        )
        for early in (None, most)
    ]
    assert len(made[0].masks) == 6 and len(made[1].masks) == min(most, 5)
    place = canvas.Canvas(height=64, width=96, max_instances=most).place
    late, early = (place(clip)._asdict() for clip in made)
    assert early["dropped"] == max(0, 5 - most)
    for name, value in late.items():
        np.testing.assert_array_equal(early[name], value, err_msg=name)
